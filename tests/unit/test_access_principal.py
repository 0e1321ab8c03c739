"""Who may do what, decided from what was granted; laws that hold for whatever is granted."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.access.principal import AccountRole, Grant, Permission, Principal, Scope

PROJECTS = ("A", "B", "C")
GRANTS = st.lists(st.builds(Grant, st.sampled_from(AccountRole), st.sampled_from([None, *PROJECTS])), max_size=4)
PRINCIPALS = st.builds(
    Principal, st.just("x"), st.just("X"), st.just("O"), GRANTS.map(tuple), st.frozensets(st.sampled_from(Scope))
)
PERMISSIONS = st.sampled_from(Permission)


@given(PRINCIPALS, PERMISSIONS, st.sampled_from(PROJECTS))
def test_the_projects_of_a_permission_are_those_where_it_is_allowed(principal, permission, project) -> None:
    projects = principal.projects(permission)
    assert (projects is None or project in projects) == principal.may(permission, project)
    assert (projects is None) == principal.may(permission)
    assert principal.may_anywhere(permission) == (projects is None or bool(projects))
    allowed = {name for name in PROJECTS if principal.may(permission, name)}
    assert allowed == set(PROJECTS if projects is None else projects & set(PROJECTS))


@given(PRINCIPALS, GRANTS, st.frozensets(st.sampled_from(Scope)), PERMISSIONS, st.sampled_from([None, *PROJECTS]))
def test_less_granted_never_allows_more(principal, grants, scopes, permission, project) -> None:
    more = Principal("x", "X", "O", (*principal.grants, *grants), principal.scopes | scopes)
    assert more.may(permission, project) or not principal.may(permission, project)


def has_role(principal: Principal, role: AccountRole, project: str | None) -> bool:
    return any(grant.role is role and grant.project in {None, project} for grant in principal.grants)


@given(PRINCIPALS, PERMISSIONS, st.sampled_from([None, *PROJECTS]))
def test_nobody_both_verifies_and_is_verified_by_one_role(principal, permission, project) -> None:
    if principal.may(permission, project) and permission in {Permission.RAISE_FINDING, Permission.ATTEST}:
        assert has_role(principal, AccountRole.VERIFIER, project)
    if principal.may(permission, project) and permission in {Permission.SUBMIT, Permission.RESPOND}:
        assert has_role(principal, AccountRole.PARTICIPANT, project)
    if principal.may(permission, project) and permission is Permission.ADMINISTER:
        assert has_role(principal, AccountRole.ADMINISTRATOR, project)


def test_a_grant_for_one_project_is_none_for_all() -> None:
    one = Principal("x", "X", "O", (Grant(AccountRole.VERIFIER, "A"),))
    assert one.projects(Permission.ATTEST) == {"A"}
    assert not one.may(Permission.ATTEST)
    assert Principal("x", "X", "O", ()).projects(Permission.READ_PROJECT) == frozenset()
