"""`jcm-mrv device provision`: broker user, rights, certificate and configuration of a site."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.errors import OutputError, ProvisionError

if TYPE_CHECKING:
    from deploy.authority import AuthorityFolder, Issued, Kind
    from deploy.servers import Endpoints
    from deploy.settings import Settings
    from deploy.site_files import Device
    from devices.mqtt_url import BrokerAddress

_FOR_THE_BROKER = {"mosquitto-tls.conf"}
# The addresses in it were written by a person.
_KEPT = "gateway.toml"
_COLLECTOR = "collector"


@click.command()
@click.argument("name", metavar="[SITE]", required=False)
@click.option(
    "--server",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Instead of a site: a certificate for the broker, for this name or address (several times: for all).",
)
@click.option("--collector", is_flag=True, help="Instead of a site: a certificate for the collector.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to write (private); default: named after the site, or the host.",
)
@click.option(
    "--broker", metavar="URL", help="The broker as the site reaches it, mqtts://host:port; default: the collector's."
)
@click.option(
    "--ca",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the certificate authority, made when it is not there; default: JCM_MRV_AUTHORITY_DIR.",
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=397, help="How long the certificate is valid; 397 unless given."
)
@click.option(
    "--rotate", is_flag=True, help="Write a new key and certificate into the folder; the former has --overlap to go."
)
@click.option(
    "--overlap",
    metavar="DAYS",
    type=click.IntRange(0, 3650),
    default=30,
    help="With --rotate: days until --refresh-crl revokes the former; 30 unless given, 0 revokes it now.",
)
@click.option(
    "--revoke", is_flag=True, help="Revoke all certificates of SITE, or, with its serial number for SITE, one."
)
@click.option(
    "--refresh-crl", "refresh", is_flag=True, help="Revoke what was rotated and is overdue, and sign the list anew."
)
@click.option("--list", "only_list", is_flag=True, help="Show the certificates issued so far, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="For scripts; holds no secret.")
def provision(
    name: str | None, *, hosts: tuple[str, ...], collector: bool, out: Path | None, broker: str | None,
    ca: Path | None, days: int, rotate: bool, overlap: int, revoke: bool, refresh: bool, only_list: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Give a declared SITE what it needs to connect: broker user, ACL, client certificate, gateway configuration.

    With the local servers the broker's user is made as well; for a broker of your own it is said what to add.
    README.txt in the folder says what each file is for. Passwords and keys stand in the files only.
    """
    from deploy.authority import AuthorityFolder
    from deploy.settings import load_settings

    _check_use(name, hosts, collector=collector, rotate=rotate, revoke=revoke, refresh=refresh, only_list=only_list)
    settings = load_settings()
    passphrase = settings.authority_passphrase
    authority = AuthorityFolder(
        _authority_dir(settings, ca), passphrase.get_secret_value() if passphrase is not None else None
    )
    kind: Kind | None = "server" if hosts else "client" if name is not None or collector else None
    named = hosts[0] if hosts else _COLLECTOR if collector else name
    said: dict[str, Any] = {"authority": str(authority.folder)}
    if named is not None:
        said["server" if hosts else "site"] = named
    chosen = _chosen(authority, kind, named)
    if revoke:
        if not chosen:
            raise ProvisionError(
                f"no certificate was issued to {named} by {authority.folder}; --ca names another authority"
            )
        _tell_revoked(said, authority, authority.revoke([one.serial for one in chosen]), settings)
    elif refresh:
        _tell_revoked(said, authority, authority.refresh(), settings)
    elif not only_list:
        assert named is not None  # noqa: S101 - _check_use
        folder = out if out is not None else Path(named)
        if hosts:
            said |= _provision_server(hosts, folder, authority, days=days, rotate=rotate)
        elif collector:
            said |= _provision_collector(folder, authority, settings, broker=broker, days=days, rotate=rotate)
        else:
            said |= _provision_site(named, folder, authority, broker=broker, days=days, rotate=rotate)
        former = [one.serial for one in chosen if one.revoked is None]
        if rotate and former:
            authority.retire(former, days=overlap)
            if overlap == 0:
                _tell_revoked(said, authority, authority.refresh(), settings)
    _show(said, authority, _chosen(authority, kind, named), as_json=as_json)


def _check_use(
    name: str | None, hosts: tuple[str, ...], *, collector: bool, rotate: bool, revoke: bool, refresh: bool,
    only_list: bool,
) -> None:  # fmt: skip
    named = (name is not None) + bool(hosts) + collector
    if rotate + revoke + refresh + only_list > 1:
        raise click.UsageError("--rotate, --revoke, --refresh-crl and --list are four things; give one of them.")
    if refresh and named:
        raise click.UsageError("--refresh-crl is for all certificates; leave SITE out.")
    if named != 1 and not ((refresh or only_list) and named == 0):
        raise click.UsageError("Give one of SITE, --server HOST and --collector.")


