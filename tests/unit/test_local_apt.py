"""Reading apt's answers and choosing packages."""

from pathlib import Path

import pytest

from deploy.errors import PackagesUnavailableError
from deploy.local import apt
from deploy.local.apt import Archive, parse_stanzas, parse_targets, parse_update_uris, sources

STANZAS = """\
Package: postgresql-17
Version: 17.6-0+deb13u1
Provides: postgresql-17-jit-llvm (= 19)
Pre-Depends: init-system-helpers (>= 1.54~)
Depends: locales | locales-all, postgresql-client-17, libc6 (>= 2.38), libgcc-s1:any (>= 3.0), libc6
Size: 16678028
SHA256: d2ce1ddffafa783f9acda4c92c86fc21e8288bff3782d739294f14fa797d7886
Description: The World's Most Advanced Open Source Relational Database
 Depends: nothing, this is a continuation line

Package: postgresql-17
Version: 17.5-1
Size: 1
SHA256: 00
"""


def test_the_first_of_alternatives_is_followed_and_each_name_once() -> None:
    package = parse_stanzas(STANZAS)["postgresql-17"]
    assert package.version == "17.6-0+deb13u1"
    assert package.size_bytes == 16678028
    assert package.depends == ("init-system-helpers", "locales", "postgresql-client-17", "libc6", "libgcc-s1")


def test_targets_of_others_are_not_debian() -> None:
    listing = "\n".join(
        [
            "Docker|Docker CE|mirror://third/linux/debian/",
            "Debian|Debian|mirror://one/debian/",
            "Debian|Debian|mirror://one/debian/",
            "Debian|Debian Backports|mirror://one/debian-backports/",
            "Debian|Debian-Security|mirror://one/debian-security/",
            "||",
            "",
        ]
    )
    assert parse_targets(listing) == (["mirror://one/debian/"], ["mirror://one/debian-security/"])


def test_addresses_are_read_where_no_list_was_ever_fetched() -> None:
    listing = """\
'mirror://one/debian/dists/bookworm/InRelease' one_debian_dists_bookworm_InRelease 0
'mirror://one/debian/dists/bookworm-updates/InRelease' one_debian_dists_bookworm-updates_InRelease 0
'mirror://one/debian-security/dists/bookworm-security/InRelease' one_InRelease 0
'mirror://node/dists/nodistro/InRelease' node_InRelease 0
'mirror://one/debian/dists/bookworm/main/binary-amd64/Packages.xz' one_Packages 0
"""
    assert parse_update_uris(listing, "bookworm") == (["mirror://one/debian/"], ["mirror://one/debian-security/"])


def test_the_generated_sources_name_the_suite_and_the_machines_keyring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = tmp_path / "debian.gpg"
    monkeypatch.setattr(apt, "_KEYRINGS", (tmp_path / "absent", keyring))
    assert sources(Archive("m:/debian/")) == "deb m:/debian/ trixie main\n"
    keyring.touch()
    assert sources(Archive("m:/debian/", "m:/security/")) == (
        f"deb [signed-by={keyring}] m:/debian/ trixie main\n"
        f"deb [signed-by={keyring}] m:/security/ trixie-security main\n"
    )


@pytest.mark.parametrize("name", ["libllvm19", "tzdata", "libc-bin", "openssl", "postgresql-common"])
def test_what_no_server_opens_is_skipped(name: str) -> None:
    assert apt.is_skipped(name)


@pytest.mark.parametrize(
    "name", ["libc6", "libssl3t64", "postgresql-client-17", "libpam0g", "libaudit1", "tzdata-legacy"]
)
def test_the_skip_list_is_of_whole_names(name: str) -> None:
    assert not apt.is_skipped(name)


def test_without_apt_the_message_names_the_two_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackagesUnavailableError) as raised:
        apt.require_apt()
    said = str(raised.value)
    assert "not Debian" in said
    assert "JCM_MRV_DATABASE_URL and JCM_MRV_MQTT_URL" in said
    assert "docker compose -f deploy/compose.yaml up" in said
    assert "\n" not in said


def _fake(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_architecture_without_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("apt-get", "apt-cache", "apt-config", "dpkg-deb"):
        _fake(tmp_path, tool, "exit 0")
    _fake(tmp_path, "dpkg", "echo riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackagesUnavailableError, match="not for riscv64"):
        apt.require_apt()


def test_an_archive_that_is_away_is_said_with_apts_own_reason(tmp_path: Path) -> None:
    private = apt.PrivateApt(tmp_path)
    with pytest.raises(PackagesUnavailableError, match="cannot be fetched"):
        private.update([Archive(f"file:{tmp_path}/nothing/")])
    with pytest.raises(PackagesUnavailableError, match="names no Debian archive"):
        private.update([])
