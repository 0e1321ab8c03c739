-- What the collector runs, in the order of a batch.

-- name: session
-- The joins of this role look up single rows of a hypertable by its key, from a temporary table that has no
-- statistics: whatever the planner guesses, reading a whole chunk instead is never right. A collector that is cut off
-- in the middle of a batch must not hold the batch lock against a freeze for longer than half a minute.
select set_config('enable_hashjoin', 'off', false),
       set_config('enable_mergejoin', 'off', false),
       set_config('idle_in_transaction_session_timeout', '30s', false),
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '4', false),
       -- Keep-alives are not sent while an answer of the server waits for its TCP acknowledgement; without this the
       -- server keeps a connection that was cut off then, and the lease with it, for a quarter of an hour.
       set_config('tcp_user_timeout', '30s', false);

-- name: create_staged
create temporary table staged (
    device_id  integer not null,
    ts         timestamptz not null,
    received_at timestamptz not null,
    message_id bigint not null,
    element    integer not null,
    seq        bigint,
    energy_exported_wh double precision,
    energy_imported_wh double precision,
    power_w double precision,
    apparent_power_va double precision,
    reactive_power_var double precision,
    power_factor double precision,
    current_a double precision,
    voltage_a_v double precision,
    voltage_b_v double precision,
    voltage_c_v double precision,
    frequency_hz double precision,
    dc_power_w double precision,
    dc_voltage_v double precision,
    dc_current_a double precision,
    cabinet_temperature_c double precision,
    ambient_temperature_c double precision,
    module_temperature_c double precision,
    irradiance_global_w_m2 double precision,
    irradiance_plane_w_m2 double precision,
    state double precision,
    extra jsonb,
    ordinal    integer not null
) on commit delete rows;

-- name: take_lease
-- Held by the connection that commits: whoever lost it cannot commit either, and it is free when the connection is gone.
select pg_try_advisory_lock(hashtextextended('jcm-mrv collector ' || %(collector)s, 0));

-- name: ping
select 1;

-- name: durability
-- As they hold for this connection: synchronous_commit can be set for a login or a database.
select current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes');

-- name: empty_write
-- Into the WAL only: a commit that wrote nothing is not flushed, and one that has only a transaction id neither.
select pg_logical_emit_message(true, 'jcm-mrv self check', '');

-- name: declared
select s.id, d.id, d.device_id
from site s
left join device d on d.site_id = s.id;

-- name: look_up
select s.id, d.id, d.device_id
from unnest(%(sites)s::text[], %(devices)s::text[]) as asked (site, device)
join site s on s.id = asked.site
left join device d on d.site_id = s.id and d.id = asked.device;

-- name: lock_batch
-- The shared lock lets batches run side by side and keeps them apart from a freeze, which takes it exclusively
-- while it draws its cut-off. A statement of its own: the next one then sees a freeze that this one waited for.
select pg_advisory_xact_lock_shared(hashtext('jcm-mrv batch'));

-- name: begin_batch
-- A database clock that was set back must not write behind a cut-off, nor into a day that is sealed.
select greatest(
           clock_timestamp(),
           (select max(received_until) + interval '1 microsecond' from period_revision),
           (select max(created_at) from seal)
       ) as received_at,
       pg_current_xact_id()::text as transaction_id,
       -- Each is the first of a thousand (migration 0005).
       array(select nextval('message_id_seq') from generate_series(1, (%(messages)s + 999) / 1000)) as message_ids;

-- name: copy_reading
copy reading (
    device_id, ts, received_at, message_id, element, seq,
    energy_exported_wh, energy_imported_wh, power_w, apparent_power_va, reactive_power_var, power_factor, current_a,
    voltage_a_v, voltage_b_v, voltage_c_v, frequency_hz, dc_power_w, dc_voltage_v, dc_current_a,
    cabinet_temperature_c, ambient_temperature_c, module_temperature_c, irradiance_global_w_m2,
    irradiance_plane_w_m2, state,
    extra
) from stdin (format binary);

-- name: copy_staged
copy staged from stdin (format binary);

-- name: store
-- In the order of the key, so that two collectors that are sent the same readings wait for each other and never in
-- a circle; the first of a batch first, so that it is the one that stands.
insert into reading (
    device_id, ts, received_at, message_id, element, seq,
    energy_exported_wh, energy_imported_wh, power_w, apparent_power_va, reactive_power_var, power_factor, current_a,
    voltage_a_v, voltage_b_v, voltage_c_v, frequency_hz, dc_power_w, dc_voltage_v, dc_current_a,
    cabinet_temperature_c, ambient_temperature_c, module_temperature_c, irradiance_global_w_m2,
    irradiance_plane_w_m2, state,
    extra
)
select
    device_id, ts, received_at, message_id, element, seq,
    energy_exported_wh, energy_imported_wh, power_w, apparent_power_va, reactive_power_var, power_factor, current_a,
    voltage_a_v, voltage_b_v, voltage_c_v, frequency_hz, dc_power_w, dc_voltage_v, dc_current_a,
    cabinet_temperature_c, ambient_temperature_c, module_temperature_c, irradiance_global_w_m2,
    irradiance_plane_w_m2, state,
    extra
from staged
order by device_id, ts, ordinal
on conflict do nothing;

