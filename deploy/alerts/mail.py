"""Notices as e-mail: plain text, short lines, what is wrong first, for a telephone's screen."""

import re
import smtplib
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from deploy.alerts.config import Email
from deploy.alerts.errors import NoticeError
from deploy.alerts.notices import RESOLVED

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SHOWN = 30
_SUBJECT_LENGTH = 120


def send(target: Email, name: str, key: str, content: Mapping[str, Any]) -> str:
    """Send a notice; all recipients in one message.

    Returns
    -------
    str
        What came of it, such as `taken for 2 recipients`.

    Raises
    ------
    NoticeError
        The server did not take it for every recipient; it is sent again under the same Message-ID.
    """
    message = as_message(target, name, key, content)
    try:
        with _connected(target) as server:
            if target.user is not None and target.password is not None:
                server.login(target.user, target.password.get_secret_value())
            refused = server.send_message(message, from_addr=target.sender, to_addrs=list(target.to))
    except smtplib.SMTPAuthenticationError as error:
        raise NoticeError(f"the mail server refuses the login ({error.smtp_code})") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise NoticeError(f"the mail server refuses every recipient ({', '.join(map(str, codes))})") from None
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise NoticeError(f"the mail server says {error.smtp_code} {' '.join(said.split())[:200]}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise NoticeError(f"the mail server cannot do this: {error}") from None
    except ssl.SSLError as error:
        raise NoticeError(f"the mail server's TLS is refused ({error.reason or 'see its certificate'})") from None
    except TimeoutError:
        raise NoticeError(f"no answer within {target.timeout_s:g} s") from None
    except UnicodeError:
        # Raised with what it could not encode, which may be the password.
        raise NoticeError("the login or an address is not plain ASCII") from None
    except (smtplib.SMTPException, OSError) as error:
        raise NoticeError(f"the mail server cannot be reached ({' '.join(str(error).split())})") from None
    if refused:
        # Said and not tried again: the others have it.
        return f"taken for {len(target.to) - len(refused)} recipients, refused for {len(refused)}"
    return f"taken for {len(target.to)} recipient{'' if len(target.to) == 1 else 's'}"


def _connected(target: Email) -> smtplib.SMTP:
    port = target.port or _PORTS[target.security]
    # Its own name as it is: asking the DNS for a longer one may take a minute.
    here = socket.gethostname() or "localhost"
    tls = ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
    if target.security == "tls":
        return smtplib.SMTP_SSL(target.host, port, here, context=tls, timeout=target.timeout_s)
    server = smtplib.SMTP(target.host, port, here, timeout=target.timeout_s)
    if target.security == "starttls":
        try:
            server.starttls(context=tls)
        except BaseException:
            server.close()
            raise
    return server


def as_message(target: Email, name: str, key: str, content: Mapping[str, Any]) -> EmailMessage:
    """Write the message; the same event gives the same Message-ID, and a recovery answers what it is the end of."""
    message = EmailMessage(policy=SMTP)
    user, _, host = target.sender.rpartition("@")
    message["From"] = Address("jcm-mrv", user, host)
    message["To"] = ", ".join(target.to)
    message["Subject"] = subject_of(content)
    message["Date"] = format_datetime(datetime.fromisoformat(content["at"]).astimezone(UTC))
    message["Message-ID"] = _message_id(key, name, host)
    if content["answers"]:
        message["In-Reply-To"] = message["References"] = _message_id(content["answers"], name, host)
    # RFC 3834: nobody's holiday notice answers it.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text_of(content), cte="quoted-printable")
    return message


def _message_id(key: str, name: str, host: str) -> str:
    return f"<{key}.{re.sub('[^A-Za-z0-9.-]', '-', name)}@{host}>"


def subject_of(content: Mapping[str, Any]) -> str:
    """Say in one line what a lock screen shows."""
    alerts = content["alerts"]
    first = alerts[0]
    more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    head = "over" if content["kind"] == RESOLVED else first["severity"]
    return " ".join(f"[jcm-mrv {head}] {first['title']}: {first['subject']}{more}".split())[:_SUBJECT_LENGTH]


def text_of(content: Mapping[str, Any]) -> str:
    """Write the text: each alert in a line or two, what to do once for each rule."""
    over = content["kind"] == RESOLVED
    lines: list[str] = []
    told: set[str] = set()
    for one in content["alerts"][:_SHOWN]:
        if over:
            began, ended = _time(one["firing_since"]), _time(one["resolved_at"])
            lines += [f"OVER {one['title']}: {one['subject']}", f"{began} to {ended} UTC", ""]
            continue
        lines += [f"{one['severity'].upper()} {one['title']}: {one['subject']}", one["said"]]
        lines.append(f"since {_time(one['since'])} UTC")
        if one["rule"] not in told:
            told.add(one["rule"])
            lines.append(f"To do: {one['do']}")
        lines.append("")
    if len(content["alerts"]) > _SHOWN:
        lines += [f"and {len(content['alerts']) - _SHOWN} more", ""]
    if content["external_url"]:
        lines.append(content["external_url"])
    elif not over:
        lines.append("jcm-mrv alert list")
    return "\n".join(lines).rstrip() + "\n"


def _time(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M}"
