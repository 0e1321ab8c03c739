"""What the files for compose, systemd, Kubernetes and the guide name, the program has: settings and commands."""

import re
from pathlib import Path

import pytest
import yaml

from deploy.cli import cli
from deploy.secret_files import SUFFIX
from deploy.settings import FILE_VARIABLE, PREFIX, Settings, secret_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(
    path
    for path in (
        DEPLOY / "compose.yaml",
        DEPLOY / "Containerfile",
        DEPLOY / "make-secrets.sh",
        ROOT / "docs" / "deploy.md",
        *(DEPLOY / "systemd").iterdir(),
        *(DEPLOY / "compose").iterdir(),
        *(path for path in (DEPLOY / "helm").rglob("*") if path.is_file()),
    )
    if path.is_file()
)
# Of compose alone: the image's version. Of the tests and local servers: a folder.
OTHERS = {"JCM_MRV_VERSION", "JCM_MRV_LOCAL_DIR"}


def settings_named(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}[A-Z0-9_]+\b", text)) - OTHERS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_setting_that_is_named_exists(path):
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {FILE_VARIABLE}
    known |= {f"{PREFIX}{name}{SUFFIX}".upper() for name in secret_settings()}
    assert settings_named(path.read_text(encoding="utf-8")) <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_exists(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^ExecStart=\S*/|^ {4}|`|^|\$ )jcm-mrv ([a-z]+)(?=[\s`])", text, re.MULTILINE))
    if path.name == "compose.yaml":
        services = yaml.safe_load(text)["services"].values()
        ours = [one for one in services if one.get("image", "").startswith("jcm-mrv")]
        named |= {[*one.get("entrypoint", ["jcm-mrv"]), *one["command"]][1] for one in ours}
    assert named <= set(cli.list_commands(None))


def test_the_files_are_looked_at():
    assert {"compose.yaml", "Containerfile", "jcm-mrv-serve.service", "values.yaml"} <= {path.name for path in FILES}
    assert settings_named("JCM_MRV_DATABASE_URL_FILE=%d/x JCM_MRV_TYPO=") == {
        "JCM_MRV_DATABASE_URL_FILE",
        "JCM_MRV_TYPO",
    }


# The guide shows what a person types.
@pytest.mark.parametrize(
    "path", [path for path in FILES if path.suffix != ".md"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_secret_stands_in_a_setting(path):
    """A secret comes from a file: `JCM_MRV_X_FILE`, never as the value of `JCM_MRV_X`."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    plain = {f"{PREFIX}{name}".upper() for name in secret_settings()}
    assert not plain & settings_named("\n".join(lines))
