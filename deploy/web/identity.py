"""Who a request comes from: the token of a script or the session of a browser, and what that one may ask for."""

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Form, Request
from fastapi.security import HTTPBearer

from deploy.access.principal import Permission, Principal
from deploy.web.problems import ForbiddenError, NotFoundError, NotSignedInError, TooManyRequestsError
from deploy.web.state import state_of

# So that the API's own description says how to sign in; the token is read below, where its absence may be a session.
bearer = HTTPBearer(auto_error=False, description="an API token of `jcm-mrv account token issue`")
_SAFE = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who a request comes from."""

    principal: Principal | None
    csrf: str = ""
    """What a form of this session must send along; empty for a token, which no other site can make a browser send."""


def visitor(request: Request) -> Visitor:
    """Find who asks, once a request.

    Raises
    ------
    NotSignedInError
        A token was given that is not valid.
    TooManyRequestsError
        Whoever asks has asked too often.
    """
    known = getattr(request.state, "visitor", None)
    if isinstance(known, Visitor):
        return known
    found = _find(request)
    request.state.visitor = found
    return found


def _find(request: Request) -> Visitor:
    state = state_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    cookie = request.cookies.get(state.cookie)
    address = request.client.host if request.client else ""
    # Counted by what is known of whoever asks, never by what they made up: that would be a new key each time, which
    # limits nobody and fills the memory.
    if token and scheme.lower() == "bearer":
        with state.database.service() as connection:
            principal = state.access.principal_of_token(connection, token.strip())
        if principal is None:
            within(state.failures.wait_s(f"failed:{address}"))
            raise NotSignedInError("this token is not known, expired or revoked")
        within(state.rates.wait_s(f"token:{principal.token}"))
        return Visitor(principal)
    if cookie:
        with state.database.service() as connection:
            session = state.access.principal_of_session(connection, cookie)
        if session is not None:
            # All sessions of an account together: it can begin as many as it likes.
            within(state.rates.wait_s(f"account:{session[0].account}"))
            return Visitor(*session)
    within(state.rates.wait_s(f"address:{address}"))
    return Visitor(None)


def is_still(request: Request, principal: Principal) -> bool:
    """Tell whether a request that goes on for long still comes from the same, with the same rights; uncounted."""
    state = state_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    with state.database.service() as connection:
        if token and scheme.lower() == "bearer":
            return state.access.principal_of_token(connection, token.strip()) == principal
        session = state.access.principal_of_session(connection, request.cookies.get(state.cookie, ""))
    return session is not None and session[0] == principal


def within(wait_s: float) -> None:
    """Refuse who has to wait.

    Raises
    ------
    TooManyRequestsError
        There is something to wait for.
    """
    if wait_s > 0:
        raise TooManyRequestsError(
            f"too many requests; try again in {int(wait_s) + 1} seconds", retry_after_s=int(wait_s) + 1
        )


def signed_in(request: Request) -> Principal:
    """Require somebody.

    Raises
    ------
    NotSignedInError
        Nobody is signed in.
    """
    found = visitor(request).principal
    if found is None:
        raise NotSignedInError("sign in, or send an API token as `Authorization: Bearer …`")
    return found


def signed_in_api(request: Request, _token: Annotated[object, Depends(bearer)]) -> Principal:
    """Require somebody, for the API: a session of a browser must prove that no other site speaks through it.

    Raises
    ------
    NotSignedInError, ForbiddenError
        Nobody is signed in, or a browser's session sends no `X-CSRF-Token`.
    """
    principal = signed_in(request)
    csrf = visitor(request).csrf
    if csrf and request.method not in _SAFE and not _same(request.headers.get("x-csrf-token", ""), csrf):
        raise ForbiddenError("a browser's session must send the page's X-CSRF-Token here; scripts use an API token")
    return principal


def from_this_page(request: Request, csrf: Annotated[str, Form(max_length=200)] = "") -> None:
    """Require that a form was sent by a page of this session.

    Raises
    ------
    ForbiddenError
        The form's token is not the session's: the form is old, or another site sent it.
    """
    expected = visitor(request).csrf
    if expected and not _same(csrf, expected):
        raise ForbiddenError("this form is no longer valid; go back, reload the page, and send it again")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def require(principal: Principal, permission: Permission, project: str) -> None:
    """See that something is allowed for a project.

    Raises
    ------
    NotFoundError
        The project is not one that the principal may know of.
    ForbiddenError
        It may be read, but not this.
    """
    if not principal.may(Permission.READ_PROJECT, project):
        raise NotFoundError(f"there is no project {project}, or it is not yours to see")
    if not principal.may(permission, project):
        raise ForbiddenError(
            f"{principal.account} may not do this for {project}; it takes the permission {permission.value}"
        )


def sign_in_path(request: Request) -> str:
    """Lead to the sign-in page, and from there back to where the request was going."""
    going = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/sign-in?next={quote(going)}" if request.method == "GET" and going != "/" else "/sign-in"


def own_path(given: str) -> str:
    """Return a path of this service, or `/` for what leads elsewhere (an open redirect)."""
    try:
        parts = urlsplit(given)
    except ValueError:
        return "/"
    inner = given.startswith("/") and not given.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return given if inner and "\\" not in given and given.isprintable() else "/"


SignedIn = Annotated[Principal, Depends(signed_in)]
"""A page's visitor."""
SignedInApi = Annotated[Principal, Depends(signed_in_api)]
"""An API call's visitor."""
FromThisPage = Depends(from_this_page)
"""For routes that take a form."""
