-- Who acts on a connection, and the accounts, tokens and sessions behind it.

-- name: act
-- Each for the session; the role first, so that nothing else is set for who may not take it.
select set_config('role', %(role)s, false), set_config('search_path', %(search_path)s, false),
    set_config('jcm_mrv.projects', %(projects)s, false), set_config('default_transaction_read_only', %(read_only)s, false)

-- name: act_no_more
-- Null resets to what the connection began with.
select set_config('role', null, false), set_config('search_path', null, false),
    set_config('jcm_mrv.projects', null, false), set_config('default_transaction_read_only', null, false)

-- name: add_account
insert into account (name, person, organisation, email, oidc_issuer, oidc_subject, created_by)
values (%(name)s, %(person)s, %(organisation)s, %(email)s, %(issuer)s, %(subject)s, coalesce(%(by)s, session_user))
on conflict do nothing returning name

-- name: accounts
select a.name, a.person, a.organisation, a.email, a.oidc_issuer, a.oidc_subject, a.created_at, a.disabled_at,
    coalesce((select jsonb_agg(jsonb_build_object('role', g.role, 'project', g.project_id)
                               order by g.project_id nulls first, g.role)
              from account_grant g where g.account = a.name and g.revoked_at is null), '[]')
from account a
where (%(name)s::text is null or a.name = %(name)s)
    and (%(subject)s::text is null or (a.oidc_issuer = %(issuer)s and a.oidc_subject = %(subject)s))
order by a.name

-- name: disable_account
update account set disabled_at = clock_timestamp(), disabled_by = coalesce(%(by)s, session_user)
where name = %(name)s and disabled_at is null returning name

-- name: projects
select id from project order by id

-- name: grant
insert into account_grant (account, role, project_id, granted_by)
values (%(account)s, %(role)s, %(project)s, coalesce(%(by)s, session_user))
on conflict do nothing returning grant_id

-- name: revoke
update account_grant set revoked_at = clock_timestamp(), revoked_by = coalesce(%(by)s, session_user)
where account = %(account)s and role = %(role)s and project_id is not distinct from %(project)s and revoked_at is null
returning grant_id

-- name: issue_token
insert into api_token (account, name, sha256, scopes, expires_at, created_by)
values (%(account)s, %(name)s, %(sha256)s, %(scopes)s, now() + %(lifetime)s, coalesce(%(by)s, session_user))
on conflict do nothing returning token_id, created_at, expires_at

-- name: tokens
select t.token_id, t.account, t.name, t.scopes, t.created_at, t.expires_at, t.last_used_at, t.revoked_at,
    case when t.revoked_at is not null then 'revoked' when t.expires_at <= now() then 'expired'
         when a.disabled_at is not null then 'disabled' else 'valid' end
from api_token t join account a on a.name = t.account
where (%(account)s::text is null or t.account = %(account)s) and (%(token)s::integer is null or t.token_id = %(token)s)
order by t.token_id

-- name: revoke_token
update api_token set revoked_at = clock_timestamp(), revoked_by = coalesce(%(by)s, session_user)
where token_id = %(token)s and revoked_at is null returning account, name

-- name: token_used
-- When it was last used is told to the hour, so that few of its requests write.
with known as (
    select t.token_id, t.sha256, t.scopes, t.last_used_at, a.name, a.person, a.organisation
    from api_token t join account a on a.name = t.account
    where t.sha256 = %(sha256)s and t.revoked_at is null and t.expires_at > clock_timestamp() and a.disabled_at is null
), seen as (
    update api_token set last_used_at = date_trunc('hour', now())
    where token_id = (select token_id from known where last_used_at is null or last_used_at < now() - interval '1 hour')
)
select k.token_id, k.sha256, k.scopes, k.name, k.person, k.organisation,
    coalesce((select jsonb_agg(jsonb_build_object('role', g.role, 'project', g.project_id) order by g.grant_id)
              from account_grant g where g.account = k.name and g.revoked_at is null), '[]')
from known k

-- name: begin_session
-- Never longer than the token that it began with.
insert into web_session (sha256, account, token_id, scopes, csrf, expires_at)
values (%(sha256)s, %(account)s, %(token)s, %(scopes)s, %(csrf)s,
    least(now() + %(lifetime)s, (select t.expires_at from api_token t where t.token_id = %(token)s)))

-- name: forget_sessions
-- That they were is on record (audit_event).
delete from web_session where expires_at < now() - interval '30 days'

-- name: session_seen
with known as (
    select s.sha256, s.scopes, s.csrf, s.last_seen_at, a.name, a.person, a.organisation
    from web_session s join account a on a.name = s.account left join api_token t on t.token_id = s.token_id
    where s.sha256 = %(sha256)s and s.ended_at is null and s.expires_at > clock_timestamp()
        and s.last_seen_at > clock_timestamp() - %(idle)s::interval and a.disabled_at is null and t.revoked_at is null
), seen as (
    update web_session set last_seen_at = now()
    where sha256 = (select sha256 from known where last_seen_at < now() - interval '1 minute')
)
select k.sha256, k.scopes, k.csrf, k.name, k.person, k.organisation,
    coalesce((select jsonb_agg(jsonb_build_object('role', g.role, 'project', g.project_id) order by g.grant_id)
              from account_grant g where g.account = k.name and g.revoked_at is null), '[]')
from known k

-- name: end_session
update web_session set ended_at = clock_timestamp() where sha256 = %(sha256)s and ended_at is null

-- name: end_sessions_of
update web_session set ended_at = clock_timestamp() where account = %(account)s and ended_at is null

-- name: record
insert into audit_event (actor, action, subject, detail) values (%(actor)s, %(action)s, %(subject)s, %(detail)s)

-- name: login
-- What somebody could do with SQL of their own: everything, or the projects that login_project has.
select pg_has_role(rolname, (select relowner from pg_class where oid = 'public.project'::regclass), 'MEMBER')
        or pg_has_role(rolname, 'jcm_mrv_service', 'MEMBER') or pg_has_role(rolname, 'jcm_mrv_reader', 'MEMBER')
        or pg_has_role(rolname, 'jcm_mrv_mrv', 'MEMBER'),
    pg_has_role(rolname, 'jcm_mrv_verifier', 'MEMBER') or pg_has_role(rolname, 'jcm_mrv_participant', 'MEMBER')
        or pg_has_role(rolname, 'jcm_mrv_operator', 'MEMBER')
from pg_roles where rolname = %(login)s and rolcanlogin

-- name: logins
select login, array_agg(project_id order by project_id) from login_project group by login order by login

-- name: allow_login
insert into login_project (login, project_id) values (%(login)s, %(project)s) on conflict do nothing returning login

-- name: forbid_login
delete from login_project where login = %(login)s and project_id = %(project)s returning login
