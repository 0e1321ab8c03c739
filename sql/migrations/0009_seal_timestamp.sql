-- Time stamps of seals (RFC 3161), over the bytes of their statements; fetched after the seal, which stands without one.

create table seal_timestamp (
    site_id    text not null,
    day        date not null,
    token      bytea not null,
    tsa_time   timestamptz not null,
    policy     text not null,
    fetched_at timestamptz not null default now(),
    primary key (site_id, day),
    foreign key (site_id, day) references seal
);

create trigger append_only before update or delete or truncate on seal_timestamp
    for each statement execute function refuse_change();