-- name: not_stored
-- Run only when fewer rows went in than were staged. What stands for a key is ours when it carries our message and
-- element, and then it is not listed.
select s.ordinal,
    (
        r.energy_exported_wh, r.energy_imported_wh, r.power_w, r.apparent_power_va, r.reactive_power_var,
        r.power_factor, r.current_a, r.voltage_a_v, r.voltage_b_v, r.voltage_c_v, r.frequency_hz, r.dc_power_w,
        r.dc_voltage_v, r.dc_current_a, r.cabinet_temperature_c, r.ambient_temperature_c, r.module_temperature_c,
        r.irradiance_global_w_m2, r.irradiance_plane_w_m2, r.state, r.extra
    ) is not distinct from (
        s.energy_exported_wh, s.energy_imported_wh, s.power_w, s.apparent_power_va, s.reactive_power_var,
        s.power_factor, s.current_a, s.voltage_a_v, s.voltage_b_v, s.voltage_c_v, s.frequency_hz, s.dc_power_w,
        s.dc_voltage_v, s.dc_current_a, s.cabinet_temperature_c, s.ambient_temperature_c, s.module_temperature_c,
        s.irradiance_global_w_m2, s.irradiance_plane_w_m2, s.state, s.extra
    ) as same
from staged s
join reading r on r.device_id = s.device_id and r.ts = s.ts
where r.ts between %(first)s and %(last)s
  and (r.message_id, r.element) is distinct from (s.message_id, s.element)
order by s.ordinal;

-- name: keep_conflicts
insert into reading_conflict (device_id, ts, received_at, message_id, element, stored, offered)
select s.device_id, s.ts, %(received_at)s, s.message_id, s.element,
       jsonb_strip_nulls(to_jsonb(r) - array['device_id', 'ts']),
       jsonb_strip_nulls(to_jsonb(s) - array['ordinal', 'device_id', 'ts', 'received_at', 'message_id', 'element'])
from staged s
join reading r on r.device_id = s.device_id and r.ts = s.ts
where r.ts between %(first)s and %(last)s and s.ordinal = any(%(ordinals)s);

-- name: copy_message
copy message (
    received_at, message_id, arrived_at, topic, payload, sha256, qos, retained, redelivered,
    collector, site_id, outcome, readings, note
) from stdin (format binary);

-- name: copy_reading_part
copy reading_part (device_id, ts, received_at, message_id, field, note) from stdin (format binary);

-- name: copy_device_event
copy device_event (received_at, message_id, site_id, subject, event, detail) from stdin (format binary);

-- name: remembered
select kind, key, version, state::text from decoder_state;

-- name: remember
-- Who writes on a version that is not the newest writes nothing, and reads again.
insert into decoder_state as d (kind, key, version, state, changed_at)
select kind, key, version + 1, state::jsonb, %(received_at)s
from unnest(%(kinds)s::text[], %(keys)s::text[], %(versions)s::bigint[], %(states)s::text[])
    as given (kind, key, version, state)
order by kind, key
on conflict (kind, key) do update
set version = excluded.version, state = excluded.state, changed_at = excluded.changed_at
where d.version = excluded.version - 1;

-- name: declarations
-- A declaration is only ever added: as many as before means that nothing was declared since.
select count(*) from declaration;

-- name: foreign
select d.site_id, d.id, d.device_id, d.profile, coalesce(d.address, '{}')::text, coalesce(d.fields, '{}')::text,
       coalesce(d.time_zone, s.time_zone)
from device d
join site s on s.id = d.site_id
where d.profile <> 'native'
order by d.device_id;

-- name: copy_quarantine
copy quarantine (received_at, message_id, element, site_id, topic, reason, detail) from stdin (format binary);

-- name: account
-- In the order of the key, as every collector does it. What was received is counted apart from what became of it,
-- so that the table's check holds the one against the other.
insert into ingest_account as a (
    site_id, collector,
    messages_received, messages_stored, messages_duplicate, messages_conflict, messages_quarantined,
    readings_received, readings_stored, readings_duplicate, readings_conflict, readings_quarantined,
    first_received_at, last_received_at
)
select site_id, %(collector)s,
       mr, ms, md, mc, mq,
       rr, rs, rd, rc, rq,
       %(received_at)s, %(received_at)s
from unnest(
    %(sites)s::text[], %(messages_received)s::bigint[], %(readings_received)s::bigint[],
    %(messages_stored)s::bigint[], %(messages_duplicate)s::bigint[],
    %(messages_conflict)s::bigint[], %(messages_quarantined)s::bigint[],
    %(readings_stored)s::bigint[], %(readings_duplicate)s::bigint[],
    %(readings_conflict)s::bigint[], %(readings_quarantined)s::bigint[]
) as batch (site_id, mr, rr, ms, md, mc, mq, rs, rd, rc, rq)
order by site_id
on conflict (site_id, collector) do update
set messages_received    = a.messages_received    + excluded.messages_received,
    messages_stored      = a.messages_stored      + excluded.messages_stored,
    messages_duplicate   = a.messages_duplicate   + excluded.messages_duplicate,
    messages_conflict    = a.messages_conflict    + excluded.messages_conflict,
    messages_quarantined = a.messages_quarantined + excluded.messages_quarantined,
    readings_received    = a.readings_received    + excluded.readings_received,
    readings_stored      = a.readings_stored      + excluded.readings_stored,
    readings_duplicate   = a.readings_duplicate   + excluded.readings_duplicate,
    readings_conflict    = a.readings_conflict    + excluded.readings_conflict,
    readings_quarantined = a.readings_quarantined + excluded.readings_quarantined,
    last_received_at     = greatest(a.last_received_at, excluded.last_received_at);

-- name: transaction_status
select pg_xact_status(%s::xid8);

-- name: is_committed
-- The message itself is the proof: after a failover the same transaction number may be another's.
select exists (select from message where received_at = %s and message_id = %s);
