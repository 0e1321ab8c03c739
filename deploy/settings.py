"""Settings: `JCM_MRV_*` from the environment, over a TOML file named by `JCM_MRV_CONFIG`, over the defaults.

Every setting stands here once, with its unit in its name; `docs/reference.md` is checked against this list. A secret
may come from a file instead (`deploy.secret_files`).
"""

import os
import tomllib
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from deploy.errors import ConfigurationError
from deploy.secret_files import SUFFIX, opened
from devices.tls import TlsFiles
from ingest.self_check import Risk

PREFIX = "JCM_MRV_"
FILE_VARIABLE = "JCM_MRV_CONFIG"


class Settings(BaseSettings):
    """What an installation can choose."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    database_url: SecretStr | None = Field(
        default=None, description="TimescaleDB, as postgresql://user:password@host:port/name; unset: the local server"
    )
    database_admin_url: SecretStr | None = Field(
        default=None,
        description="login of a superuser to the same server, for `restore` alone (TimescaleDB's catalogue takes one); "
        "unset: that of `JCM_MRV_DATABASE_URL`, or the local server's own",
    )
    mqtt_url: SecretStr | None = Field(
        default=None,
        description="MQTT broker of the collector, as mqtt(s)://user:password@host:port; unset: the local server",
    )
    mqtt_publish_url: SecretStr | None = Field(
        default=None, description="MQTT broker and login that `replay` publishes with; unset: `JCM_MRV_MQTT_URL`"
    )
    mqtt_ca_file: Path | None = Field(
        default=None,
        description="certificates (PEM) of the authorities that the broker's is signed by; unset: the machine's own",
    )
    mqtt_cert_file: Path | None = Field(
        default=None,
        description="our certificate (PEM) for a broker that asks for one, of the collector, `replay` and `simulate`; "
        "its common name is the broker's user",
    )
    mqtt_key_file: Path | None = Field(
        default=None,
        description="its private key (PEM, mode 600, no passphrase); unset: it stands in `JCM_MRV_MQTT_CERT_FILE`",
    )
    mqtt_version: Literal["3.1.1", "5"] = Field(default="5", description="MQTT protocol version of the collector")
    mqtt_client_id: str = Field(
        default="jcm-mrv-collector",
        min_length=1,
        description="the collector's fixed client id; the broker keeps its queue under this name",
    )
    mqtt_share_group: str = Field(
        default="", pattern=r"^[^/+#]*$", description="shared-subscription group of several collectors; empty: none"
    )
    mqtt_session_expiry_s: int = Field(
        default=7 * 24 * 3600, ge=3600, description="how long the broker keeps an absent collector's queue (MQTT 5)"
    )
    mqtt_window: int = Field(
        default=4000, ge=1, le=65535, description="Receive Maximum: messages in flight without an acknowledgement"
    )
    batch_messages: int = Field(default=1000, ge=1, le=20000, description="most messages in one transaction")
    batch_linger_ms: int = Field(default=50, ge=0, le=5000, description="longest wait for a batch to fill")
    future_tolerance_s: int = Field(
        default=300, ge=0, description="how far ahead of the collector's clock a reading's time may lie"
    )
    payload_limit_bytes: int = Field(
        default=1_048_576, ge=1024, description="largest payload that is decoded; a larger one goes to quarantine"
    )
    profiles: Path | None = Field(
        default=None, description="a folder of device families of one's own (docs/devices.md); unset: the built-in ones"
    )
    sparkplug_host_id: str = Field(
        default="",
        pattern=r"^[^/+#]*$",
        description="the collector's name as a Sparkplug primary host, whose `STATE` it then publishes; empty: none",
    )
    accept_risks: str = Field(
        default="",
        description="what the self-check at the start lets pass although it may lose data, by name, with commas: "
        + ", ".join(f"`{risk}`" for risk in Risk),
    )
    health_address: str = Field(
        default="127.0.0.1", min_length=1, description="where a collector answers `/metrics`, `/livez`, `/readyz`"
    )
    health_port: int = Field(
        default=0, ge=0, le=65535, description="the port of these; 0: none. 9464 is the usual one of exporters"
    )
    web_address: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="where `serve` listens; a proxy that speaks https stands before it",
    )
    web_port: int = Field(default=8080, ge=0, le=65535, description="the port of it; 0: a free one")
    web_url: str = Field(
        default="",
        description="how people reach it, as https://mrv.example.org; with https, cookies are kept to https. Empty: "
        "http at its own address and port",
    )
    web_trusted_proxies: str = Field(
        default="127.0.0.1", description="proxies whose `X-Forwarded-*` is believed: addresses or networks, with commas"
    )
    web_collectors: str = Field(
        default="",
        description="health addresses of the collectors that `serve` shows, as http://host:9464, with commas",
    )
    web_metrics_from: str = Field(
        default="127.0.0.0/8,::1/128",
        description="networks that may read `/metrics` of `serve` without a token, with commas",
    )
    session_idle_s: int = Field(
        default=3600, ge=120, description="how long a browser's session lasts without a request; told to the minute"
    )
    session_lifetime_s: int = Field(
        default=43_200, ge=300, description="how long it lasts at most; then its person signs in again"
    )
    rate_limit: str = Field(
        default="600/minute",
        description="how often a token, all sessions of an account or, unknown, an address may ask `serve`; counted in "
        "each process",
    )
    rate_limit_failures: str = Field(
        default="10/minute", description="how often an address may come with a token that is not valid"
    )
    oidc_issuer: str = Field(
        default="", description="OpenID Connect provider that people sign in with, as it calls itself; empty: none"
    )
    oidc_client_id: str = Field(default="", description="what `serve` is called there; needed with the issuer")
    oidc_client_secret: SecretStr | None = Field(
        default=None, description="the secret that goes with it; unset: a public client"
    )
    oidc_organisation_claim: str = Field(
        default="", description="the claim that names a person's organisation; empty: an administrator gives it"
    )
    schedule_health_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="the port on which `schedule` answers the same, at the same address; 0: none",
    )
    evidence_key_file: Path | None = Field(
        default=None,
        description="Ed25519 key (PEM) that signs seals and bundles, see `jcm-mrv evidence keys`; unset: beside the "
        "local servers",
    )
    tsa_url: SecretStr | None = Field(
        default=None,
        description="time-stamping authority (RFC 3161) for seals, as http(s)://user:password@host/path; unset: none",
    )
    tsa_ca_file: Path | None = Field(
        default=None,
        description="root certificates (PEM) that the time stamps of seals must lead to; needed with `JCM_MRV_TSA_URL`",
    )
    authority_dir: Path | None = Field(
        default=None,
        description="the certificate authority of `device provision`: a folder of whoever issues; unset: beside the "
        "local servers",
    )
    authority_passphrase: SecretStr | None = Field(
        default=None, description="passphrase of its key `ca.key`; unset: the key is guarded by its mode 600 only"
    )
    broker_crl_file: Path | None = Field(
        default=None,
        description="where the broker on this machine reads its list of revoked certificates (`crlfile`); unset: "
        "`device provision` says what to copy",
    )
    broker_pid_file: Path | None = Field(
        default=None,
        description="the broker's `pid_file`, to have it read the list (SIGHUP); unset: `device provision` says so",
    )
    keep_messages_years: int | None = Field(
        default=None,
        ge=1,
        description="raw messages may go (`jcm-mrv retention`) so many years after every period that uses them was "
        "notified; unset: they are kept for good",
    )
    compress_after_days: int = Field(
        default=30,
        ge=1,
        description="`jcm-mrv retention compress` takes closed chunks that are older; Community edition",
    )
    schedule_interval_s: int = Field(default=60, ge=1, description="how often the schedule looks for work that is due")
    alerts_file: Path | None = Field(
        default=None,
        description="thresholds of the alerts, and whom to tell (docs/alerts.md); unset: the defaults, "
        "and nobody is told",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="log lines for people or for machines; auto: console on a terminal"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        del dotenv_settings, file_secret_settings
        given = {
            name.removeprefix(PREFIX).lower(): value for name, value in os.environ.items() if name.startswith(PREFIX)
        }
        held = opened(given, secret_settings(), prefix=PREFIX)
        from_files = InitSettingsSource(settings_cls, {name: held[name] for name in held.keys() - given.keys()})
        return env_settings, from_files, init_settings

    @field_validator("accept_risks")
    @classmethod
    def _known_risks(cls, given: str) -> str:
        for name in _names(given):
            if name not in set(Risk):
                raise PydanticCustomError(
                    "risk", "There is no risk {name}; there are {known}", {"name": name, "known": ", ".join(Risk)}
                )
        return given

    @field_validator("rate_limit", "rate_limit_failures")
    @classmethod
    def _rate(cls, given: str) -> str:
        from limits import parse  # 80 ms that only whoever chose a rate shall wait for

        try:
            rate = parse(given)
        except ValueError:
            raise PydanticCustomError("rate", "This is no rate; give it as 600/minute") from None
        if rate.amount < 1:
            raise PydanticCustomError("rate", "At none at all nobody is answered; give it as 600/minute")
        return given

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, given: str) -> str:
        parts = urlsplit(given)
        here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if given and not (parts.hostname and (parts.scheme == "https" or here)):
            raise PydanticCustomError("issuer", "This is no address of the form https://host")
        return given

    # uvicorn compares what is no address as it stands, so that a proxy given by its name would never be believed.
    @field_validator("web_metrics_from", "web_trusted_proxies")
    @classmethod
    def _networks(cls, given: str) -> str:
        try:
            [ip_network(name) for name in _names(given)]
        except ValueError as error:
            raise PydanticCustomError("networks", "{why}; give networks as 10.0.0.0/8", {"why": str(error)}) from None
        return given

    @field_validator("web_collectors")
    @classmethod
    def _health_addresses(cls, given: str) -> str:
        for address in _names(given):
            parts = urlsplit(address)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
                raise PydanticCustomError(
                    "address", "{address} is no address of the form http://host:9464", {"address": address}
                )
        return given

    @field_validator("web_url")
    @classmethod
    def _origin(cls, given: str) -> str:
        parts = urlsplit(given)
        # It stands in the log, in pages and in notices, so it holds no password.
        if given and (
            parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or "@" in given
        ):
            raise PydanticCustomError("address", "This is no address of the form https://host")
        return given.rstrip("/")

    @field_validator("tsa_url")
    @classmethod
    def _web_address(cls, given: SecretStr | None) -> SecretStr | None:
        if given is None:
            return None
        try:
            parts = urlsplit(given.get_secret_value())
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise PydanticCustomError("address", "This is no address of the form http://host/path or https://host/path")
        return given

    @property
    def mqtt_tls(self) -> TlsFiles:
        """What TLS to the broker goes by."""
        return TlsFiles(self.mqtt_ca_file, self.mqtt_cert_file, self.mqtt_key_file)

    @property
    def accepted_risks(self) -> frozenset[Risk]:
        """`accept_risks`, taken apart."""
        return frozenset(Risk(name) for name in _names(self.accept_risks))

    @property
    def collector_addresses(self) -> tuple[str, ...]:
        """`web_collectors`, taken apart."""
        return tuple(_names(self.web_collectors))

    @property
    def metrics_from(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`web_metrics_from`, taken apart."""
        return tuple(ip_network(name) for name in _names(self.web_metrics_from))

    @property
    def future_tolerance(self) -> timedelta:
        """`future_tolerance_s` as a duration."""
        return timedelta(seconds=self.future_tolerance_s)


