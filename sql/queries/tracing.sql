-- From the tonnes of a frozen revision down to the payload. Tables go by their bare names: whoever verifies or takes part
-- reads views of the same names that hold their projects only.

-- name: keep_days
copy revision_day (period_id, revision, day, pv_system_id, device_id, point, quantity, category, within_wh, carried_wh,
    carried_from, credited_wh, left_out, error_wh, withheld_wh, samples, covered_us, length_us, owed, rules,
    inputs_sha256) from stdin

-- name: keep_line
insert into revision_line (period_id, revision, system, year, place, name, device_id, quantity, wh)
values (%(period)s, %(revision)s, %(system)s, %(year)s, %(place)s, %(name)s, %(device)s, %(quantity)s, %(wh)s)

-- name: any_day
select 1 from revision_day where period_id = %(period)s and revision = %(revision)s limit 1

-- name: lock_days
-- One at a time keeps the days of a revision; a reader may recompute one and keeps nothing.
select period_id, has_table_privilege('revision_day', 'insert'),
    pg_advisory_xact_lock(hashtext('jcm-mrv days'), period_id)
from period where project_id = %(project)s and first_day = %(first)s and last_day = %(last)s

-- name: frozen
select r.period_id, r.revision, r.received_until, r.frozen_at, r.frozen_by, s.state, r.declarations, r.methodology,
    r.result,
    exists (select from revision_day d where d.period_id = r.period_id and d.revision = r.revision)
from period p join period_revision r using (period_id) join revision_state s using (period_id, revision)
where p.project_id = %(project)s and p.first_day = %(first)s and p.last_day = %(last)s and r.result is not null
    and (%(revision)s::integer is null or r.revision = %(revision)s::integer)
order by r.revision desc limit 1

-- name: overview
select p.first_day, p.last_day, r.revision, s.state, r.received_until, r.frozen_at, r.frozen_by,
    (r.result::jsonb -> 'er_tco2')::bigint, r.result::jsonb -> 'vintages', r.result::jsonb -> 'quality' -> 'coverage',
    exists (select from revision_day d where d.period_id = r.period_id and d.revision = r.revision)
from period p
left join period_revision r using (period_id)
left join revision_state s using (period_id, revision)
where p.project_id = %(project)s
order by p.first_day, p.last_day, r.revision

-- name: project
select id, title, host_country, methodology, methodology_version, third_party_entity from project where id = %(project)s

-- name: months
-- Energies that count, by row of the result, month and quantity. Counted here and not in the pages: a year of fifty
-- devices is 18,000 rows.
select pv_system_id, category, date_trunc('month', day)::date as month, quantity, sum(credited_wh), sum(error_wh),
    sum(covered_us) filter (where owed)::bigint, sum(length_us) filter (where owed)::bigint, count(*),
    count(*) filter (where withheld_wh <> '{}'), count(*) filter (where left_out is not null)
from revision_day where period_id = %(period)s and revision = %(revision)s
group by 1, 2, 3, 4 order by 1, 2, 3, 4

-- name: rules_of_months
select d.pv_system_id, d.category, date_trunc('month', d.day)::date as month, r.key, sum(r.value::bigint)
from revision_day d, jsonb_each_text(d.rules) r
where d.period_id = %(period)s and d.revision = %(revision)s
group by 1, 2, 3, 4

-- name: lines
select l.system, l.year, l.name, d.site_id, d.id, l.quantity, l.wh
from revision_line l left join device d using (device_id)
where l.period_id = %(period)s and l.revision = %(revision)s order by l.system, l.year, l.place

-- name: days
select r.day, r.pv_system_id, d.site_id, d.id, r.device_id, r.quantity, r.point, r.category, r.within_wh, r.carried_wh,
    r.carried_from, r.credited_wh, r.left_out, r.error_wh, r.withheld_wh, r.samples, r.covered_us, r.length_us, r.owed,
    r.rules, r.inputs_sha256
from revision_day r join device d using (device_id)
where r.period_id = %(period)s and r.revision = %(revision)s and r.day >= %(first)s and r.day <= %(last)s
    and (r.day, r.pv_system_id, r.device_id, r.quantity, r.point)
        > (%(day)s, %(system)s, %(device)s, %(quantity)s, %(point)s)
    and (%(only)s::integer is null or r.device_id = %(only)s::integer)
    and (%(rule)s::text is null or r.rules ? %(rule)s::text)
