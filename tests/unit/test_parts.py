"""That `make test` leaves no test out and sums up as pytest does."""

from pathlib import Path

from tests.parts import counted, parts, summary

TESTS = Path(__file__).resolve().parents[1]


def test_every_test_is_in_one_part():
    given = [argument for arguments in parts().values() for argument in arguments]
    ignored = {argument.removeprefix("--ignore=") for argument in given if argument.startswith("--ignore=")}
    named = [argument for argument in given if not argument.startswith("--ignore=")]
    assert len(named) == len(set(named))
    for folder in ignored:
        files = {str(path.relative_to(TESTS.parent)) for path in (TESTS.parent / folder).rglob("test_*.py")}
        assert folder in named or files == {name for name in named if name.startswith(folder)}
    assert "tests" in named
    assert all((TESTS.parent / name).exists() for name in named)


def test_what_the_parts_say_at_their_end_is_summed_up():
    lines = [
        "= 1 failed, 575 passed, 2 skipped, 3 deselected, 1 warning, 1 error in 353.66s (0:05:53) =",
        "===== 30 passed, 2 errors in 3.66s =====\n",
        "no summary at all",
    ]
    total = sum(map(counted, lines[1:]), counted(lines[0]))
    assert (total["passed"], total["failed"], total["error"], total["deselected"]) == (605, 1, 3, 3)
    told = summary(total, 353.661).strip("= ")
    assert told == "1 failed, 605 passed, 2 skipped, 3 deselected, 1 warning, 3 errors in 353.66s (0:05:53)"
    assert summary(counted(""), 0.5).strip("= ") == "no tests ran in 0.50s (0:00:00)"
