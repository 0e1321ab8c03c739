"""Notices as a JSON POST: the body is Alertmanager's, version 4, so that what takes its webhooks takes ours.

Signed as Standard Webhooks has it (standardwebhooks.com): `webhook-id`, `webhook-timestamp` and `webhook-signature`,
which is `v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`. The id is the event's, the same at every
attempt, and stands in `Idempotency-Key` as well.
"""

import base64
import binascii
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import httpx

from deploy.alerts.config import Webhook
from deploy.alerts.errors import NoticeError
from deploy.errors import ConfigurationError

RUNBOOK = "docs/alerts.md#"
"""Where each rule is explained; a link in `external_url` leads to the pages."""
_PREFIX = "whsec_"
_NEVER = "0001-01-01T00:00:00Z"


def send(target: Webhook, name: str, key: str, content: Mapping[str, Any]) -> str:
    """Post a notice.

    Parameters
    ----------
    target, name
        Where to, and what the configuration calls it.
    key
        Names the event.
    content
        As `deploy.alerts.notices.content_of` makes it.

    Returns
    -------
    str
        What came of it, such as `HTTP 204`.

    Raises
    ------
    NoticeError
        It was not taken: no answer, or a status other than 2xx. Redirections are not followed.
    """
    body = json.dumps(as_alertmanager(name, content), ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"jcm-mrv/{version('jcm-mrv')}",
        "Idempotency-Key": key,
        **signature(None if target.secret is None else target.secret.get_secret_value(), key, int(time.time()), body),
    }
    try:
        # The machine's own authorities, as for mail; httpx would take those of a package.
        tls = ssl.create_default_context(cafile=None if target.ca_file is None else str(target.ca_file))
        with httpx.Client(timeout=target.timeout_s, verify=tls) as client:
            answer = client.post(target.url.get_secret_value(), content=body, headers=headers)
    except httpx.TimeoutException:
        raise NoticeError(f"no answer within {target.timeout_s:g} s") from None
    except httpx.TransportError as error:
        # Its text never holds the address; the kind alone says little.
        raise NoticeError(f"cannot be reached ({' '.join(str(error).split()) or type(error).__name__})") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise NoticeError(f"cannot be asked ({type(error).__name__})") from None
    if not answer.is_success:
        raise NoticeError(f"HTTP {answer.status_code}")
    return f"HTTP {answer.status_code}"


def signature(secret: str | None, key: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks; without a secret, those that name the event.

    A secret `whsec_…` is base64 as the standard writes it; any other is taken as its bytes.
    """
    headers = {"webhook-id": key, "webhook-timestamp": str(at_s)}
    if secret is not None:
        if secret.startswith(_PREFIX):
            try:
                raw = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            except binascii.Error:
                raise ConfigurationError("the secret of a webhook begins with whsec_ and is not base64") from None
        else:
            raw = secret.encode()
        signed = hmac.new(raw, f"{key}.{at_s}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return headers


def as_alertmanager(receiver: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Put a notice in the shape of Alertmanager's webhook, version 4."""
    alerts = [_alert(one, content) for one in content["alerts"]]
    return {
        "version": "4",
        "groupKey": f"jcm-mrv:{content['group']}",
        "truncatedAlerts": 0,
        "status": content["kind"],
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": _common([one["labels"] for one in alerts]),
        "commonAnnotations": _common([one["annotations"] for one in alerts]),
        "externalURL": content["external_url"] or "",
        "alerts": alerts,
    }


def _alert(one: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"alertname": one["rule"], "severity": one["severity"], "subject": one["subject"]}
    labels |= {name: one[name] for name in ("site", "project") if one[name] is not None}
    return {
        "status": "resolved" if one["resolved_at"] else "firing",
        "labels": labels,
        "annotations": {
            "summary": one["said"],
            "description": one["do"],
            "runbook_url": f"{RUNBOOK}{one['rule']}",
        },
        "startsAt": one["firing_since"] or one["since"],
        "endsAt": one["resolved_at"] or _NEVER,
        "generatorURL": content["external_url"] or "",
        "fingerprint": hashlib.sha256(f"{one['rule']} {one['subject']}".encode()).hexdigest()[:16],
    }


def _common(all_of: list[dict[str, str]]) -> dict[str, str]:
    first, *rest = all_of
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in rest)}
