-- What the MRV module runs: inputs of a period, its revisions, energy by day, the schedule's claims.

-- name: declaration
-- The declaration that holds now.
select content::text, revision from declaration where project_id = %(project)s order by revision desc limit 1

-- name: projects
select id from project order by id

-- name: devices
select site_id, id, device_id from device where project_id = %(project)s

-- name: now
select clock_timestamp()

-- name: context_energy_exported_wh
-- The instants that the readings around a span must reach to: its neighbours, so many of them and over so long.
select before.reach, before.readings,
       (select greatest(max(ts), min(ts) + %(span)s) from
           (select ts from reading where device_id = %(device)s and ts >= %(end)s and ts < %(not_after)s
               and received_at <= %(cut_off)s::timestamptz and energy_exported_wh is not null
            order by ts limit %(samples)s) after)
from (select least(min(ts), max(ts) - %(span)s) as reach, count(*) as readings from
           (select ts from reading where device_id = %(device)s and ts < %(start)s and ts >= %(not_before)s
               and received_at <= %(cut_off)s::timestamptz and energy_exported_wh is not null
            order by ts desc limit %(samples)s) nearest) before

-- name: context_energy_imported_wh
select before.reach, before.readings,
       (select greatest(max(ts), min(ts) + %(span)s) from
           (select ts from reading where device_id = %(device)s and ts >= %(end)s and ts < %(not_after)s
               and received_at <= %(cut_off)s::timestamptz and energy_imported_wh is not null
            order by ts limit %(samples)s) after)
from (select least(min(ts), max(ts) - %(span)s) as reach, count(*) as readings from
           (select ts from reading where device_id = %(device)s and ts < %(start)s and ts >= %(not_before)s
               and received_at <= %(cut_off)s::timestamptz and energy_imported_wh is not null
            order by ts desc limit %(samples)s) nearest) before

-- name: series_energy_exported_wh
-- Arrays without nulls have elements of one width, which numpy reads as they come: 4 times as fast as COPY, whose rows
-- psycopg takes one by one (3.5 µs each). The last column tells whether `arrival_timed` may find anything: asking that
-- of each reading again took as long as all the rest.
select array_agg(ts) filter (where register is not null), array_agg(register) filter (where register is not null),
    array_agg(power) filter (where register is not null), array_agg(received_at) filter (where register is not null),
    bool_or(ts <> date_bin('1 millisecond', ts, timestamptz 'epoch'))
from (
    select ts, energy_exported_wh as register, coalesce(power_w, 'NaN') as power, received_at from reading
    where device_id = %(device)s and ts >= %(start)s and ts < %(end)s and received_at <= %(cut_off)s::timestamptz
    order by ts
) series

-- name: series_energy_imported_wh
select array_agg(ts) filter (where register is not null), array_agg(register) filter (where register is not null),
    array_agg(power) filter (where register is not null), array_agg(received_at) filter (where register is not null),
    bool_or(ts <> date_bin('1 millisecond', ts, timestamptz 'epoch'))
from (
    select ts, energy_imported_wh as register, coalesce(power_w, 'NaN') as power, received_at from reading
    where device_id = %(device)s and ts >= %(start)s and ts < %(end)s and received_at <= %(cut_off)s::timestamptz
    order by ts
) series

-- name: arrival_timed
-- Readings whose time is the arrival of their message. Only collectors count microseconds, and of a thousand such times
-- one has none: that spares the other devices a look at each message. `series_*` says where there are any.
select array_agg(ts) from (
    select r.ts from reading r join message m on m.received_at = r.received_at and m.message_id = r.message_id
    where r.device_id = %(device)s and r.ts >= %(start)s and r.ts < %(end)s
        and r.received_at <= %(cut_off)s::timestamptz and r.ts <> date_trunc('milliseconds', r.ts)
        and r.ts between m.arrived_at - interval '1 minute' and m.arrived_at + interval '100 milliseconds'
    order by r.ts
) timed

-- name: conflicts
select array_agg(ts) from (
    select ts from reading_conflict
    where device_id = %(device)s and ts >= %(start)s and ts < %(end)s and received_at <= %(cut_off)s::timestamptz
    order by ts
) offered

-- name: deliveries
-- A site's messages by the quarter of an hour of their receipt: every zone's days begin at one.
select array_agg(quarter), array_agg(messages), array_agg(retained), array_agg(redelivered), array_agg(duplicate),
    array_agg(quarantined), array_agg(unknown_clock)
