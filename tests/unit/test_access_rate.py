"""How often somebody may ask: a window that moves, counted by key, with the real clock."""

import time

import pytest

from deploy.access.rate import Rates


def test_a_key_waits_when_it_asked_too_often_and_others_do_not() -> None:
    rates = Rates("3/minute")
    assert [rates.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert 55 < rates.wait_s("a") <= 60
    assert rates.wait_s("b") == 0.0


def test_the_window_moves() -> None:
    rates = Rates("2/second")
    assert rates.wait_s("a") == rates.wait_s("a") == 0.0
    wait = rates.wait_s("a")
    assert 0 < wait <= 1.1
    time.sleep(wait + 0.05)
    # What was refused did not count.
    assert rates.wait_s("a") == 0.0


@pytest.mark.parametrize("limit", ["", "often", "10", "x/minute"])
def test_what_is_no_rate_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match="parse"):
        Rates(limit)
