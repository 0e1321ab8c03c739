-- What alerts are judged on, and what becomes of them. Each of the facts takes milliseconds on a year of 50 devices: it
-- is a look into a key for each device, or the rows of the last hours.

-- name: patience
set local statement_timeout = '60s'

-- name: alone
-- One replica looks at a time; another has nothing to wait for.
select pg_try_advisory_lock(hashtext('jcm-mrv alerts'))

-- name: alone_done
select pg_advisory_unlock(hashtext('jcm-mrv alerts'))

-- name: now
select now()

-- name: sites
-- A site whose devices were all taken away is not one that should be heard. A replay of quarantine is not the site.
select s.id, s.project_id, s.latitude, s.longitude, installed.first_at, account.last_received_at
from site s
join lateral (
    select min(i.installed_at) as first_at, bool_or(i.device_id is null or (i.installed_at <= now()
        and (i.removed_at is null or i.removed_at > now()))) as now
    from device d left join device_install i using (device_id) where d.site_id = s.id
) installed on installed.now
left join lateral (
    select max(a.last_received_at) as last_received_at from ingest_account a
    where a.site_id = s.id and a.collector <> %(replay)s
) account on true
order by s.id

-- name: devices
-- The newest reading is one look into the key (device_id, ts); the lag is that of the last readings of two hours.
select d.device_id, d.site_id, d.project_id, d.id, d.kind, installed.last_at, last.ts, last.received_at,
    coalesce(lag.readings, 0), lag.least_s, lag.most_s
from device d
join lateral (
    select max(i.installed_at) as last_at, bool_or(i.device_id is null or (i.installed_at <= now()
        and (i.removed_at is null or i.removed_at > now()))) as now
    from (select d.device_id) one left join device_install i using (device_id)
) installed on installed.now
left join lateral (
    select r.ts, r.received_at from reading r where r.device_id = d.device_id order by r.ts desc limit 1
) last on true
left join lateral (
    select count(*) as readings,
        min(extract(epoch from n.received_at - n.ts))::double precision as least_s,
        max(extract(epoch from n.received_at - n.ts))::double precision as most_s
    from (
        select r.ts, r.received_at from reading r
        where r.device_id = d.device_id and r.ts > now() - interval '1 day'
        order by r.ts desc limit %(readings)s
    ) n
    where n.received_at > now() - interval '2 hours'
) lag on true
order by d.site_id, d.id

-- name: computed_days
-- What the rules decided on a device's latest computed days, of the last week.
select d.device_id, last.days
from device d
cross join lateral (
    select jsonb_agg(jsonb_build_object('day', e.day, 'rules', e.rules) order by e.day) as days from (
        select day, rules from energy_day e
        where e.device_id = d.device_id and e.day >= (now() at time zone 'UTC')::date - greatest(7, %(days)s::integer)
        order by day desc limit %(days)s
    ) e
) last
where last.days is not null

-- name: habits
-- Of the last three days before a device's last reading: on how many there was a reading at all, and on how many there
-- was one at this time of day. Days are counted back from now, so that the silence itself is not taken for a habit. The
-- bound leaves the chunks out that no device needs, which makes it ten times as fast on a year.
select quiet.device_id, count(*) filter (where day.recorded), count(*) filter (where day.heard)
from unnest(%(devices)s::integer[], %(lasts)s::timestamptz[]) as quiet(device_id, last_ts)
cross join generate_series(0, 2) as n
cross join lateral (
    select now() - make_interval(days => greatest(1, ceil(extract(epoch from now() - quiet.last_ts) / 86400)::integer) + n)
        as at
) then_
cross join lateral (
    select exists (
        select from reading r where r.device_id = quiet.device_id
            and r.ts between then_.at - interval '30 minutes' and then_.at + interval '30 minutes' and r.ts > %(after)s
    ) as heard, exists (
        select from reading r where r.device_id = quiet.device_id
            and r.ts between then_.at - interval '12 hours' and then_.at + interval '12 hours' and r.ts > %(after)s
    ) as recorded
) day
group by quiet.device_id

-- name: quarantined
select coalesce(site_id, ''), count(*), min(received_at) from quarantine
where received_at > now() - %(window)s::interval and released_at is null
group by 1

-- name: quarantine_open
select coalesce(site_id, ''), reason, count(*) from quarantine where released_at is null group by 1, 2

-- name: accounts
select distinct site_id from ingest_account

-- name: unbalanced
select site_id, case when
        sum(messages_received) <> sum(messages_stored + messages_duplicate + messages_conflict + messages_quarantined)
    then 'messages' else 'readings' end
