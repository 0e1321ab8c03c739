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
    from deploy.site_files import Device

# The addresses in it were written by a person.
_KEPT = "gateway.toml"


@click.command()
@click.argument("site", required=False)
@click.option(
    "--server",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Instead of a site: a certificate for the broker, for this name or address (several times: for all).",
)
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
    help="Folder of the certificate authority, made when it is not there; default: beside the local servers.",
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=397, help="How long the certificate is valid; 397 unless given."
)
@click.option(
    "--renew",
    is_flag=True,
    help="Write a new key and certificate into the folder; the former stays valid unless --revoke is given.",
)
@click.option(
    "--revoke", is_flag=True, help="Revoke the certificates issued so far; without --renew, nothing new is issued."
)
@click.option("--list", "only_list", is_flag=True, help="Show the certificates issued so far, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="For scripts; holds no secret.")
def provision(
    site: str | None, *, hosts: tuple[str, ...], out: Path | None, broker: str | None, ca: Path | None, days: int,
    renew: bool, revoke: bool, only_list: bool, as_json: bool,
) -> None:  # fmt: skip
    """Give a declared SITE what it needs to connect: broker user, ACL, client certificate, gateway configuration.

    With the local servers the broker's user is made as well; for a broker of your own it is said what to add.
    README.txt in the folder says what each file is for. Passwords and keys stand in the files only.
    """
    from deploy.authority import AuthorityFolder
    from deploy.local import default_directory

    if (site is None) == (not hosts):
        raise click.UsageError("Give either SITE or --server HOST.")
    if only_list and (renew or revoke):
        raise click.UsageError("--list changes nothing; leave --renew and --revoke out.")
    authority = AuthorityFolder(ca if ca is not None else default_directory() / "authority")
    kind: Kind = "client" if site is not None else "server"
    name = site if site is not None else hosts[0]
    before = authority.issued(kind, name)
    said: dict[str, Any] = {kind if kind == "server" else "site": name, "authority": str(authority.folder)}
    if revoke and not before:
        raise ProvisionError(f"no certificate was issued to {name} by {authority.folder}; --ca names another authority")
    if not only_list and (renew or not revoke):
        folder = out if out is not None else Path(name)
        if site is not None:
            said |= _provision_site(site, folder, authority, broker=broker, days=days, renew=renew)
        else:
            said |= _provision_server(hosts, folder, authority, days=days, renew=renew)
    if revoke:
        said["revoked"] = [one.serial for one in authority.revoke([one.serial for one in before])]
        said["revocation_list"] = str(authority.revocations)
    certificates = authority.issued(kind, name)
    if as_json:
        now = datetime.now(UTC)
        said["certificates"] = [asdict(one) | {"state": one.state(now)} for one in certificates]
        click.echo(json.dumps(said, indent=2))
        return
    for line in _lines(name, said, certificates, site is not None):
        click.echo(line)


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
    site: str, folder: Path, authority: "AuthorityFolder", *, broker: str | None, days: int, renew: bool
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
    _check_folder(folder, "client.crt", renew=renew)
    filters = _own_topics(site, where)
    rules = site_files.acl(site, filters)
    reached = mqtt_url.parse(where.mqtt_url)
    address = address if address is not None else reached
    local = where.settings.mqtt_url is None
    if local:
        _, password = LocalServers(default_directory()).site_credentials(site, filters)
    else:
        password = _kept_password(folder) or secrets.token_urlsafe(24)
    own_ca = where.settings.mqtt_ca_file
    try:
        own_ca_pem = own_ca.read_text(encoding="utf-8") if own_ca is not None and address.tls else None
    except (OSError, UnicodeDecodeError) as error:
        raise ProvisionError(f"JCM_MRV_MQTT_CA_FILE names {own_ca}, which cannot be read: {error}") from None
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


def _provision_server(
    hosts: Sequence[str], folder: Path, authority: "AuthorityFolder", *, days: int, renew: bool
) -> dict[str, Any]:
    from deploy import site_files

    _check_folder(folder, "server.crt", renew=renew)
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


def _check_folder(folder: Path, mark: str, *, renew: bool) -> None:
    """See that nothing is overwritten unasked, and nothing of others at all."""
    if not folder.exists():
        if not folder.resolve().parent.is_dir():
            raise OutputError(f"{folder} cannot be made: there is no folder {folder.resolve().parent}")
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; choose another --out")
    if not any(folder.iterdir()):
        return
    if not renew:
        raise OutputError(f"{folder} is there already; --renew writes a new key and certificate into it")
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
            written.append(name)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written


def _lines(name: str, said: Mapping[str, Any], certificates: "Sequence[Issued]", is_site: bool) -> list[str]:
    now = datetime.now(UTC)
    lines = []
    if "folder" in said:
        folder = said["folder"]
        lines.append(f"{name}: {len(said['files'])} files in {folder}, which only you may read")
        if not is_site:
            lines.append(f"broker       paste {folder}/mosquitto-tls.conf, which says where the other files go")
        elif said["broker_user"] == "made":
            lines.append(f"broker       {said['broker']} has the user {name}; its password is in {folder}/password")
        else:
            lines.append(
                f"broker       add {folder}/password-line to the password file of {said['broker']} and {folder}/acl "
                "to its ACL, then reload it"
            )
        if is_site and not said["gateway_declared"]:
            lines.append(f"gateway      none is declared at {name}; without one its health goes to quarantine")
    lines += [f"certificate  {one.serial} {one.state(now)}, until {one.not_after[:10]}" for one in certificates]
    if not certificates:
        lines.append(f"no certificate was issued to {name} by {said['authority']}")
    if "revoked" in said:
        lines.append(f"revoked      {len(said['revoked'])}; give the broker {said['revocation_list']} and reload it")
        if is_site:
            lines.append(
                "             a password still holds until its line is taken out of the broker's password file"
            )
    elif "folder" in said:
        lines.append(f"authority    {said['authority']}: the broker needs its ca.pem and crl.pem; back up its ca.key")
    return lines
