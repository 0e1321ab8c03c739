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
