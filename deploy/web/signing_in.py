"""Signing in and out: with a provider (OpenID Connect), or by pasting an API token once."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from deploy.access.errors import SignInError
from deploy.web.identity import FromThisPage, own_path, visitor, within
from deploy.web.pages import back_to, render
from deploy.web.problems import ForbiddenError
from deploy.web.state import State, state_of

router = APIRouter(include_in_schema=False)
_NEXT = "jcm_mrv_next"
_HANDSHAKE = "jcm_mrv_oidc"
_HANDSHAKE_S = 600


@router.get("/sign-in")
def form(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:  # noqa: A002 - the name in the address
    """Show the ways to sign in."""
    if visitor(request).principal is not None:
        return back_to(next)
    return _form(request, next)


@router.post("/sign-in")
def with_token(
    request: Request,
    token: Annotated[str, Form(max_length=500)],
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002 - the name of the field
) -> Response:
    """Begin a session with a token's rights; the token itself is kept nowhere."""
    state = state_of(request)
    address = request.client.host if request.client else ""
    _same_origin(request)
    with state.database.service() as connection:
        principal = state.access.principal_of_token(connection, token.strip())
        if principal is None:
            within(state.failures.wait_s(f"failed:{address}"))
            return _form(request, next, wrong=True)
        within(state.rates.wait_s(f"token:{principal.token}"))
        cookie = state.access.begin_session(connection, principal)
    response = back_to(next)
    _keep(response, state, cookie)
    return response


@router.get("/sign-in/provider")
def to_provider(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:  # noqa: A002
    """Lead to the provider's own sign-in page."""
    state = state_of(request)
    within(state.rates.wait_s(f"address:{request.client.host if request.client else ''}"))
    where, handshake = state.access.oidc_start(_callback(state))
    response = RedirectResponse(where, 303)
    for name, value in ((_HANDSHAKE, handshake), (_NEXT, own_path(next))):
        # Lax, because the provider leads the browser back here.
        response.set_cookie(
            name, value, max_age=_HANDSHAKE_S, path="/sign-in", httponly=True, secure=state.is_secure, samesite="lax"
        )
    return response


@router.get("/sign-in/callback")
def from_provider(request: Request) -> Response:
    """Take what the provider says of who signed in, and begin a session."""
    state = state_of(request)
    address = request.client.host if request.client else ""
    within(state.rates.wait_s(f"address:{address}"))
    try:
        # Without a connection: there are few, and the provider may take its time.
        identity = state.access.oidc_identity(str(request.url), request.cookies.get(_HANDSHAKE, ""), _callback(state))
    except SignInError:
        within(state.failures.wait_s(f"failed:{address}"))
        raise
    with state.database.service() as connection:
        principal = state.access.oidc_principal(connection, identity)
        cookie = state.access.begin_session(connection, principal)
    response = back_to(request.cookies.get(_NEXT, "/"))
    _keep(response, state, cookie)
    for name in (_HANDSHAKE, _NEXT):
        response.delete_cookie(name, path="/sign-in")
    return response


@router.post("/sign-out", dependencies=[FromThisPage])
def sign_out(request: Request) -> Response:
    """End the session, also for whoever has its cookie."""
    state = state_of(request)
    with state.database.service() as connection:
        state.access.end_session(connection, request.cookies.get(state.cookie, ""))
    response = back_to("/sign-in")
    response.delete_cookie(state.cookie, path="/", secure=state.is_secure, httponly=True, samesite="lax")
    return response


def _form(request: Request, then: str, *, wrong: bool = False) -> Response:
    context = {"next": own_path(then), "wrong": wrong, "provider": state_of(request).access.has_oidc}
    return render(request, "sign_in.html", context, status=401 if wrong else 200)


def _same_origin(request: Request) -> None:
    # There is no session yet that a form could prove; browsers say where a form comes from. `Sec-Fetch-Site` they send
    # to https and to this machine only, `Origin` with every form; a script sends neither. The host is one of ours
    # (TrustedHostMiddleware).
    own = {"http://" + request.headers.get("host", ""), "https://" + request.headers.get("host", "")}
    origin = request.headers.get("origin")
    elsewhere = origin is not None and origin not in own
    if elsewhere or request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForbiddenError("this form was sent from another site; open the sign-in page here")


def _callback(state: State) -> str:
    return f"{state.url}/sign-in/callback"


def _keep(response: Response, state: State, cookie: str) -> None:
    response.set_cookie(state.cookie, cookie, path="/", httponly=True, secure=state.is_secure, samesite="lax")