from (
    select date_bin('15 minutes', received_at, timestamptz 'epoch') as quarter, count(*) as messages,
        count(*) filter (where retained) as retained, count(*) filter (where redelivered) as redelivered,
        count(*) filter (where outcome = 'duplicate') as duplicate,
        count(*) filter (where outcome = 'quarantined') as quarantined,
        count(*) filter (where outcome = 'quarantined' and exists (
            select from quarantine q where q.message_id = message.message_id and q.reason like 'time\_%%'
        )) as unknown_clock
    from message
    where site_id = %(site)s and received_at >= %(start)s and received_at < %(end)s
        and received_at <= %(cut_off)s::timestamptz
    group by 1 order by 1
) deliveries

-- name: arrived_after
-- Readings of a span that a revision's cut-off left out.
select count(*), max(received_at) from reading
where device_id = %(device)s and ts >= %(start)s and ts < %(end)s and received_at > %(cut_off)s

-- name: snapshot
-- One view of the database for all that a computation reads.
set transaction isolation level repeatable read read only

-- name: freeze_patience
set local lock_timeout = '60s'

-- name: freeze_lock
-- Waits until no batch is being written and keeps new ones waiting (queries/ingest.sql: begin_batch).
select pg_advisory_xact_lock(hashtext('jcm-mrv batch'))

-- name: open_period
insert into period (project_id, first_day, last_day) values (%(project)s, %(first)s, %(last)s) on conflict do nothing

-- name: period
select period_id from period where project_id = %(project)s and first_day = %(first)s and last_day = %(last)s

-- name: overlapping
-- Another frozen period of the project that shares a day: its energy would be credited twice.
select p.first_day, p.last_day, max(r.revision) from period p join period_revision r using (period_id)
where p.project_id = %(project)s and p.first_day <= %(last)s and p.last_day >= %(first)s
    and (p.first_day, p.last_day) <> (%(first)s, %(last)s)
group by p.first_day, p.last_day order by p.first_day limit 1

-- name: latest_revision
select coalesce(max(revision), 0) from period_revision where period_id = %(period)s

-- name: draw_cut_off
insert into period_revision (period_id, revision, received_until, declarations, methodology, code_version, frozen_by)
select %(period)s, coalesce(max(revision), 0) + 1,
    greatest(clock_timestamp(), max(received_until) + interval '1 microsecond'),
    %(declarations)s, %(methodology)s, %(code_version)s, coalesce(%(actor)s, session_user)
from period_revision where period_id = %(period)s
returning revision, received_until

-- name: finish_revision
update period_revision
set inputs_digest = %(digest)s, result = %(result)s, code_version = %(code_version)s
where period_id = %(period)s and revision = %(revision)s and result is null

-- name: add_emission_result
insert into emission_result (period_id, revision, year, pv_system_id, eg_mwh, ef_tco2_per_mwh, re_tco2)
values (%(period)s, %(revision)s, %(year)s, %(system)s, %(eg)s, %(ef)s, %(re)s) on conflict do nothing

-- name: revisions
select r.revision, r.received_until, r.declarations, r.methodology, r.code_version, r.inputs_digest, r.result,
    r.frozen_by, r.frozen_at
from period_revision r join period p using (period_id)
where p.project_id = %(project)s and p.first_day = %(first)s and p.last_day = %(last)s
order by r.revision

-- name: list_periods
select p.project_id, p.first_day, p.last_day, r.revision, r.received_until, r.frozen_by, r.result
from period p left join period_revision r using (period_id)
where %(project)s::text is null or p.project_id = %(project)s
order by p.project_id, p.first_day, p.last_day, r.revision

-- name: upsert_energy_day
-- What was computed from later readings stands.
insert into energy_day
    (device_id, day, within_wh, carried_wh, carried_from, samples, coverage, rules, inputs_sha256, computed_at)
values (%(device)s, %(day)s, %(within)s, %(carried)s, %(carried_from)s, %(samples)s, %(coverage)s, %(rules)s,
    %(sha256)s, %(as_of)s)
on conflict (device_id, day) do update set within_wh = excluded.within_wh, carried_wh = excluded.carried_wh,
    carried_from = excluded.carried_from, samples = excluded.samples, coverage = excluded.coverage, rules = excluded.rules,
    inputs_sha256 = excluded.inputs_sha256, computed_at = excluded.computed_at
where energy_day.computed_at <= excluded.computed_at

-- name: add_audit_event
insert into audit_event (actor, action, subject, detail)
values (coalesce(%(actor)s, session_user), %(action)s, %(subject)s, %(detail)s)