def _authority_dir(settings: "Settings", ca: Path | None) -> Path:
    from deploy.local import default_directory

    return ca or settings.authority_dir or default_directory() / "authority"


def _chosen(authority: "AuthorityFolder", kind: "Kind | None", named: str | None) -> "list[Issued]":
    """Give the certificates that are spoken of: of a name, the one of a serial number, or all."""
    found = authority.issued(kind, named)
    if not found and kind == "client" and named is not None:
        found = [one for one in authority.issued() if one.serial == named.lower().replace(":", "").lstrip("0")]
    return found


def _tell_revoked(
    said: dict[str, Any], authority: "AuthorityFolder", revoked: "Sequence[Issued]", settings: "Settings"
) -> None:
    """Bring the list to the broker, as far as the settings say how."""
    from deploy.broker_reload import bring, reload_broker

    said["revoked"] = [one.serial for one in revoked]
    said["revocation_list"] = str(authority.revocations)
    said["broker_reloaded"] = False
    if settings.broker_crl_file is not None:
        bring(authority.revocations, settings.broker_crl_file)
        said["revocation_list"] = str(settings.broker_crl_file)
        if settings.broker_pid_file is not None:
            reload_broker(settings.broker_pid_file, settings.broker_crl_file)
            said["broker_reloaded"] = True


def _own_topics(site: str, where: "Endpoints") -> list[str]:
    """List what the site's devices publish on topics of their own, by their families."""
    from devices.decoding.bindings import Declared, bind
    from devices.decoding.catalogue import load as load_families
    from devices.decoding.routes import Routes
    from sql.connection import Role, connect, reported
    from sql.named import load

    with reported(), connect(where.database_url, Role.READER, application="jcm-mrv device provision") as connection:
        declared = [Declared(*row) for row in connection.execute(load("ingest")["foreign"])]
    bounds, _ = bind(declared, load_families(where.settings.profiles))
    return Routes(bounds).direct_filters(site)


def _provision_site(
    site: str, folder: Path, authority: "AuthorityFolder", *, broker: str | None, days: int, rotate: bool
) -> dict[str, Any]:
    from deploy import site_files
    from deploy.local import LocalServers, default_directory
    from deploy.local.state import user_problem
    from deploy.servers import endpoints
    from devices import mqtt_url

    address = mqtt_url.parse(broker) if broker is not None else None
    if address is not None and (address.username is not None or address.password is not None):
        raise ProvisionError("--broker takes no login, which others could read in the list of processes; leave it out")
    where = endpoints()
    devices = _declared(site, where.database_url)
    problem = user_problem(site)
    if problem is not None:
        raise ProvisionError(problem)
    _check_folder(folder, "client.crt", rotate=rotate)
    filters = _own_topics(site, where)
    rules = site_files.acl(site, filters)
    reached = mqtt_url.parse(where.mqtt_url)
    address = address if address is not None else reached
    local = where.settings.mqtt_url is None
    if local:
        _, password = LocalServers(default_directory()).site_credentials(site, filters)
    else:
        password = _kept_password(folder) or secrets.token_urlsafe(24)
    own_ca_pem = _broker_authority(authority, where.settings, address)
    login = site_files.Login(site, address, password, own_ca=own_ca_pem is not None)
    pem, _ = authority.issue_client(site, days=days)
    files = {
        "README.txt": site_files.readme(login),
        "gateway.toml": site_files.gateway_toml(site, devices),
        "gateway.env": site_files.gateway_env(login),
        "mosquitto-bridge.conf": site_files.bridge_conf(login),
        "password": f"{password}\n",
        "password-line": site_files.password_line(login),
        "acl": rules,
        "client.key": pem.key.decode(),
        # Last: a folder with a certificate is whole.
        "client.crt": pem.certificate.decode(),
    }
    if own_ca_pem is not None:
        files = {site_files.BROKER_CA: own_ca_pem, **files}
    written = _write(folder, files)
    return {
        "folder": str(folder),
        "files": written,
        "broker": str(address),
        "broker_user": "made" if local else "to add",
        "gateway_declared": any(one.kind == "gateway" for one in devices),
    }


