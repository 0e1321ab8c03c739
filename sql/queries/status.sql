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
select s.id, d.id, d.device_id, d.kind, d.profile, last.ts, last.received_at
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

-- name: foreign_rates
-- Of foreign families no topic is of one device alone, so readings are counted by their own time of the last day,
-- which is one range of the key (device_id, ts).
select d.device_id, last.minute, last.hour, last.day
from device d
cross join lateral (
    select count(*) filter (where r.received_at > now() - interval '1 minute') as minute,
           count(*) filter (where r.received_at > now() - interval '1 hour') as hour,
           count(*) as day
    from reading r
    where r.device_id = d.device_id and r.ts > now() - interval '1 day' and r.received_at > now() - interval '1 day'
) as last
where d.profile <> 'native' and last.day > 0;

-- name: heard
-- What came in the last day at sites with a silent device, by topic and by why it is no reading.
select site_id, topic, coalesce(note, case outcome when 'quarantined' then 'quarantined' end), count(*)
from message
where received_at > now() - interval '1 day' and site_id = any(%(sites)s)
group by 1, 2, 3;

-- name: not_joined
-- Why fields that were joined made no reading of a silent device.
select device_id, note, count(distinct ts)
from reading_part
where device_id = any(%(devices)s) and ts > now() - interval '1 day' and note is not null
group by 1, 2;

-- name: offline
-- Sparkplug devices that are not born, or whose edge node is not: since the first death after the last birth, which is
-- null for a device that was never born. A node may come over a site's bridge and directly; one of both that is online is enough.
select d.device_id, since.received_at
from device d
join lateral (
    select bool_or(
               coalesce((s.state ->> 'online')::boolean, false)
               and (
                   coalesce(d.address ->> 'device', '') = ''
                   or coalesce((s.state -> 'devices' -> (d.address ->> 'device') ->> 'online')::boolean, false)
               )
           ) as online
    from decoder_state s
    where s.kind = 'sparkplug'
      and s.key in (
          (d.address ->> 'group') || '/' || (d.address ->> 'edge'),
          'jcm/v1/' || d.site_id || '/via/' || (d.address ->> 'group') || '/' || (d.address ->> 'edge')
      )
) as node on not node.online
left join lateral (
    select max(e.message_id) as message_id
    from device_event e
    where e.site_id = d.site_id
      and e.subject = concat_ws('/', d.address ->> 'group', d.address ->> 'edge', nullif(d.address ->> 'device', ''))
      and e.event in ('sparkplug_node_born', 'sparkplug_device_born')
) as born on true
left join lateral (
    select min(e.received_at) as received_at
    from device_event e
    where e.site_id = d.site_id
      and e.subject in (
          concat_ws('/', d.address ->> 'group', d.address ->> 'edge'),
          concat_ws('/', d.address ->> 'group', d.address ->> 'edge', nullif(d.address ->> 'device', ''))
      )
      and e.event in ('sparkplug_node_dead', 'sparkplug_device_dead')
      and e.message_id > born.message_id
) as since on true
where d.address ? 'edge';

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
-- The account again, counted from the rows themselves, and from the record of those that retention took. Reads every
-- message's line, so it is asked for by name.
select site_id, sum(messages)::bigint, sum(stored)::bigint, sum(duplicate)::bigint, sum(conflict)::bigint,
       sum(quarantined)::bigint, sum(readings)::bigint
from (
    select coalesce(site_id, '') as site_id, count(*) as messages,
           count(*) filter (where outcome = 'stored') as stored,
           count(*) filter (where outcome = 'duplicate') as duplicate,
           count(*) filter (where outcome = 'conflict') as conflict,
           count(*) filter (where outcome = 'quarantined') as quarantined,
           sum(readings) as readings
    from message
    group by 1
    union all
    select site_id, messages_stored + messages_duplicate + messages_conflict + messages_quarantined,
           messages_stored, messages_duplicate, messages_conflict, messages_quarantined, readings
    from message_drop
) as counted
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
