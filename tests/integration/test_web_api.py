"""The API against its own description: whatever is sent, it answers as it says, and never with a failure of its own."""

import re
from collections.abc import Iterator
from decimal import Decimal

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from deploy.access import accounts
from deploy.access.principal import AccountRole
from deploy.servers import Endpoints
from deploy.settings import Settings
from deploy.web.app import make_app
from deploy.web.composition import make_state
from mrv.tracing.exact import Exact
from sql.connection import Role, connect
from tests.integration.two_projects import ONE, build, entity
from tests.website import Website, serving

EXAMPLES = 12
NOT_HELD = [
    negative_data_rejection,  # within the types of a path there is much that is not there, and 404 says so
    positive_data_acceptance,  # a cursor is a string, but not every string is a cursor
    ignored_auth,  # test_web_access.py asks every route without a token; here each call has one
]


@pytest.fixture(scope="module")
def site(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    folder = tmp_path_factory.mktemp("keys")
    build(shared_database, folder)
    with serving(shared_database, evidence_key_file=folder / "evidence.pem") as site:
        site.account("all", AccountRole.VERIFIER, organisation=entity(ONE))
        with connect(shared_database, Role.OWNER) as connection:
            for role in (AccountRole.PARTICIPANT, AccountRole.OPERATOR):
                accounts.grant(connection, "all", role, None)
        yield site


def described() -> dict:
    """The API's description; it asks nothing of a database."""
    servers = Endpoints(Settings(database_url="postgresql://nobody@127.0.0.1/nothing"))
    state = make_state(servers, 0, CollectorRegistry())
    return make_app(state, registry=CollectorRegistry()).openapi()


OPERATIONS = [
    (method, path)
    for path, methods in described()["paths"].items()
    for method in methods
    if path != "/api/v1/live"  # a stream without an end
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_asked_is_answered_as_described(site: Website, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {site.tokens['all']}"}
    schema = schemathesis.openapi.from_url(f"{site.url}/api/v1/openapi.json")

    @given(case=schema[path][method.upper()].as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers, excluded_checks=NOT_HELD, timeout=30)

    ask()


def test_every_call_says_what_it_is_for() -> None:
    page = described()
    wordless = [
        (method, path)
        for path, methods in page["paths"].items()
        for method, call in methods.items()
        if not call.get("summary") or not call.get("description") or not call.get("tags")
    ]
    assert wordless == []
    assert page["openapi"].startswith("3.1")


def test_exact_numbers_are_strings_without_an_exponent(site: Website) -> None:
    with site.client("all") as client:
        found = client.get(f"/api/v1/projects/{ONE}/periods/2021-03-01/2021-03-02/revisions/1/months").json()
        wrong = client.get(f"/api/v1/projects/{ONE}/periods/2021-03-01/2021-03-02/revisions/1/days?month=2021-13")
    assert (wrong.status_code, wrong.json()["detail"]) == (404, "2021-13 is not a month; months are written as 2021-12")
    numbers = [one["tco2"] for one in (*found["months"], *found["lines"])] + [one["eg_wh"] for one in found["months"]]
    assert len(numbers) > 2
    assert [one for one in numbers if not re.fullmatch(r"-?\d+(\.\d+)?", one)] == []


def test_an_exact_number_keeps_its_places() -> None:
    assert TypeAdapter(Exact).dump_json(Decimal("-2.03E-7")) == b'"-0.000000203"'
    assert TypeAdapter(Exact).dump_json(Decimal("1.500")) == b'"1.500"'
