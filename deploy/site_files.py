"""What a site is given to connect, and what a broker's administrator is given to let it in: texts, no files.

Paths in them are those at the place where they are used: `SITE_FOLDER` at the site, `BROKER_FOLDER` at the broker.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from deploy.errors import ProvisionError
from deploy.local.mosquitto import own_topics, password_file
from devices.mqtt_url import BrokerAddress

SITE_FOLDER = "/etc/jcm-mrv"
BROKER_FOLDER = "/etc/mosquitto/certs"
BROKER_CA = "broker-ca.pem"
_COMMANDS = "spBv1.0/+/NCMD/#"


@dataclass(frozen=True, slots=True)
class Device:
    """A declared device."""

    id: str
    kind: str
    profile: str


@dataclass(frozen=True, slots=True)
class Login:
    """How a site logs in.

    Parameters
    ----------
    broker
        As the site reaches it; a login in it is not used.
    password
        The site's; the user is the site's id.
    own_ca
        Whether the broker's certificate is signed by an authority that machines do not know, so that the site needs
        `BROKER_CA`.
    """

    site: str
    broker: BrokerAddress
    password: str = field(repr=False)
    own_ca: bool = False


def acl(site: str, extra_filters: Sequence[str]) -> str:
    """Give the lines of Mosquitto's `acl_file` for a site.

    Parameters
    ----------
    extra_filters
        Topic filters outside `jcm/v1` that devices of the site publish to by themselves.

    Raises
    ------
    ProvisionError
        A filter would give the site more than topics of its devices.
    """
    for one in extra_filters:
        first, *_ = one.split("/")
        if not one.isprintable() or one != one.strip() or first in {"", "#", "+", "jcm"} or first.startswith("$"):
            raise ProvisionError(
                f"{site}: the topic {one!r} cannot be given to a site: it must begin with a name, and not with jcm or $"
            )
    rules = [
        f"topic write jcm/v1/{site}/#",
        f"topic read jcm/v1/{site}/via/{_COMMANDS}",
        "topic read spBv1.0/STATE/+",
    ]
    return "\n".join([f"user {site}", *rules, *own_topics(extra_filters)]) + "\n"


def password_line(login: Login) -> str:
    """Give the line of Mosquitto's `password_file`: a hash, not the password."""
    return password_file({login.site: login.password})


def gateway_toml(site: str, devices: Sequence[Device]) -> str:
    """Give the edge gateway's configuration: complete but for where the devices are, which is not declared."""
    gateways = [one.id for one in devices if one.kind == "gateway"]
    declared = "" if gateways else '                        # declare it: [[device]] with kind = "gateway"'
    native = [one for one in devices if one.kind != "gateway" and one.profile == "native"]
    polled = [one for one in native if one.kind != "weather"]
    weather = ", ".join(one.id for one in native if one.kind == "weather")
    text = f"""\
# jcm-mrv gateway {SITE_FOLDER}/gateway.toml; docs/gateway.md explains every key. Then: jcm-mrv gateway --check
# The broker's address and the login are in gateway.env, not here.
[gateway]
id = {_quoted(gateways[0] if gateways else "gateway-1")}{declared}
site = {_quoted(site)}
spool = "/var/lib/jcm-mrv/spool.sqlite" # on a disk that survives a power cut
spool_limit_mb = 500
when_full = "drop-oldest"               # or "drop-newest"
"""
    for device in polled or [Device("inverter-1", "inverter", "native")]:
        text += f"""
[[device]]
id = {_quoted(device.id)}
kind = "sunspec"                        # or "modbus", with [[device.register]] tables
host = {_quoted(f"address-of-{device.id}")}   # CHANGE: its address; or serial_port = "/dev/ttyUSB0"
unit = 1
poll_interval_s = 60
"""
    if weather:
        text += f'\n# Weather stations ({weather}) are asked with kind = "modbus" and tables of registers.\n'
    return text


def gateway_env(login: Login) -> str:
    """Give the gateway's environment, for systemd's `EnvironmentFile=`; it holds the password."""
    user, password = quote(login.site, safe=""), quote(login.password, safe="")
    scheme, _, place = str(login.broker).partition("://")
    lines = [f"JCM_MRV_MQTT_PUBLISH_URL={scheme}://{user}:{password}@{place}"]
    if login.own_ca:
        lines.append(f"JCM_MRV_MQTT_CA_FILE={SITE_FOLDER}/{BROKER_CA}")
    if login.broker.tls:
        # A listener that asks for no certificate takes no notice of one.
        lines += [f"JCM_MRV_MQTT_CERT_FILE={SITE_FOLDER}/client.crt", f"JCM_MRV_MQTT_KEY_FILE={SITE_FOLDER}/client.key"]
    return "\n".join(lines) + "\n"


