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
