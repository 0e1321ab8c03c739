-- Who may do what: accounts, what is granted to them, tokens, sessions, and which logins see which projects. No password
-- and no token stands here: a person signs in with a provider, and of a token only the SHA-256 of its 256 random bits.

create table account (
    name         text primary key check (name ~ '^[a-z0-9][a-z0-9._@+-]{0,99}$'),
    person       text not null check (btrim(person) <> ''),
    organisation text not null default '',
    email        text,
    -- Who this is at the provider; null: signs in with a token only.
    oidc_issuer  text,
    oidc_subject text,
    created_at   timestamptz not null default now(),
    created_by   text not null default session_user,
    disabled_at  timestamptz,
    disabled_by  text,
    unique (oidc_issuer, oidc_subject),
    check ((oidc_issuer is null) = (oidc_subject is null)),
    check ((disabled_at is null) = (disabled_by is null))
);

-- A role for one project or, without one, for all, also those to come. What was revoked stays on record.
create table account_grant (
    grant_id   integer primary key generated always as identity,
    account    text not null references account,
    role       text not null check (role in ('operator', 'participant', 'verifier', 'administrator')),
    project_id text references project,
    granted_at timestamptz not null default now(),
    granted_by text not null default session_user,
    revoked_at timestamptz,
    revoked_by text,
    check ((revoked_at is null) = (revoked_by is null))
);
create unique index account_grant_idx on account_grant (account, role, coalesce(project_id, '')) where revoked_at is null;

create table api_token (
    token_id   integer primary key generated always as identity,
    account    text not null references account,
    name       text not null check (btrim(name) <> ''),
    sha256     bytea not null unique check (octet_length(sha256) = 32),
    scopes     text[] not null check (cardinality(scopes) > 0
        and scopes <@ array['read', 'evidence', 'operate', 'verify', 'administer']),
    created_at timestamptz not null default now(),
    created_by text not null default session_user,
    expires_at timestamptz not null check (expires_at > created_at),
    -- To the hour: a write for each request would cost more than it tells.
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    check ((revoked_at is null) = (revoked_by is null))
);
create unique index api_token_name_idx on api_token (account, name) where revoked_at is null;

-- A browser's session. One that began with a token has that token's scopes and ends with it.
create table web_session (
    sha256       bytea primary key check (octet_length(sha256) = 32),
    account      text not null references account,
    token_id     integer references api_token,
    scopes       text[] not null,
    csrf         text not null,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz not null check (expires_at > created_at),
    -- To the minute.
    last_seen_at timestamptz not null default now(),
    ended_at     timestamptz
);
create index web_session_expires_at_idx on web_session (expires_at);

-- The projects of a login that somebody uses with SQL of their own (scope.sql). A login without a row sees none.
create table login_project (
    login      text not null,
    project_id text not null references project,
    allowed_at timestamptz not null default now(),
    allowed_by text not null default session_user,
    primary key (login, project_id)
);

-- The project that an event is of, so that whoever sees one project sees its events and no others.
alter table audit_event add column project_id text generated always as (
    case when action = 'apply' then subject
         when action ~ '^(period|finding)\.' then regexp_replace(subject, ' \d{4}-\d\d-\d\d \d{4}-\d\d-\d\d$', '')
         else detail ->> 'project' end) stored;
create index audit_event_project_idx on audit_event (project_id, id);

-- The record is written by the database itself: whoever changes a right cannot leave it out. It never holds a digest.
create function audit_access() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
    is_now jsonb := to_jsonb(case when tg_op = 'DELETE' then old else new end);
    action text := tg_argv[0];
    who text := is_now ->> tg_argv[2];
begin
    if tg_op = 'UPDATE' then
        if (to_jsonb(old) -> tg_argv[1]) <> 'null'::jsonb or (is_now -> tg_argv[1]) = 'null'::jsonb then
            return null;
        end if;
    end if;
    insert into audit_event (actor, action, subject, detail)
    values (coalesce(who, session_user), action, coalesce(is_now ->> 'account', is_now ->> 'login', is_now ->> 'name'),
        jsonb_strip_nulls(jsonb_build_object(
            'project', is_now -> 'project_id', 'role', is_now -> 'role', 'scopes', is_now -> 'scopes',
            'token', is_now -> 'token_id', 'token_name', case when tg_table_name = 'api_token' then is_now -> 'name' end,
            'expires_at', is_now -> 'expires_at', 'oidc_issuer', is_now -> 'oidc_issuer',
            'oidc_subject', is_now -> 'oidc_subject', 'person', is_now -> 'person',
            'organisation', is_now -> 'organisation')));
    return null;
end
$$;

do $$
declare
    event text[];
begin
    -- Table, operation, action, the column that must have become set, the column that says who did it.
    foreach event slice 1 in array array[
        ['account', 'insert', 'account.created', '', 'created_by'],
        ['account', 'update', 'account.disabled', 'disabled_at', 'disabled_by'],
        ['account_grant', 'insert', 'grant.given', '', 'granted_by'],
        ['account_grant', 'update', 'grant.revoked', 'revoked_at', 'revoked_by'],
        ['api_token', 'insert', 'token.issued', '', 'created_by'],
        ['api_token', 'update', 'token.revoked', 'revoked_at', 'revoked_by'],
        ['web_session', 'insert', 'session.began', '', 'account'],
        ['web_session', 'update', 'session.ended', 'ended_at', 'account'],
        ['login_project', 'insert', 'login.allowed', '', 'allowed_by'],
        ['login_project', 'delete', 'login.forbidden', '', '']
    ] loop
        execute format('create trigger audit_%s after %s on %I for each row execute function audit_access(%L, %L, %L)',
            event[2], event[2], event[1], event[3], event[4], event[5]);
    end loop;
end
$$;