def secret_settings() -> list[str]:
    """Name the settings that are secrets, each of which a file can hold: `x_file` for `x`."""
    return [
        name
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]


def _names(given: str) -> list[str]:
    return [name for part in given.split(",") if (name := part.strip())]


def load_settings() -> Settings:
    """Read the settings.

    Raises
    ------
    ConfigurationError
        The file or a value is wrong; the message names the setting and what is expected.
    """
    path = os.environ.get(FILE_VARIABLE)
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {FILE_VARIABLE}
    # Read by the tests and the local servers only.
    known |= {"JCM_MRV_TEST_DATABASE_URL", "JCM_MRV_LOCAL_DIR"}
    known |= {f"{PREFIX}{name}{SUFFIX}".upper() for name in secret_settings()}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            raise ConfigurationError(f"there is no setting {name}; `docs/reference.md` lists them")
    try:
        return Settings(**_from_file(Path(path)) if path else {})
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        name = "_".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"{PREFIX}{name.upper()}: {problem['msg'][0].lower()}{problem['msg'][1:]}") from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return opened(tomllib.loads(path.read_text(encoding="utf-8")), secret_settings())
    except OSError as error:
        raise ConfigurationError(f"{FILE_VARIABLE} names {path}, which cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: this is not TOML: {error}") from None