order by r.day, r.pv_system_id, r.device_id, r.quantity, r.point limit %(limit)s

-- name: device
select device_id from device where site_id = %(site)s and id = %(device)s

-- name: readings_of_day
-- Each with the message that it came from: of a joined one, which is stored later than its messages, that is the part of
-- the same number.
select r.ts, r.energy_exported_wh, r.energy_imported_wh, r.power_w, r.received_at, r.received_at > %(cut_off)s,
    coalesce(p.received_at, r.received_at), r.message_id, r.element
from reading r
left join lateral (
    select min(received_at) as received_at from reading_part p
    where p.device_id = r.device_id and p.ts = r.ts and p.message_id = r.message_id
) p on true
where r.device_id = %(device)s and r.ts >= %(start)s and r.ts < %(end)s
order by r.ts

-- name: conflicts_of_day
select d.site_id, d.id, c.ts, c.received_at, c.message_id, c.element, c.stored, c.offered, c.received_at > %(cut_off)s
from reading_conflict c join device d using (device_id)
where c.device_id = %(device)s and c.ts >= %(start)s and c.ts < %(end)s
order by c.ts, c.received_at, c.message_id, c.element

-- name: message_site
select coalesce(site_id, '') from message where received_at = %(received_at)s and message_id = %(message_id)s

-- name: seal
select s.statement, s.signature, s.salt, k.public_key, t.token, t.tsa_time, t.policy,
    (select b.sha256 from seal b where b.site_id = s.site_id and b.day < s.day order by b.day desc limit 1)
from seal s join signing_key k using (key_id) left join seal_timestamp t using (site_id, day)
where s.site_id = %(site)s and s.day = %(day)s

-- name: blocks
select first_received_at, first_message_id, root from seal_block
where site_id = %(site)s and day = %(day)s order by block

-- name: leaves
-- The bounds on received_at alone are for the index; what follows is exact.
select coalesce(site_id, ''), (extract(epoch from received_at) * 1000000)::bigint, message_id,
    (extract(epoch from arrived_at) * 1000000)::bigint, topic, payload, qos, retained, redelivered, outcome, readings,
    collector, note
from message
where received_at >= %(start)s and received_at <= %(end)s and site_id is not distinct from nullif(%(site)s, '')
    and (received_at, message_id) >= (%(start)s, %(first_id)s) and (received_at, message_id) < (%(end)s, %(end_id)s)
order by received_at, message_id

-- name: reading
select r.*, d.kind, d.profile, s.time_zone
from reading r join device d using (device_id) join site s on s.id = d.site_id
where r.device_id = %(device)s and r.ts = %(ts)s

-- name: parts_of_reading
select d.id, p.ts, p.field, p.received_at, p.message_id, p.note
from reading_part p join device d using (device_id)
where p.device_id = %(device)s and p.ts = %(ts)s order by p.received_at, p.message_id, p.field

-- name: topic
select topic from message where received_at = %(received_at)s and message_id = %(message_id)s

-- name: message
select coalesce(site_id, ''), (extract(epoch from received_at) * 1000000)::bigint, message_id,
    (extract(epoch from arrived_at) * 1000000)::bigint, topic, payload, qos, retained, redelivered, outcome, readings,
    collector, note, sha256
from message where received_at = %(received_at)s and message_id = %(message_id)s

-- name: parts_of_message
select d.site_id, d.id, p.ts, p.field, p.received_at, p.message_id, p.note
from reading_part p join device d using (device_id)
where p.received_at = %(received_at)s and p.message_id = %(message_id)s
    and p.ts >= %(start)s::timestamptz and p.ts <= %(end)s::timestamptz
order by d.site_id, d.id, p.ts, p.field

-- name: readings_of_message
-- Over all chunks of a year it takes 50 ms; the few around the receipt, which mostly have all, take 2.
select d.site_id, d.id, r.ts, r.element, r.energy_exported_wh, r.energy_imported_wh, r.power_w, r.received_at
from reading r join device d using (device_id)
where r.received_at = %(received_at)s and r.message_id = %(message_id)s
    and r.ts >= %(start)s::timestamptz and r.ts <= %(end)s::timestamptz