from ingest_account
group by site_id
having sum(messages_received) <> sum(messages_stored + messages_duplicate + messages_conflict + messages_quarantined)
    or sum(readings_received) <> sum(readings_stored + readings_duplicate + readings_conflict + readings_quarantined)

-- name: kept
-- Messages that were counted, beside those that were sealed and those that lie there since: all of them, or it is told.
with kept as (
    select site_id, sum(messages)::bigint as messages from seal group by site_id
    union all
    select coalesce(m.site_id, ''), count(*) from message m
    where m.received_at >= %(after)s
    group by 1
)
select coalesce(a.site_id, k.site_id), coalesce(a.messages, 0), coalesce(k.messages, 0)
from (select site_id, sum(messages_received)::bigint as messages from ingest_account group by site_id) a
full join (select site_id, sum(messages)::bigint as messages from kept group by site_id) k using (site_id)
where coalesce(a.messages, 0) <> coalesce(k.messages, 0)

-- name: sealed
select max(day) from seal

-- name: unsealed
-- The bound is given as a value: a subquery in its place would look into each of a year's chunks.
select min(received_at) from message where received_at >= %(after)s

-- name: last_look
-- Whoever is in the middle of long work does not look for more; its heartbeat says that it lives.
select nullif(max(heartbeat_at), '-infinity') from job_run

-- name: overdue
-- A claim's start is the start of the site's day, which lasts 25 hours at most. A day is opened again when another of its
-- intervals is found: that it waits for a moment to be computed anew is nothing that was missed.
select job, scope, count(*), min(period_start), (array_agg(failure order by period_start) filter (where failure is not null))[1]
from job_run join site s on s.id = scope
where job = 'energy_day' and finished_at is null
    and period_start < now() - interval '25 hours' - %(after)s::interval
    and (failure is not null or not exists (
        select from energy_day e join device d using (device_id)
        where d.site_id = scope and e.day = (period_start at time zone s.time_zone)::date
            and e.computed_at > now() - %(after)s::interval
    ))
group by job, scope
order by job, scope

-- name: database_bytes
select pg_database_size(current_database())

-- name: open
select alert_id, rule, subject, first_seen, last_seen, firing_since from alert where resolved_at is null

-- name: begin
-- A mute lasts as long as was said, also where the alert went away between.
insert into alert (rule, subject, project_id, site_id, severity, said, since, first_seen, last_seen, firing_since,
    muted_by, muted_at, muted_until)
select %(rule)s, %(subject)s, %(project)s, %(site)s, %(severity)s, %(said)s, %(since)s, %(now)s, %(now)s,
    case when %(firing)s then %(now)s::timestamptz end, before.muted_by, before.muted_at, before.muted_until
from (select) one left join lateral (
    select muted_by, muted_at, muted_until from alert
    where rule = %(rule)s and subject = %(subject)s and resolved_at is not null
    order by resolved_at desc limit 1
) before on before.muted_until > %(now)s
on conflict (rule, subject) where resolved_at is null do nothing

-- name: seen
update alert set last_seen = greatest(last_seen, %(now)s), severity = %(severity)s, said = %(said)s
where alert_id = %(id)s

-- name: fire
update alert set firing_since = %(now)s where alert_id = any(%(ids)s) and firing_since is null

-- name: drop
delete from alert where alert_id = any(%(ids)s) and firing_since is null

-- name: resolve
update alert set resolved_at = greatest(firing_since, %(now)s)
where alert_id = any(%(ids)s) and firing_since is not null and resolved_at is null

-- name: untold
-- What fires and nobody was told of, once the first of it has waited.
select alert_id from alert
where firing_since is not null and resolved_at is null and group_id is null
    and (muted_until is null or muted_until <= %(now)s)
    and exists (
        select from alert first where first.firing_since <= %(now)s - %(wait)s::interval and first.resolved_at is null
            and first.group_id is null and (first.muted_until is null or first.muted_until <= %(now)s)
    )
order by alert_id
for update

-- name: join_group
update alert set group_id = %(group)s where alert_id = any(%(ids)s)

-- name: recovered
-- By group: all that recovered, once nothing of it lasts that is not muted, or what lasts has been waited for.
select group_id, array_agg(alert_id order by alert_id) filter (where resolved_at is not null)
from alert
where group_id is not null and recovery_told_at is null
group by group_id
having bool_or(resolved_at is not null) and (
    bool_and(resolved_at is not null or coalesce(muted_until > %(now)s, false))
    or max(resolved_at) <= %(now)s - %(wait)s::interval
)
order by group_id

-- name: recovery_told
update alert set recovery_told_at = %(now)s where alert_id = any(%(ids)s)

-- name: muted_at
select alert_id from alert where alert_id = any(%(ids)s) and muted_until > %(now)s

