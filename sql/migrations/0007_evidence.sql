-- Evidence: what was received on a UTC day for a site, sealed once (docs/evidence.md).

create table signing_key (
    key_id     text primary key,
    public_key bytea not null check (length(public_key) = 32),
    first_used_at timestamptz not null default now()
);

-- salt hides topics and payloads in the leaves; it is shown in full bundles only.
create table seal (
    site_id    text not null,
    day        date not null,
    messages   bigint not null check (messages > 0),
    statement  text not null,
    sha256     text not null unique,
    signature  bytea not null,
    key_id     text not null references signing_key,
    salt       bytea not null check (length(salt) = 32),
    created_at timestamptz not null,
    primary key (site_id, day)
);
create index seal_day_idx on seal (day);
-- Each batch looks up the newest: nothing may be received behind a seal when the database's clock was set back.
create index seal_created_at_idx on seal (created_at desc);

-- What hides the confidential values of a revision's documents; made with its first bundle, the same in every one.
create table evidence_salt (
    period_id integer not null,
    revision  integer not null,
    salt      bytea not null check (length(salt) = 32),
    primary key (period_id, revision),
    foreign key (period_id, revision) references period_revision
);

create trigger append_only before update or delete or truncate on signing_key
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on seal
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on evidence_salt
    for each statement execute function refuse_change();