order by r.element, d.id, r.ts

-- name: joined_reading
select d.site_id, d.id, r.ts, r.element, r.energy_exported_wh, r.energy_imported_wh, r.power_w, r.received_at
from reading r join device d using (device_id)
where d.site_id = %(site)s and d.id = %(device)s and r.ts = %(ts)s

-- name: conflicts_of_message
select d.site_id, d.id, c.ts, c.received_at, c.message_id, c.element, c.stored, c.offered, false
from reading_conflict c join device d using (device_id)
where c.received_at = %(received_at)s and c.message_id = %(message_id)s order by c.element, d.id, c.ts

-- name: quarantine_of_message
select quarantine_id, element, reason, detail, released_at from quarantine
where message_id = %(message_id)s and received_at = %(received_at)s order by quarantine_id

-- name: in_force
-- The declarations that may have held when a message was received: the newest before it, and the one before that, which
-- a collector may still have had; the first ones where the message is older than all.
(select d.revision, (extract(epoch from d.applied_at) * 1000000)::bigint, d.content::text
 from declaration d join site s on s.project_id = d.project_id
 where s.id = %(site)s and d.applied_at <= %(received_at)s order by d.revision desc limit 2)
union all
(select d.revision, (extract(epoch from d.applied_at) * 1000000)::bigint, d.content::text
 from declaration d join site s on s.project_id = d.project_id
 where s.id = %(site)s and not exists (select from declaration e
     where e.project_id = d.project_id and e.applied_at <= %(received_at)s)
 order by d.revision limit 2)
order by 1

-- name: last_birth
select received_at from device_event
where site_id = %(site)s and subject = %(subject)s and event = 'sparkplug_node_born' and received_at <= %(before)s
order by received_at desc limit 1

-- name: messages_since_birth
select coalesce(site_id, ''), (extract(epoch from received_at) * 1000000)::bigint, message_id,
    (extract(epoch from arrived_at) * 1000000)::bigint, topic, payload, qos, retained, redelivered, outcome, readings,
    collector, note
from message
where received_at between %(start)s and %(end)s and site_id = %(site)s
    and (received_at, message_id) <= (%(end)s, %(end_id)s) and (topic like %(node)s or topic like %(device)s)
order by received_at, message_id limit %(limit)s

-- name: devices
select site_id, id, device_id from device where project_id = %(project)s

-- name: late
select d.site_id, d.id, l.received_at, l.message_id, l.readings, l.first, l.last
from (
    select device_id, received_at, message_id, count(*) as readings, min(ts) as first, max(ts) as last
    from reading
    where device_id = any (%(devices)s) and ts >= %(start)s and ts < %(end)s
        and received_at > %(cut_off)s and received_at >= %(received_at)s
    group by device_id, received_at, message_id
) l join device d using (device_id)
where (l.received_at, l.message_id, d.site_id collate "C", d.id collate "C")
    > (%(received_at)s, %(message_id)s, %(site)s, %(device)s)
order by l.received_at, l.message_id, d.site_id collate "C", d.id collate "C" limit %(limit)s

-- name: conflicts
select d.site_id, d.id, c.ts, c.received_at, c.message_id, c.element, c.stored, c.offered, false
from reading_conflict c join device d using (device_id)
where c.device_id = %(device)s and c.ts >= greatest(%(start)s, %(ts)s) and c.ts < %(end)s
    and c.received_at <= %(cut_off)s
    and (c.ts, c.received_at, c.message_id, c.element) > (%(ts)s, %(received_at)s, %(message_id)s, %(element)s)
order by c.ts, c.received_at, c.message_id, c.element limit %(limit)s

-- name: flags
select f.key, r.pv_system_id, d.site_id, d.id, r.quantity, sum(f.value::bigint), count(*), min(r.day), max(r.day),
    sum((r.withheld_wh ->> f.key)::numeric)
from revision_day r cross join jsonb_each_text(r.rules) f join device d using (device_id)
where r.period_id = %(period)s and r.revision = %(revision)s
group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
