"""What is logged of a failure: where, and never what its variables held."""

import json

import pytest
import structlog

from deploy import logs

SECRET = "jcm_" + "a-secret-that-no-log-may-hold"


@pytest.fixture(autouse=True)
def _as_before():
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_failure_shows_where_and_no_variable(log_format, capsys) -> None:
    logs.configure(log_format)

    def fails(token: str) -> None:
        raise ValueError(f"a token of {len(token)} signs is wrong")

    try:
        fails(SECRET)
    except ValueError as error:
        structlog.get_logger().error("request_failed", exc_info=error)
    said = capsys.readouterr().err
    assert "a token of 33 signs is wrong" in said
    assert "fails" in said
    assert SECRET not in said
    if log_format == "json":
        assert json.loads(said)["exception"][0]["exc_type"] == "ValueError"
