-- The registry: who is declared, and every declaration that was ever applied.

create table project (
    id                  text primary key,
    title               text not null,
    host_country        text not null check (host_country ~ '^[A-Z]{3}$'),
    methodology         text not null,
    methodology_version text not null,
    registered          date,
    crediting_from      date not null,
    crediting_to        date not null check (crediting_to >= crediting_from),
    participants        jsonb not null default '[]',
    third_party_entity  text
);

create table site (
    id         text primary key,
    project_id text not null references project,
    name       text not null,
    time_zone  text not null,
    latitude   double precision check (latitude between -90 and 90),
    longitude  double precision check (longitude between -180 and 180)
);

-- System i of the methodology.
create table pv_system (
    project_id      text not null references project,
    id              text not null,
    site_id         text not null references site,
    capacity_w      numeric not null check (capacity_w > 0),
    connection      text not null check (connection in ('grid', 'grid_and_captive', 'captive')),
    grid_region     text,
    credited_by     text[] not null,
    -- The project's registered factor; null means the methodology's default for the connection.
    emission_factor_tco2_per_mwh numeric check (emission_factor_tco2_per_mwh >= 0),
    emission_factor_source       text,
    primary key (project_id, id)
);

create table device (
    device_id     integer primary key generated always as identity,
    site_id       text not null references site,
    id            text not null,
    project_id    text not null,
    pv_system_id  text,
    kind          text not null check (kind in ('inverter', 'meter', 'weather', 'gateway')),
    profile       text not null,
    rated_power_w numeric check (rated_power_w > 0),
    register_point         text,
    register_bits          integer check (register_bits between 8 and 64),
    register_resolution_wh numeric check (register_resolution_wh > 0),
    serial_number          text,
    accuracy_class         text,
    maximum_permissible_error_percent numeric,
    unique (site_id, id),
    foreign key (project_id, pv_system_id) references pv_system (project_id, id)
);

-- Who was in which place from when to when.
create table device_install (
    device_id           integer not null references device,
    installed_at        timestamptz not null,
    opening_register_wh numeric,
    removed_at          timestamptz check (removed_at > installed_at),
    closing_register_wh numeric,
    replaced_by         text,
    primary key (device_id, installed_at)
);

create table calibration (
    device_id     integer not null references device,
    performed     date not null,
    valid_until   date not null check (valid_until >= performed),
    error_percent numeric,
    laboratory    text,
    certificate   text,
    primary key (device_id, performed)
);

-- Every declaration as it was applied, so that what held on a given day can be read back.
create table declaration (
    project_id  text not null references project,
    revision    integer not null,
    applied_at  timestamptz not null default now(),
    applied_by  text not null default current_user,
    sha256      bytea not null,
    content     jsonb not null,
    primary key (project_id, revision)
);

create table audit_event (
    id      bigint primary key generated always as identity,
    at      timestamptz not null default now(),
    actor   text not null default session_user,
    action  text not null,
    subject text not null,
    detail  jsonb not null default '{}'
);

-- History is only ever added to, also by the owner of the tables.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger append_only before update or delete or truncate on declaration
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on audit_event
    for each statement execute function refuse_change();
