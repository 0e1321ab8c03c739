"""The first page, what problems mean, and the API's description for people."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from deploy.access.principal import AccountRole, Permission
from deploy.web import problems
from deploy.web.answers import ConditionalRoute
from deploy.web.identity import SignedIn
from deploy.web.pages import render
from deploy.web.problems import NotFoundError

router = APIRouter(include_in_schema=False, route_class=ConditionalRoute)


@router.get("/")
def home(principal: SignedIn) -> Response:
    """Lead to where somebody works."""
    works_at = {grant.role for grant in principal.grants}
    if works_at & {AccountRole.OPERATOR, AccountRole.ADMINISTRATOR} and principal.may_anywhere(
        Permission.READ_OPERATIONS
    ):
        return RedirectResponse("/sites", 303)
    return RedirectResponse("/projects", 303)


@router.get("/problems/{name}")
def problem(request: Request, name: str) -> Response:
    """Explain a kind of problem."""
    found = next((kind for kind in problems.kinds() if kind.name == name), None)
    if found is None:
        raise NotFoundError(f"there is no problem of the name {name}")
    return render(request, "problem_kind.html", {"kind": found})


@router.get("/api/v1")
def api(request: Request, _principal: SignedIn) -> Response:
    """List the calls of the API, from its own description."""
    return render(request, "api.html", {"groups": _groups(request.app.openapi())})


def _groups(described: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for path, methods in described["paths"].items():
        for method, call in methods.items():
            found.setdefault((call.get("tags") or ["other"])[0], []).append(
                {
                    "method": method.upper(),
                    "path": path,
                    "summary": call.get("summary", ""),
                    "description": call.get("description", ""),
                    "parameters": call.get("parameters", []),
                }
            )
    return found
