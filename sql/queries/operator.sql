-- What the operators' pages read beside `status.sql` and `quarantine.sql`.

-- name: sites
select s.id, s.name, s.project_id, s.time_zone, s.latitude, s.longitude from site s order by s.id

-- name: gaps
-- Readings a device and hour, by their own time.
select d.id, date_bin('1 hour', r.ts, timestamptz 'epoch') as hour, count(*)
from device d
join reading r on r.device_id = d.device_id and r.ts >= %(start)s and r.ts < %(end)s
where d.site_id = %(site)s
group by 1, 2
order by 1, 2

-- name: newest
select max(last.ts) from device d
cross join lateral (select r.ts from reading r where r.device_id = d.device_id order by r.ts desc limit 1) as last
where d.site_id = %(site)s

-- name: devices
select d.id, d.kind, d.profile, d.serial_number, d.rated_power_w from device d where d.site_id = %(site)s order by d.id

-- name: clocks
-- How far the newest readings lie before their receipt. A buffered reading comes late, so the least of them is nearest
-- to what the device's clock is off; it is below zero only where that clock is ahead.
select d.site_id, d.id, count(*), min(extract(epoch from newest.received_at - newest.ts)),
    percentile_cont(0.5) within group (order by extract(epoch from newest.received_at - newest.ts)), max(newest.ts)
from device d
cross join lateral (
    select r.ts, r.received_at from reading r where r.device_id = d.device_id order by r.ts desc limit 30
) as newest
where %(site)s::text is null or d.site_id = %(site)s
group by 1, 2
order by 1, 2

-- name: collectors
-- By what they committed; a site's row is theirs alone.
select collector, sum(messages_received)::bigint, min(first_received_at), max(last_received_at)
from ingest_account group by collector order by max(last_received_at) desc

-- name: server
select current_setting('server_version'), pg_database_size(current_database()),
    (select count(*) from pg_stat_activity where datname = current_database()),
    current_setting('max_connections')::integer, pg_postmaster_start_time(),
    (select extversion from pg_extension where extname = 'timescaledb'),
    coalesce(current_setting('timescaledb.license', true), '')

-- name: schema
select max(version), max(applied_at) from schema_migration

-- name: seals
select max(day) from seal

-- name: jobs
-- A day with readings is opened while it lasts, and is due when it is over: a site's own day has 25 hours at most.
select count(*) filter (where finished_at is null
        and (job <> 'energy_day' or failure is not null or period_start < now() - interval '25 hours')),
    max(finished_at),
    count(*) filter (where finished_at is null and failure is not null)
from job_run where job <> 'look_through'

-- name: page
-- Entries from the newest on, behind the one that was shown last.
select quarantine_id, received_at, coalesce(site_id, ''), topic, reason, detail, element, released_at
from quarantine
where (%(waiting)s is false or released_at is null)
  and (%(before)s::bigint is null or quarantine_id < %(before)s)
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(site)s::text is null or site_id = %(site)s or (site_id is null and split_part(topic, '/', 3) = %(site)s))
order by quarantine_id desc
limit %(limit)s

-- name: project_of_entries
-- Whose the entries are; null: of no declared site.
select q.quarantine_id, s.project_id from quarantine q left join site s on s.id = q.site_id
where q.quarantine_id = any(%(ids)s)