def _broker_authority(authority: "AuthorityFolder", settings: "Settings", broker: "BrokerAddress") -> str | None:
    """Give the authorities that a site must know to trust the broker; None where its machine knows them."""
    file = settings.mqtt_ca_file
    if file is None and authority.issued("server", broker.host):
        file = authority.certificate
    if file is None or not broker.tls:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisionError(f"JCM_MRV_MQTT_CA_FILE names {file}, which cannot be read: {error}") from None


def _provision_collector(
    folder: Path, authority: "AuthorityFolder", settings: "Settings", *, broker: str | None, days: int, rotate: bool
) -> dict[str, Any]:
    from deploy import site_files
    from devices import mqtt_url

    given = settings.mqtt_url
    if broker is None and given is None:
        raise ProvisionError("name the broker with --broker; the local one takes the collector's password")
    address = mqtt_url.parse(broker if broker is not None else given.get_secret_value() if given else "")
    if not address.tls:
        raise ProvisionError(f"{address} does without TLS, and without certificates; name it as mqtts://")
    _check_folder(folder, "client.crt", rotate=rotate)
    own_ca_pem = _broker_authority(authority, settings, address)
    pem, _ = authority.issue_client(_COLLECTOR, days=days)
    files = {
        "collector.env": site_files.collector_env(address, site_files.SITE_FOLDER, own_ca=own_ca_pem is not None),
        "client.key": pem.key.decode(),
        "client.crt": pem.certificate.decode(),
    }
    if own_ca_pem is not None:
        files = {site_files.BROKER_CA: own_ca_pem, **files}
    return {"folder": str(folder), "files": _write(folder, files), "broker": str(address)}


def _provision_server(
    hosts: Sequence[str], folder: Path, authority: "AuthorityFolder", *, days: int, rotate: bool
) -> dict[str, Any]:
    from deploy import site_files

    _check_folder(folder, "server.crt", rotate=rotate)
    pem, _ = authority.issue_server(hosts, days=days)
    files = {
        "mosquitto-tls.conf": site_files.server_conf(),
        "ca.pem": authority.certificate.read_text(encoding="utf-8"),
        "crl.pem": authority.revocations.read_text(encoding="utf-8"),
        "server.key": pem.key.decode(),
        "server.crt": pem.certificate.decode(),
    }
    return {"folder": str(folder), "files": _write(folder, files)}


def _declared(site: str, database_url: str) -> "list[Device]":
    from deploy.site_files import Device
    from sql.connection import Role, connect, reported
    from sql.migrator import check
    from sql.named import load

    queries = load("provision")
    with reported(), connect(database_url, Role.READER, application="jcm-mrv device provision") as connection:
        check(connection)
        if connection.execute(queries["site"], (site,)).fetchone() is None:
            raise ProvisionError(f"there is no site {site!r}; declare it with `jcm-mrv apply`")
        return [Device(*row) for row in connection.execute(queries["devices"], (site,))]


def _check_folder(folder: Path, mark: str, *, rotate: bool) -> None:
    """See that nothing is overwritten unasked, and nothing of others at all."""
    if not folder.exists():
        if not folder.resolve().parent.is_dir():
            raise OutputError(f"{folder} cannot be made: there is no folder {folder.resolve().parent}")
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; choose another --out")
    if not any(folder.iterdir()):
        return
    if not rotate:
        raise OutputError(f"{folder} is there already; --rotate writes a new key and certificate into it")
    if not (folder / mark).exists():
        raise OutputError(f"{folder} holds other things and no {mark}; choose another --out")


def _kept_password(folder: Path) -> str | None:
    try:
        return (folder / "password").read_text(encoding="utf-8").partition("\n")[0].strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"{folder / 'password'} cannot be read: {error}") from None


def _write(folder: Path, files: Mapping[str, str]) -> list[str]:
    from deploy.local.place import write_private

    written = []
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        for name, text in files.items():
            if name == _KEPT and (folder / name).exists():
                continue
            write_private(folder / name, text)
            if name in _FOR_THE_BROKER:
                # Read again at every SIGHUP by the broker's user, wherever it is copied to.
                (folder / name).chmod(0o644)
            written.append(name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def _show(said: dict[str, Any], authority: "AuthorityFolder", shown: "Sequence[Issued]", *, as_json: bool) -> None:
    from deploy.provision_view import lines

    now = datetime.now(UTC)
    endings = authority.endings(now)
    if as_json:
        said["certificates"] = [asdict(one) | {"state": one.state(now)} for one in shown]
        said["ending"] = [one.text(now) for one in endings]
        click.echo(json.dumps(said, indent=2))
        return
    for line in lines(said, shown, now):
        click.echo(line)
    for one in endings:
        click.echo(f"jcm-mrv: {one.text(now)}", err=True)
