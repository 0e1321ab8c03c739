-- From the broker to a committed row.

-- received_at is the database's clock when the batch was written, taken under the shared batch lock
-- (queries/ingest.sql: begin_batch), so that a cut-off taken under the exclusive lock is exact: a row with
-- received_at at or before it is committed and visible, and none can follow.
-- arrived_at is the collector's clock when the broker handed the message over.
create sequence message_id_seq as bigint;

create table message (
    received_at  timestamptz not null,
    message_id   bigint not null,
    arrived_at   timestamptz not null,
    topic        text not null,
    payload      bytea not null,
    sha256       bytea not null,
    qos          smallint not null,
    retained     boolean not null,
    redelivered  boolean not null,
    collector    text not null,
    site_id      text,
    outcome      text not null check (outcome in ('stored', 'duplicate', 'conflict', 'quarantined')),
    readings     integer not null,
    primary key (received_at, message_id)
);
select create_hypertable('message', by_range('received_at', interval '1 day'));

-- One wide row a device and timestamp: SunSpec points in SI units, the unit in the column's name.
-- device_id has no foreign key: the collector writes only ids it read from device, which are never deleted,
-- and a check per row costs the hot path what it cannot gain.
create table reading (
    device_id   integer not null,
    ts          timestamptz not null,
    received_at timestamptz not null,
    message_id  bigint not null,
    element     integer not null,
    seq         bigint,
    energy_exported_wh   double precision,
    energy_imported_wh   double precision,
    power_w              double precision,
    apparent_power_va    double precision,
    reactive_power_var   double precision,
    power_factor         double precision,
    current_a            double precision,
    voltage_a_v          double precision,
    voltage_b_v          double precision,
    voltage_c_v          double precision,
    frequency_hz         double precision,
    dc_power_w           double precision,
    dc_voltage_v         double precision,
    dc_current_a         double precision,
    cabinet_temperature_c  double precision,
    ambient_temperature_c  double precision,
    module_temperature_c   double precision,
    irradiance_global_w_m2 double precision,
    irradiance_plane_w_m2  double precision,
    state                double precision,
    extra                jsonb,
    primary key (device_id, ts)
);
select create_hypertable('reading', by_range('ts', interval '7 days'), create_default_indexes => false);
-- Late readings are found by when they were received; rows lie in that order, so a few bytes a hundred pages suffice.
create index reading_received_at_idx on reading using brin (received_at);

-- First value stands: another value for the same device and time is kept here as evidence.
create table reading_conflict (
    device_id   integer not null,
    ts          timestamptz not null,
    received_at timestamptz not null,
    message_id  bigint not null,
    element     integer not null,
    stored      jsonb not null,
    offered     jsonb not null,
    primary key (device_id, ts, received_at, message_id, element)
);

create table quarantine (
    quarantine_id bigint primary key generated always as identity,
    received_at   timestamptz not null,
    message_id    bigint not null,
    element       integer,
    site_id       text,
    topic         text not null,
    reason        text not null,
    detail        text not null,
    released_at   timestamptz
);
create index quarantine_reason_idx on quarantine (reason, site_id) where released_at is null;

-- received = stored + duplicate + conflict + quarantined, for messages and for readings, in the same
-- transaction as the rows. One row a site and collector, so that collectors do not wait for each other.
-- Messages that name no declared site are counted under the empty site.
create table ingest_account (
    site_id              text not null,
    collector            text not null,
    messages_received    bigint not null default 0,
    messages_stored      bigint not null default 0,
    messages_duplicate   bigint not null default 0,
    messages_conflict    bigint not null default 0,
    messages_quarantined bigint not null default 0,
    readings_received    bigint not null default 0,
    readings_stored      bigint not null default 0,
    readings_duplicate   bigint not null default 0,
    readings_conflict    bigint not null default 0,
    readings_quarantined bigint not null default 0,
    first_received_at    timestamptz not null,
    last_received_at     timestamptz not null,
    primary key (site_id, collector),
    constraint messages_balance check (messages_received
        = messages_stored + messages_duplicate + messages_conflict + messages_quarantined),
    constraint readings_balance check (readings_received
        = readings_stored + readings_duplicate + readings_conflict + readings_quarantined)
) with (fillfactor = 50);
