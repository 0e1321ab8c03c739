"""What `jcm-mrv device provision` tells a person: what was written, what is left to do, which certificates hold."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.authority import Issued
from deploy.local.state import COLLECTOR


def lines(said: Mapping[str, Any], shown: Sequence[Issued], now: datetime) -> list[str]:
    """Say it in lines for a terminal; no secret is among them.

    Parameters
    ----------
    said
        What the command did, as `--json` gives it.
    shown
        The certificates that it was about.
    """
    told = []
    folder, site = said.get("folder"), said.get("site")
    if folder is not None:
        told.append(f"{site or said['server']}: {len(said['files'])} files in {folder}, which only you may read")
        if "server" in said:
            told.append(f"broker       paste {folder}/mosquitto-tls.conf, which says where the other files go")
        elif site == COLLECTOR:
            told.append(f"broker       {said['broker']}; EnvironmentFile= of the collector's unit is collector.env")
        elif said["broker_user"] == "made":
            told.append(f"broker       {said['broker']} has the user {site}; its password is in {folder}/password")
        else:
            told.append(
                f"broker       add {folder}/password-line to the password file of {said['broker']} and {folder}/acl "
                "to its ACL, then reload it"
            )
        if not said.get("gateway_declared", True):
            told.append(f"gateway      none is declared at {site}; without one its health goes to quarantine")
    several = len({one.name for one in shown}) > 1
    for one in shown:
        whose = f" of {one.name}" if several else ""
        until = f", revoked on {one.retires[:10]}" if one.state(now) == "retiring" and one.retires else ""
        told.append(f"certificate  {one.serial}{whose} {one.state(now)}, until {one.not_after[:10]}{until}")
    if not shown and "revoked" not in said:
        whom = site or said.get("server") or "anybody"
        told.append(f"no certificate was issued to {whom} by {said['authority']}")
    if any(one.state(now) == "retiring" for one in shown) and folder is not None:
        told.append(
            f"rotation     copy {folder}/client.key and client.crt to where the former ones are: gateway and collector "
            "take them up, a bridge is restarted"
            if "server" not in said
            else f"rotation     copy {folder}/server.key and server.crt to the broker and reload it"
        )
    if "revoked" in said:
        what = (
            "the broker reads the list"
            if said["broker_reloaded"]
            else f"give the broker {said['revocation_list']} and reload it"
        )
        told.append(f"revoked      {len(said['revoked'])}; {what}; who is connected stays so until the connection ends")
        if site is not None and site != COLLECTOR and folder is None:
            told.append("             a password still holds until its line is taken out of the broker's password file")
    elif folder is not None:
        told.append(f"authority    {said['authority']}: the broker needs its ca.pem and crl.pem; back up its ca.key")
    return told
