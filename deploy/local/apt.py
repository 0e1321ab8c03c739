"""Debian 13's packages through the machine's own apt, with private lists, cache and sources.

No address of an archive stands here: it is read from the machine's apt configuration, so a mirror or a proxy that
works for the machine works for us. Nothing on the machine is changed; no privilege is needed.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import PackagesUnavailableError
from deploy.local.progress import Progress

SUITE = "trixie"
ROOTS = ("postgresql-17", "postgresql-17-timescaledb", "mosquitto")
ARCHITECTURES = ("amd64", "arm64")

# Dependencies that the two servers never open, as whole names. Following them brings 98 packages and 98 MB where
# 42 and 41 MB do; `packages.verify` asks the unpacked loader that no library is missing for it.
SKIPPED: Mapping[str, str] = {
    r"libllvm\d+": "only for jit, which is off; brings z3 and libedit: 35 MB",
    r"postgresql-common|postgresql-client-common": "Debian's cluster management, in perl",
    r"locales|libc-bin": "the C locale and PostgreSQL's builtin C.UTF-8 need no locale data",
    r"debconf|ucf|sensible-utils|init-system-helpers|adduser|sysvinit-utils|netbase": "for maintainer scripts, not run",
    r"ssl-cert|openssl|openssl-provider-legacy": "certificates for a cluster with TLS; ours listens on loopback",
    r"tzdata": "PostgreSQL reads the machine's /usr/share/zoneinfo, never the unpacked one",
    r"readline-common|gcc-\d+-base|libaudit-common|libsasl2-modules-db": "configuration and documents, no library",
}

_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
# What the machine says about reaching the archive (proxies, timeouts, certificates) holds for us; what it says about
# files to fetch and hooks to run afterwards does not: Docker images delete caches in such hooks.
_KEPT_SETTINGS = re.compile(
    r"Acquire::(?:https?|ftp|mirror|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date|Queue-Mode|Max-FutureTime)\b",
    re.IGNORECASE,
)
_INSTALLABLE_SUITES = {"oldoldstable", "oldstable", "stable", "testing", "unstable", "sid", SUITE}


@dataclass(frozen=True, slots=True)
class Archive:
    """Where the machine gets Debian from; `security_uri` where it says so."""

    uri: str
    security_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the closure, at the archive's candidate version."""

    name: str
    version: str
    size_bytes: int
    sha256: str
    depends: tuple[str, ...]


