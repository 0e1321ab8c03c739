"""Publishes readings until it is killed."""

import itertools
import sys

from tests.harness import numbered, publish

if __name__ == "__main__":
    for start in itertools.count(1000, 100):
        publish(sys.argv[1], numbered(sys.argv[2], sys.argv[3], range(start, start + 100)))