-- name: watermark
-- Up to when the readings were looked through; the row is also the lock of whoever looks.
insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at)
values ('look_through', '', 'epoch', %(by)s, '-infinity', '-infinity')
on conflict (job, scope, period_start) do update set claimed_by = excluded.claimed_by
returning nullif(claimed_at, '-infinity')

-- name: move_watermark
-- Never backwards: whoever drew an earlier cut-off may come later.
update job_run set claimed_at = greatest(claimed_at, %(cut_off)s), heartbeat_at = clock_timestamp()
where job = 'look_through' and scope = '' and period_start = 'epoch'

-- name: received_between
-- The first and last reading of each hour that readings were received for; a day is the site's own, so it is told from
-- them elsewhere.
select r.device_id, min(r.ts), max(r.ts) from reading r
where (%(after)s::timestamptz is null or r.received_at > %(after)s::timestamptz) and r.received_at <= %(cut_off)s
group by r.device_id, date_trunc('hour', r.ts) order by 1, 2

-- name: neighbours
-- The readings before and after each span: the intervals that reach them changed too. Of the one before also when the
-- other end of its interval was received.
select s.device_id, b.ts, s.starts, b.received_at
from unnest(%(devices)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]) as s(device_id, starts, ends)
cross join lateral (
    (select r.ts, (select e.received_at from reading e where e.device_id = s.device_id and e.ts >= s.starts
                   order by e.ts limit 1) as received_at
     from reading r where r.device_id = s.device_id and r.ts < s.starts order by r.ts desc limit 1)
    union all
    (select r.ts, null from reading r where r.device_id = s.device_id and r.ts >= s.ends order by r.ts limit 1)
) b

-- name: open_jobs
-- Work that was found. A run under way is made void: what it finishes with no longer counts, see finish_job. What
-- waits to be done already is left alone.
insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at, attempts)
select %(job)s, %(scope)s, unnest(%(starts)s::timestamptz[]), '', '-infinity', '-infinity', 0
on conflict (job, scope, period_start) do update
set finished_at = null, heartbeat_at = '-infinity', attempts = job_run.attempts + 1
where job_run.finished_at is not null or job_run.heartbeat_at > '-infinity'
returning period_start

-- name: last_claims
select scope, period_start, nullif(claimed_at, '-infinity') from job_run
where job = %(job)s and (scope, period_start) in (select * from unnest(%(scopes)s::text[], %(starts)s::timestamptz[]))

-- name: unfinished_jobs
select scope, period_start, heartbeat_at < clock_timestamp() - %(limit)s::interval as claimable from job_run
where job = %(job)s and finished_at is null
order by period_start, scope

-- name: finished_jobs
select scope from job_run where job = %(job)s and finished_at is not null

-- name: claim_job
-- Whoever inserts the row does the work; a claim without a heartbeat for longer than the limit is taken over.
-- attempts is the fence: only the latest claim can finish.
insert into job_run (job, scope, period_start, claimed_by, claimed_at, heartbeat_at)
values (%(job)s, %(scope)s, %(start)s, %(by)s, clock_timestamp(), clock_timestamp())
on conflict (job, scope, period_start) do update
set claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at, heartbeat_at = excluded.heartbeat_at,
    attempts = job_run.attempts + 1
where job_run.finished_at is null and job_run.heartbeat_at < clock_timestamp() - %(limit)s::interval
returning attempts

-- name: heartbeat
update job_run set heartbeat_at = clock_timestamp()
where job = %(job)s and scope = %(scope)s and period_start = %(start)s and attempts = %(attempt)s

-- name: finish_job
update job_run set finished_at = clock_timestamp(), heartbeat_at = clock_timestamp(), failure = null
where job = %(job)s and scope = %(scope)s and period_start = %(start)s and attempts = %(attempt)s
    and finished_at is null

-- name: fail_job
-- Left unfinished: it is taken up again once the heartbeat is old enough.
update job_run set failure = %(failure)s
where job = %(job)s and scope = %(scope)s and period_start = %(start)s and attempts = %(attempt)s

-- name: release_job
update job_run set heartbeat_at = '-infinity'
where job = %(job)s and scope = %(scope)s and period_start = %(start)s and attempts = %(attempt)s
    and finished_at is null

-- name: energy_years
select distinct d.project_id, extract(year from e.day)::integer from energy_day e join device d using (device_id)
where e.within_wh > 0 or e.carried_wh > 0 order by 1, 2

-- name: unfrozen_periods
select p.project_id, p.first_day, p.last_day from period p
where not exists (select from period_revision r where r.period_id = p.period_id)
