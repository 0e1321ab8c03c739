-- What `jcm-mrv status` reads.

-- name: received
-- Of a site, and of none: messages of a site that is not declared count there.
select coalesce(sum(messages_received), 0)::bigint from ingest_account where site_id in (%(site)s, '');

-- name: last_registers
select d.id, last.energy_exported_wh
from device d
cross join lateral (
    select r.energy_exported_wh from reading r where r.device_id = d.device_id order by r.ts desc limit 1
) as last
where d.site_id = %(site)s and last.energy_exported_wh is not null;

-- name: last_readings
select d.site_id, max(last.ts)
from device d
cross join lateral (select r.ts from reading r where r.device_id = d.device_id order by r.ts desc limit 1) as last
group by d.site_id;

-- name: now
select now();

-- name: devices
-- The last reading of a device is one look into the key (device_id, ts), newest chunk first.
select s.id, d.id, d.device_id, d.kind, last.ts, last.received_at
from site s
join device d on d.site_id = s.id
left join lateral (
    select r.ts, r.received_at from reading r where r.device_id = d.device_id order by r.ts desc limit 1
) as last on true
order by s.id, d.id;

-- name: rates
-- By when they were received: an old recording that is replayed now is traffic of now.
select coalesce(site_id, ''), topic,
       coalesce(sum(readings) filter (where received_at > now() - interval '1 minute'), 0)::bigint,
       coalesce(sum(readings) filter (where received_at > now() - interval '1 hour'), 0)::bigint,
       sum(readings)::bigint
from message
where received_at > now() - interval '1 day'
group by 1, 2;

-- name: quarantine
select coalesce(site_id, ''), reason, count(*) from quarantine where released_at is null group by 1, 2 order by 1, 2;

-- name: conflicts
select device_id, count(*) from reading_conflict group by device_id;

-- name: accounts
select site_id,
       sum(messages_received)::bigint, sum(messages_stored)::bigint, sum(messages_duplicate)::bigint,
       sum(messages_conflict)::bigint, sum(messages_quarantined)::bigint,
       sum(readings_received)::bigint, sum(readings_stored)::bigint, sum(readings_duplicate)::bigint,
       sum(readings_conflict)::bigint, sum(readings_quarantined)::bigint,
       max(last_received_at)
from ingest_account
group by site_id
order by site_id;

-- name: sites
select id from site order by id;

-- name: kept
-- The account again, counted from the rows themselves. Reads every message's line, so it is asked for by name.
select coalesce(site_id, ''),
       count(*),
       count(*) filter (where outcome = 'stored'), count(*) filter (where outcome = 'duplicate'),
       count(*) filter (where outcome = 'conflict'), count(*) filter (where outcome = 'quarantined'),
       sum(readings)::bigint
from message
group by 1;

-- name: kept_readings
select s.site_id, sum(s.stored)::bigint, sum(s.conflicts)::bigint
from (
    select d.site_id, count(*) as stored, 0 as conflicts
    from reading r join device d using (device_id) group by d.site_id
    union all
    select d.site_id, 0, count(*)
    from reading_conflict c join device d using (device_id) group by d.site_id
) as s
group by s.site_id;

-- name: kept_quarantined
select coalesce(site_id, ''), count(*) from quarantine where element is not null group by 1;