-- name: alerts
select alert_id, rule, subject, project_id, site_id, severity, said, since, first_seen, last_seen, firing_since,
    resolved_at, group_id, acknowledged_by, acknowledged_at, acknowledged_note, muted_by, muted_at, muted_until
from alert where alert_id = any(%(ids)s)
order by severity, rule, subject

-- name: open_alerts
select alert_id, rule, subject, project_id, site_id, severity, said, since, first_seen, last_seen, firing_since,
    resolved_at, group_id, acknowledged_by, acknowledged_at, acknowledged_note, muted_by, muted_at, muted_until
from alert
where resolved_at is null and (%(projects)s::text[] is null or project_id = any(%(projects)s))
order by severity, firing_since is null, coalesce(firing_since, first_seen), rule, subject

-- name: history
select alert_id, rule, subject, project_id, site_id, severity, said, since, first_seen, last_seen, firing_since,
    resolved_at, group_id, acknowledged_by, acknowledged_at, acknowledged_note, muted_by, muted_at, muted_until
from alert
where resolved_at is not null and (%(projects)s::text[] is null or project_id = any(%(projects)s))
    and (%(subject)s::text is null or subject = %(subject)s or site_id = %(subject)s)
order by resolved_at desc, alert_id desc
limit %(limit)s

-- name: notices_of
select n.notice_id, n.group_id, n.target, n.kind, n.key, n.created_at, n.attempts, n.tried_at, n.outcome, n.sent_at,
    n.given_up_at
from alert_notice n where n.alerts && %(ids)s::bigint[]
order by n.notice_id

-- name: acknowledge
update alert set acknowledged_by = %(by)s, acknowledged_at = clock_timestamp(), acknowledged_note = %(note)s
where alert_id = %(id)s and resolved_at is null
returning rule, subject

-- name: mute
update alert set muted_by = %(by)s, muted_at = clock_timestamp(), muted_until = %(until)s
where alert_id = %(id)s and resolved_at is null and %(until)s > clock_timestamp()
returning rule, subject

-- name: unmute
update alert set muted_by = null, muted_at = null, muted_until = null
where alert_id = %(id)s and muted_by is not null
returning rule, subject

-- name: project_of
select project_id, resolved_at is null from alert where alert_id = %(id)s

-- name: act_as
-- Whom the record names for what follows in this transaction.
select set_config('jcm_mrv.actor', %(by)s, true)

-- name: told_of
-- To whom a group was told, of what, and in which notice.
select target, alerts, key from alert_notice where group_id = %(group)s and kind = 'firing' order by notice_id

-- name: add_notice
insert into alert_notice (group_id, target, kind, alerts, key, content, created_at, due_at)
values (%(group)s, %(target)s, %(kind)s, %(alerts)s, %(key)s, %(content)s, %(now)s, %(now)s)
on conflict (target, key) do nothing

-- name: claim_notice
-- The claim lasts longer than any attempt: whoever dies in between leaves the notice to the next after it. A recovery
-- waits for what it is the recovery of.
update alert_notice set attempts = attempts + 1, tried_at = clock_timestamp(),
    due_at = clock_timestamp() + %(lease)s * interval '1 second'
where notice_id = (
    select notice_id from alert_notice n
    where sent_at is null and given_up_at is null and due_at <= clock_timestamp() and target = any(%(targets)s)
        and not exists (
            select from alert_notice earlier
            where earlier.target = n.target and earlier.group_id = n.group_id and earlier.notice_id < n.notice_id
                and earlier.sent_at is null and earlier.given_up_at is null
        )
    order by due_at, notice_id limit 1 for update skip locked
)
returning notice_id, target, kind, key, content, attempts, created_at

-- name: notice_sent
update alert_notice set sent_at = clock_timestamp(), outcome = %(outcome)s where notice_id = %(id)s and sent_at is null

-- name: notice_failed
update alert_notice set outcome = %(outcome)s,
    due_at = clock_timestamp() + least(3600, %(pause)s * 2.0 ^ least(attempts - 1, 20)) * interval '1 second'
where notice_id = %(id)s and sent_at is null

-- name: give_up
-- Also what is for a target that is in no file any more.
update alert_notice set given_up_at = clock_timestamp(), outcome = concat_ws('; ', outcome, 'given up')
where sent_at is null and given_up_at is null and created_at < clock_timestamp() - %(after)s::interval
returning notice_id, target, kind, attempts

-- name: unsent
select target, count(*), min(created_at) from alert_notice
where sent_at is null and given_up_at is null group by target

-- name: open_counts
select rule, severity, case when firing_since is null then 'pending' else 'firing' end, count(*)
from alert where resolved_at is null group by 1, 2, 3
