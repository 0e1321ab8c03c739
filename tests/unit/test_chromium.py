"""Where the browser of the browser tests comes from, and what is said where it cannot come."""

import os

import pytest

from tests.browser import chromium


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A machine that has only the programs that are put here: `programs("apt-get", "exit 1")`."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return put


def test_the_browser_on_the_path_is_taken(programs):
    assert chromium.find() is None
    programs("chromium", "")
    assert chromium.find().name == "chromium"


def test_what_is_missing_is_named(programs):
    assert chromium.install().endswith("; install chromium fonts-noto-cjk fonts-thai-tlwg")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_what_apt_says_is_passed_on(programs):
    programs("apt-get", "echo 'E: Unable to locate package chromium' >&2\ntest \"$2\" = update")
    said = "apt-get install failed (E: Unable to locate package chromium); install chromium"
    assert chromium.install().startswith(said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_it_is_installed_where_that_can_be_done(programs, tmp_path):
    programs(
        "apt-get",
        f'test "$2" = update || {{ echo "#!/bin/sh" > {tmp_path}/chromium; /bin/chmod 755 {tmp_path}/chromium; }}',
    )
    assert chromium.install() == ""
