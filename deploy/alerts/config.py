"""The file that `JCM_MRV_ALERTS_FILE` names: thresholds, what differs at a site, whom to tell and how."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_core import PydanticCustomError

from deploy.alerts.rules import RULES, Rules, Severity, Thresholds
from deploy.errors import ConfigurationError
from deploy.secret_files import opened

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_ADDRESS = re.compile(r"[^@\s<>\",;:]+@[^@\s<>\",;:]+")
T = TypeVar("T", bound=Thresholds)


def _web_address(given: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(given.get_secret_value())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise PydanticCustomError("address", "This is no address of the form http://host/path or https://host/path")
    return given


def _mail_address(given: str) -> str:
    if _ADDRESS.fullmatch(given) is None or not given.isascii():
        raise PydanticCustomError("mail", "This is no address of the form name@host, in ASCII")
    return given


MailAddress = Annotated[str, AfterValidator(_mail_address)]


class Target(BaseModel):
    """Whom to tell of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: Severity = Field(default=Severity.WARNING, description="the least severity that is told")
    rules: tuple[str, ...] | None = Field(default=None, description="only these rules")
    projects: tuple[str, ...] | None = Field(
        default=None, description="only alerts of these projects, none of the whole installation"
    )
    timeout_s: float = Field(default=10, gt=0, le=120, description="patience with the target")


class Webhook(Target):
    """`[webhook.NAME]`: a JSON POST in the shape of Alertmanager's."""

    url: Annotated[SecretStr, AfterValidator(_web_address)] = Field(
        description="where to; `url_file` names a file that holds it, as where the address is itself a secret"
    )
    secret: SecretStr | None = Field(
        default=None, description="given as `secret_file`: signs each notice (Standard Webhooks)"
    )
    ca_file: Path | None = Field(default=None, description="authorities (PEM) of the target's certificate")


class Email(Target):
    """`[email.NAME]`: a plain text for a telephone."""

    host: str = Field(min_length=1, description="the mail server")
    port: int | None = Field(default=None, ge=1, le=65535, description="its port; unset: 587, with `tls` 465")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`starttls`, `tls` from the first byte, or `none` for a server on this machine"
    )
    user: str | None = Field(default=None, description="login")
    password: SecretStr | None = Field(default=None, description="given as `password_file`")
    sender: MailAddress = Field(description="the address it comes from")
    to: tuple[MailAddress, ...] = Field(min_length=1, description="the addresses it goes to")
    ca_file: Path | None = Field(default=None, description="authorities (PEM) of the server's certificate")


class AlertsFile(BaseModel):
    """The whole file; without one the rules hold with their defaults and nobody is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_wait_s: int = Field(default=30, ge=0, description="how long the first alert waits for others to be told with")
    recovery_wait_s: int = Field(
        default=3600, ge=0, description="how long those of a group that recovered wait for the rest of it"
    )
    give_up_after_s: int = Field(default=259_200, gt=0, description="a notice that nobody took for so long is given up")
    retry_s: int = Field(
        default=30, ge=1, description="the first pause after a failed attempt; each doubles, to an hour"
    )
    external_url: str | None = Field(
        default=None, pattern=r"^https?://\S+$", description="where people reach `jcm-mrv serve`; stands in the notices"
    )
    rules: Rules = Rules()
    webhook: dict[Annotated[str, Field(pattern=_NAME)], Webhook] = Field(default_factory=dict)
    email: dict[Annotated[str, Field(pattern=_NAME)], Email] = Field(default_factory=dict)
    _sites: dict[tuple[str, str], Thresholds] = PrivateAttr(default_factory=dict)

    @property
    def targets(self) -> Mapping[str, Webhook | Email]:
        """Whom to tell, by `webhook.NAME` or `email.NAME`."""
        found: dict[str, Webhook | Email] = {f"webhook.{name}": one for name, one in self.webhook.items()}
        return found | {f"email.{name}": one for name, one in self.email.items()}

    def of(self, kind: type[T], rule: str, subject: str) -> T:
        """Return a rule's thresholds for a site or a device (`site/device`)."""
        found = self.thresholds(rule, subject)
        assert isinstance(found, kind)  # noqa: S101 - each rule has its own class
        return found

    def thresholds(self, rule: str, subject: str = "") -> Thresholds:
        """Return what every rule has, for a subject: its own, its site's, or the rule's."""
        for place in (subject, subject.partition("/")[0]):
            if (rule, place) in self._sites:
                return self._sites[rule, place]
        found = getattr(self.rules, rule)
        assert isinstance(found, Thresholds)  # noqa: S101 - as above
        return found