def require_apt() -> str:
    """Return the machine's Debian architecture.

    Raises
    ------
    PackagesUnavailableError
        There is no apt or dpkg, or the archive has no packages for this architecture.
    """
    for tool in ("apt-get", "apt-cache", "apt-config", "dpkg", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise PackagesUnavailableError(f"this is not Debian, there is no {tool}")
    architecture = _output(["dpkg", "--print-architecture"], os.environ).strip()
    if architecture not in ARCHITECTURES:
        raise PackagesUnavailableError(f"the packages exist for {' and '.join(ARCHITECTURES)}, not for {architecture}")
    return architecture


def machine_archives(scratch: Path) -> list[Archive]:
    """Read from the machine's apt configuration where Debian comes from, likeliest first.

    `apt-get indextargets` knows each target's origin but lists only what was downloaded, and images often ship with
    empty lists; then the addresses that `apt-get update` would ask are taken, where the suite is the machine's own.
    """
    targets = _output(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"], os.environ)
    main, security = parse_targets(targets)
    if not main:
        lists = scratch / "no-lists"
        (lists / "partial").mkdir(parents=True)
        uris = _output(["apt-get", "-o", f"Dir::State::lists={lists}", "update", "--print-uris"], os.environ)
        main, security = parse_update_uris(uris, _codename())
    return [Archive(uri, security[0] if security else None) for uri in main]


def parse_targets(listing: str) -> tuple[list[str], list[str]]:
    """Split `origin|label|uri` lines into Debian's main and security addresses, in order, each once."""
    main: dict[str, None] = {}
    security: dict[str, None] = {}
    for line in listing.splitlines():
        origin, _, rest = line.partition("|")
        label, _, uri = rest.partition("|")
        if origin == "Debian" and label == "Debian":
            main[uri] = None
        elif origin == "Debian" and label == "Debian-Security":
            security[uri] = None
    return list(main), list(security)


def parse_update_uris(listing: str, codename: str) -> tuple[list[str], list[str]]:
    """Split the addresses of `apt-get update --print-uris` into main and security by their suites."""
    main: dict[str, None] = {}
    security: dict[str, None] = {}
    for uri, suite in re.findall(r"^'([^']+?)/dists/([^']+?)/(?:In)?Release'", listing, re.MULTILINE):
        if suite.endswith(("-security", "/updates")):
            security[f"{uri}/"] = None
        elif suite in _INSTALLABLE_SUITES | {codename}:
            main[f"{uri}/"] = None
    return list(main), list(security)


class PrivateApt:
    """An apt that knows one archive and one suite and keeps everything it writes in one folder.

    Parameters
    ----------
    folder
        An empty folder of ours; it may be deleted afterwards.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}

    def update(self, archives: Sequence[Archive]) -> None:
        """Fetch the suite's package list from the first archive that has it, with security updates where possible.

        Raises
        ------
        PackagesUnavailableError
            No archive can be reached or none has the suite; the message carries apt's own first error.
        """
        if not archives:
            raise PackagesUnavailableError("the machine's apt configuration names no Debian archive")
        said = ""
        for archive in archives:
            choices = [archive] if archive.security_uri is None else [archive, Archive(archive.uri)]
            for choice in choices:
                self._configure(choice)
                done = self._run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"])
                if done.returncode == 0:
                    return
                said = said or _first_error(done.stderr)
        raise PackagesUnavailableError(f"Debian's package list cannot be fetched ({said})")

    def closure(self, roots: Sequence[str] = ROOTS) -> list[Package]:
        """Return the packages that `roots` need, themselves included, without those in `SKIPPED`, by name.

        Of alternatives (`a | b`) the first is taken, as apt does where neither is installed.
        """
        found: dict[str, Package] = {}
        wanted = list(roots)
        while wanted:
            shown = self._run(["apt-cache", "show", "--no-all-versions", *wanted])
            level = parse_stanzas(shown.stdout)
            missing = [name for name in wanted if name not in level]
            if missing:
                raise PackagesUnavailableError(f"{SUITE} has no package {', '.join(missing)}")
            found |= level
            named = {name for package in level.values() for name in package.depends}
            wanted = sorted(name for name in named if name not in found and not is_skipped(name))
        return sorted(found.values(), key=lambda package: package.name)

    def download(self, packages: Sequence[Package], folder: Path, progress: Progress) -> list[Path]:
        """Download the packages' files into `folder`; apt checks each against the signed list.

        Raises
        ------
        PackagesUnavailableError
            The network failed or a file is not what the list says.
        """
        total = sum(package.size_bytes for package in packages)
        errors = self._folder / "download.log"
        with errors.open("wb") as log:
            process = subprocess.Popen(
                ["apt-get", "download", "-q", *(f"{package.name}={package.version}" for package in packages)],
                cwd=folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
            try:
                while process.poll() is None:
                    progress.download(min(_bytes_in(folder), total), total)
                    time.sleep(0.1)
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
        if process.returncode != 0:
            said = _first_error(errors.read_text(errors="replace"))
            raise PackagesUnavailableError(f"a package cannot be downloaded ({said})")
        progress.download(total, total)
        return sorted(folder.glob("*.deb"))

    def _configure(self, archive: Archive) -> None:
        folder = self._folder
        empty = folder / "empty"
        for path in (folder / "lists" / "partial", folder / "cache" / "archives" / "partial", empty):
            path.mkdir(parents=True, exist_ok=True)
        for name in ("status", "none"):
            (folder / name).touch()
        (folder / "sources.list").write_text(sources(archive))
        dumped = _output(["apt-config", "dump"], os.environ).splitlines()
        settings = [line for line in dumped if _KEPT_SETTINGS.match(line)]
        own = {
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Cache::archives": folder / "cache" / "archives",
            "Dir::Cache::pkgcache": folder / "cache" / "pkgcache.bin",
            "Dir::Cache::srcpkgcache": folder / "cache" / "srcpkgcache.bin",
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": empty,
            "Dir::Etc::main": folder / "none",
            "Dir::Etc::parts": empty,
            "Dir::Etc::preferences": folder / "none",
            "Dir::Etc::preferencesparts": empty,
            "Acquire::Languages": "none",
            "Acquire::AllowInsecureRepositories": "false",
            # As root apt would hand the download to a user who need not be able to enter our folder.
            "APT::Sandbox::User": "root",
        }
        settings += [f'{name} "{value}";' for name, value in own.items()]
        (folder / "apt.conf").write_text("\n".join(settings) + "\n")

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )


def sources(archive: Archive) -> str:
    """Write the generated sources list: the suite, and its security updates where the machine has an address."""
    keyring = next((path for path in _KEYRINGS if path.exists()), None)
    signed = f"[signed-by={keyring}] " if keyring else ""
    lines = [f"deb {signed}{archive.uri} {SUITE} main"]
    if archive.security_uri is not None:
        lines.append(f"deb {signed}{archive.security_uri} {SUITE}-security main")
    return "\n".join(lines) + "\n"


def is_skipped(name: str) -> bool:
    """Say whether a package is one that the servers never open."""
    return any(re.fullmatch(pattern, name) for pattern in SKIPPED)


def parse_stanzas(text: str) -> dict[str, Package]:
    """Read the stanzas that `apt-cache show` prints; of several versions of a package the first counts."""
    packages: dict[str, Package] = {}
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        if "Package" not in fields:
            continue
        relations = f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}".split(",")
        first = (re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", relation) for relation in relations)
        package = Package(
            name=fields["Package"],
            version=fields["Version"],
            size_bytes=int(fields["Size"]),
            sha256=fields["SHA256"],
            depends=tuple(dict.fromkeys(match[1] for match in first if match)),
        )
        packages.setdefault(package.name, package)
    return packages


def _codename() -> str:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return SUITE
    found = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.MULTILINE))
    # A derivative's own suite (Ubuntu's, Raspbian's) is not Debian's, whatever it is called.
    return found.get("VERSION_CODENAME", SUITE) if found.get("ID") == "debian" else SUITE


def _bytes_in(folder: Path) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size
            except FileNotFoundError:  # renamed from its partial name meanwhile
                continue
    return total


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith("E:")]
    return (errors or lines or ["apt gives no reason"])[0]


def _output(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        argv,
        env={**environment, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout
