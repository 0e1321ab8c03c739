"""Pages: templates with the visitor's language, numbers as the field writes them, and a fixed set of headers."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deploy.access.principal import Permission
from deploy.alerts.rules import RULES as ALERTS
from deploy.visible import visible
from deploy.web import languages
from deploy.web.identity import own_path, sign_in_path, visitor
from deploy.web.problems import NotSignedInError, ProblemError
from deploy.web.words import QUARANTINE

HERE = Path(__file__).parent
STATIC = HERE / "static"


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(languages.translations(language), newstyle=True)  # type: ignore[attr-defined]
    environment.filters |= {
        "number": number, "percent": percent, "moment": moment, "ago": ago, "lasting": lasting, "visible": visible,
        "bytes": in_bytes, "translated": partial(languages.translated, language),
    }  # fmt: skip
    environment.globals |= {
        "static": static_path, "version": version("jcm-mrv"), "LANGUAGES": languages.LANGUAGES, "ALERTS": ALERTS,
        "QUARANTINE": QUARANTINE,
    }  # fmt: skip
    return environment


def render(
    request: Request, template: str, context: Mapping[str, Any] | None = None, *, status: int = 200
) -> HTMLResponse:
    """Render a page.

    Parameters
    ----------
    request
        Gives the visitor, the language and the address of the page.
    template
        File name under `templates/`.
    context
        What the template shows. Always there: `principal` (None: nobody is signed in), `csrf`, `may` (a permission's
        name, asked for at least one project), `may_everywhere` (for all projects), `language`, `here` (the path),
        `in_language` (this page in another one).
    status
        The HTTP status.
    """
    found = visitor_or_none(request)
    language = language_of(request)

    def may(permission: str) -> bool:
        return found is not None and found[0].may_anywhere(Permission(permission))

    def may_everywhere(permission: str) -> bool:
        return found is not None and found[0].may(Permission(permission))

    def in_language(code: str) -> str:
        return "?" + urlencode(
            [(k, v) for k, v in request.query_params.multi_items() if k != "lang"] + [("lang", code)]
        )

    text = _environment(language).get_template(template).render(
        {
            "principal": found[0] if found else None,
            "csrf": found[1] if found else "",
            "may": may,
            "may_everywhere": may_everywhere,
            "language": language,
            "here": request.url.path,
            "in_language": in_language,
            "now": datetime.now(UTC),
            **(context or {}),
        }
    )  # fmt: skip
    response = HTMLResponse(text, status, headers={"Vary": "Accept-Language, Cookie"})
    if request.query_params.get("lang") in languages.LANGUAGES:
        response.set_cookie(languages.COOKIE, language, max_age=365 * 86400, httponly=True, samesite="lax")
    return response


def visitor_or_none(request: Request) -> tuple[Any, str] | None:
    """Return the principal and the CSRF token, or None; also on the page that says that finding them failed."""
    try:
        found = visitor(request)
    except Exception:  # noqa: BLE001 - this page tells of that very failure
        return None
    return None if found.principal is None else (found.principal, found.csrf)


def language_of(request: Request) -> str:
    """Tell the language of a page."""
    return languages.choose(
        request.query_params.get("lang"),
        request.cookies.get(languages.COOKIE),
        request.headers.get("accept-language", ""),
    )


def problem_page(request: Request, problem: ProblemError) -> Response:
    """Show why a page cannot be shown; who is not signed in goes to the sign-in page and back."""
    if isinstance(problem, NotSignedInError):
        return RedirectResponse(sign_in_path(request), 303)
    response = render(request, "problem.html", {"problem": problem}, status=problem.status)
    response.headers.update(problem.headers)
    return response


def back_to(path: str) -> RedirectResponse:
    """Lead to a page of this service after a form was taken."""
    return RedirectResponse(own_path(path), 303)


@cache
def static_path(name: str) -> str:
    """Address a file of `static/` so that a browser may keep it until it changes."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def number(value: Decimal | int | None, places: int | None = None) -> str:
    """Write a number with thin groups of thousands, as exact as it is; `places` only ever cuts off."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if places is not None:
        from decimal import ROUND_DOWN

        value = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_DOWN)
    return f"{value:,f}"


def percent(share: Decimal | float | None) -> str:
    """Write a share as per cent, rounded down, so that 99.999 % never reads as all of it."""
    return "–" if share is None else f"{number(Decimal(str(share)) * 100, 2)} %"


def moment(value: datetime | None) -> str | Markup:
    """Write an instant in UTC, to the second, for people and for machines."""
    if value is None:
        return "–"
    utc = value.astimezone(UTC)
    # Not `Markup.format`, which takes ten times as long: a day has 1,440 readings.
    return Markup(f'<time datetime="{utc.isoformat()}">{utc:%Y-%m-%d %H:%M:%S}Z</time>')  # noqa: S704 - of an instant


def ago(value: datetime | None, now: datetime) -> str:
    """Say how long ago something was, in the largest unit that is not zero."""
    if value is None:
        return "–"
    return lasting(max(0.0, (now - value).total_seconds()))


def lasting(seconds: float | None) -> str:
    """Write a duration in the largest unit that is not zero, rounded down."""
    if seconds is None:
        return "–"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length):,} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def in_bytes(count: int) -> str:
    """Write a size in bytes with the prefix that leaves one to four digits."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
