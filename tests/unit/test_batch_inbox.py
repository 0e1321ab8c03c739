import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from ingest.backoff import Backoff
from ingest.inbox import Inbox, Received


def message(number, size=1):
    return Received(1, number, "t", b"x" * size, 1, False, False, 0.0)


def numbers(messages):
    return [one.mid for one in messages]


def test_a_batch_ends_with_its_count_and_keeps_the_order():
    inbox = Inbox(100)
    for number in range(5):
        inbox.put(message(number))
    assert numbers(inbox.take(3, 1000, 0, 0)) == [0, 1, 2]
    assert numbers(inbox.take(3, 1000, 0, 0)) == [3, 4]
    assert inbox.take(3, 1000, 0, 0) == []


def test_a_batch_ends_with_the_message_that_reaches_its_bytes():
    inbox = Inbox(100)
    for number in range(4):
        inbox.put(message(number, size=400))
    assert numbers(inbox.take(100, 1000, 0, 0)) == [0, 1, 2]


def test_a_message_larger_than_a_batch_comes_alone():
    inbox = Inbox(100)
    inbox.put(message(0, size=5000))
    inbox.put(message(1))
    assert numbers(inbox.take(100, 1000, 0, 0)) == [0]


def test_the_first_message_wakes_and_the_linger_collects():
    inbox = Inbox(100)

    def put():
        for number in range(3):
            time.sleep(0.03)
            inbox.put(message(number))

    thread = threading.Thread(target=put)
    thread.start()
    assert numbers(inbox.take(100, 1000, 0.5, 5)) == [0, 1, 2]
    thread.join()


def test_a_full_batch_does_not_wait_for_the_linger():
    inbox = Inbox(100)
    for number in range(3):
        inbox.put(message(number))
    begun = time.monotonic()
    assert len(inbox.take(3, 1000, 5, 5)) == 3
    assert time.monotonic() - begun < 1


def test_an_idle_inbox_returns_nothing_after_a_while_and_at_once_when_closed():
    inbox = Inbox(100)
    begun = time.monotonic()
    assert inbox.take(1, 1, 0, 0.05) == []
    assert time.monotonic() - begun >= 0.05
    threading.Timer(0.05, inbox.close).start()
    assert inbox.take(1, 1, 5, 5) == []
    assert time.monotonic() - begun < 2


def test_what_is_in_a_closed_inbox_can_still_be_taken():
    inbox = Inbox(100)
    inbox.put(message(1))
    inbox.close()
    assert numbers(inbox.take(10, 10, 5, 5)) == [1]


def test_a_full_inbox_blocks_its_writer_until_something_is_taken():
    inbox = Inbox(2)
    thread = threading.Thread(target=lambda: [inbox.put(message(number)) for number in range(5)])
    thread.start()
    time.sleep(0.1)
    assert len(inbox) == 2
    taken = []
    while len(taken) < 5:
        taken += numbers(inbox.take(10, 1000, 0, 1))
        assert len(inbox) <= 2
    thread.join(1)
    assert taken == [0, 1, 2, 3, 4]


def test_nothing_is_lost_or_reordered_between_two_threads():
    inbox = Inbox(50)
    count = 20_000
    thread = threading.Thread(target=lambda: [inbox.put(message(number)) for number in range(count)])
    thread.start()
    taken = []
    while len(taken) < count:
        part = inbox.take(100, 1_000_000, 0.001, 2)
        assert part
        taken += numbers(part)
    thread.join(1)
    assert taken == list(range(count))


@given(st.floats(0.01, 10), st.floats(0.01, 100), st.integers(1, 200))
def test_waits_grow_to_their_ceiling_and_never_beyond(first_s, most_s, attempts):
    backoff = Backoff(first_s, most_s)
    for attempt in range(attempts):
        ceiling = min(most_s, first_s * 2.0 ** min(attempt, 32))
        assert ceiling / 2 <= backoff.next() <= ceiling
    backoff.reset()
    assert backoff.next() <= first_s