def load_alerts(path: Path | None) -> AlertsFile:
    """Read the file.

    Raises
    ------
    ConfigurationError
        It cannot be read, or something in it is wrong; the message names the file and the key.
    """
    if path is None:
        return AlertsFile()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"JCM_MRV_ALERTS_FILE names {path}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: this is not TOML: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> AlertsFile:
    """Read the text of the file; see `load_alerts`."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: this is not TOML: {error}") from None
    sites = given.pop("sites", {})
    for kind, secrets in (("webhook", ("url", "secret")), ("email", ("password",))):
        named = given.get(kind, {})
        if isinstance(named, dict):
            given[kind] = {name: _open(one, secrets, f"{kind}.{name}", path) for name, one in named.items()}
    found: AlertsFile = _validated(AlertsFile, given, "", path)
    for name, target in found.targets.items():
        _check(target, name, path)
    found._sites.update(_overrides(sites, given.get("rules", {}), path))  # noqa: SLF001 - its own maker
    return found


def _open(target: Any, secrets: tuple[str, ...], where: str, path: Path) -> Any:
    if not isinstance(target, dict):
        return target
    for name in secrets:
        if name in target and name != "url":
            raise ConfigurationError(f"{path}: {where}.{name}: name a file that holds it in {name}_file")
    try:
        return opened(target, secrets)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {where}: {error}") from None


def _check(target: Webhook | Email, name: str, path: Path) -> None:
    for rule in target.rules or ():
        if rule not in RULES:
            raise ConfigurationError(f"{path}: {name}.rules: there is no rule {rule}; there are {', '.join(RULES)}")
    if target.ca_file is not None and not target.ca_file.is_file():
        raise ConfigurationError(f"{path}: {name}.ca_file: there is no file {target.ca_file}")
    if isinstance(target, Email):
        if (target.user is None) != (target.password is None):
            raise ConfigurationError(f"{path}: {name}: give user and password_file, or neither")
        if target.password is not None and not (target.password.get_secret_value() + str(target.user)).isascii():
            raise ConfigurationError(
                f"{path}: {name}: user and password must be ASCII, Python's smtplib sends no other"
            )
        if target.security == "none" and target.password is not None:
            raise ConfigurationError(f"{path}: {name}.security: none would send the password for all to read")


def _overrides(sites: Any, rules: Any, path: Path) -> dict[tuple[str, str], Thresholds]:
    if not isinstance(sites, dict):
        raise ConfigurationError(f'{path}: sites: write [sites.SITE.RULE] or [sites."SITE/DEVICE".RULE]')
    found: dict[tuple[str, str], Thresholds] = {}
    for subject, of_site in sites.items():
        where = f"sites.{subject}"
        if not isinstance(of_site, dict):
            raise ConfigurationError(f"{path}: {where}: write [{where}.RULE]")
        for rule, changed in of_site.items():
            if rule not in RULES or not RULES[rule].by_site:
                known = ", ".join(one.id for one in RULES.values() if one.by_site)
                raise ConfigurationError(f"{path}: {where}.{rule}: no rule of a site is called so; there are {known}")
            if not isinstance(changed, dict):
                raise ConfigurationError(f"{path}: {where}.{rule}: write [{where}.{rule}]")
            # A device's differ from its site's, which differ from the rule's.
            site = subject.partition("/")[0]
            above = sites.get(site, {}).get(rule, {}) if site != subject else {}
            given = {**rules.get(rule, {}), **above, **changed}
            found[rule, subject] = _validated(type(RULES[rule].defaults), given, f"{where}.{rule}", path)
    return found


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], given: Mapping[str, Any], where: str, path: Path) -> _Model:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(part for part in (where, *map(str, problem["loc"])) if part and part != "[key]")
        said = problem["msg"]
        raise ConfigurationError(f"{path}: {key}: {said[0].lower()}{said[1:]}") from None