def collector_env(broker: BrokerAddress, folder: str, *, own_ca: bool) -> str:
    """Give the environment of a collector that logs in with its certificate, for systemd's `EnvironmentFile=`."""
    lines = [f"JCM_MRV_MQTT_URL={broker}"]
    lines += [f"JCM_MRV_MQTT_CA_FILE={folder}/{BROKER_CA}"] if own_ca else []
    lines += [f"JCM_MRV_MQTT_CERT_FILE={folder}/client.crt", f"JCM_MRV_MQTT_KEY_FILE={folder}/client.key"]
    return "\n".join(lines) + "\n"


def bridge_conf(login: Login) -> str:
    """Give the part of a site's own Mosquitto's configuration that passes everything on; it holds the password."""
    if login.broker.tls:
        trusted = f"bridge_cafile {SITE_FOLDER}/{BROKER_CA}" if login.own_ca else "bridge_capath /etc/ssl/certs"
        secure = f"""
{trusted}
bridge_tls_version tlsv1.2
# Where the broker asks for certificates the password counts for nothing, and elsewhere these do.
bridge_certfile {SITE_FOLDER}/client.crt
bridge_keyfile {SITE_FOLDER}/client.key
"""
    else:
        secure = "\n# No TLS: only inside one machine or a network of your own.\n"
    return f"""\
# For the site's own Mosquitto: `include_dir`, or pasted at the end of its mosquitto.conf. Holds the password.
# Its mosquitto.conf needs as well, so that nothing is lost while the line is down; many devices publish at QoS 0,
# which would neither be kept nor acknowledged:
#   persistence true
#   upgrade_outgoing_qos true
#   max_queued_messages 1000000000
#   max_queued_bytes 1073741824
connection jcm-mrv-{login.site}
address {str(login.broker).partition("://")[2]}
remote_clientid {login.site}-bridge
remote_username {login.site}
remote_password {login.password}
cleansession false
notifications_local_only true
restart_timeout 5 60
{secure}
topic # out 1 "" jcm/v1/{login.site}/via/
topic {_COMMANDS} in 0 "" jcm/v1/{login.site}/via/
topic spBv1.0/STATE/+ in 1
"""


def readme(login: Login) -> str:
    """Say what each file is and what to do with it."""
    lines = [
        f"Site {login.site}, broker {login.broker}. Secret: client.key, password, gateway.env, mosquitto-bridge.conf.",
        f"To the site, as {SITE_FOLDER} (folder 0700, files 0600, owned by the user that runs the service):",
        "  gateway.toml           jcm-mrv gateway: change the devices' addresses, then run it with --check",
        "  gateway.env            its broker and login; EnvironmentFile= of its systemd unit",
        "  mosquitto-bridge.conf  instead, where the site has a Mosquitto of its own that devices publish to",
        "  client.key, client.crt the site's key and certificate, which gateway and bridge show to the broker",
        "  password               the site's password, for any other client; the user is the site's id",
        "To the administrator of the broker (not needed for the local servers of jcm-mrv local):",
        "  password-line          a hash; append to Mosquitto's password_file, replacing an older line of the site",
        "  acl                    append to its acl_file, replacing an older block; then send Mosquitto SIGHUP",
    ]
    if login.own_ca:
        lines.insert(7, f"  {BROKER_CA}          the authority that signed the broker's certificate")
    return "\n".join(lines) + "\n"


def server_conf(folder: str = BROKER_FOLDER) -> str:
    """Give the listeners of a Mosquitto for sites with a certificate and for sites with a password only.

    Parameters
    ----------
    folder
        Where the broker's key, its certificate, the authority's and the list of revoked ones lie.
    """
    return f"""\
# For the broker's Mosquitto. Copy this folder's server.key, server.crt, ca.pem and the authority's crl.pem to
# {folder}, readable for its user. After each `--revoke` and `--refresh-crl` copy crl.pem again, whole, and send
# it SIGHUP: a broker that cannot read the list then goes on without one. Who is connected stays so until the connection
# ends. allow_anonymous false, password_file, acl_file: as before.

# A site's certificate and no password; the user is the certificate's common name, which is the site's id.
listener 8883
tls_version tlsv1.2
certfile {folder}/server.crt
keyfile {folder}/server.key
cafile {folder}/ca.pem
require_certificate true
use_identity_as_username true
crlfile {folder}/crl.pem

# A password, for devices that can show no certificate. Leave it out where there are none.
listener 8884
tls_version tlsv1.2
certfile {folder}/server.crt
keyfile {folder}/server.key
"""


def _quoted(text: str) -> str:
    # A JSON string of printable text is a TOML string.
    return json.dumps(text, ensure_ascii=False)
