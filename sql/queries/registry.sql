-- What `jcm-mrv apply` runs, in one transaction.

-- name: lock
-- One apply at a time: what a plan was made from does not change before it is carried out.
select pg_advisory_xact_lock(hashtext('jcm-mrv apply'));

-- name: latest
select revision, content::text from declaration where project_id = %s order by revision desc limit 1;

-- name: sites_of_others
select id, project_id from site where id = any(%s) and project_id <> %s order by id;

-- name: put_project
insert into project (id, title, host_country, methodology, methodology_version, registered,
                     crediting_from, crediting_to, participants, third_party_entity)
values (%(id)s, %(title)s, %(host_country)s, %(methodology)s, %(methodology_version)s, %(registered)s,
        %(crediting_from)s, %(crediting_to)s, %(participants)s, %(third_party_entity)s)
on conflict (id) do update
set title = excluded.title, host_country = excluded.host_country, methodology = excluded.methodology,
    methodology_version = excluded.methodology_version, registered = excluded.registered,
    crediting_from = excluded.crediting_from, crediting_to = excluded.crediting_to,
    participants = excluded.participants, third_party_entity = excluded.third_party_entity;

-- name: put_site
insert into site (id, project_id, name, time_zone, latitude, longitude)
values (%(id)s, %(project_id)s, %(name)s, %(time_zone)s, %(latitude)s, %(longitude)s)
on conflict (id) do update
set name = excluded.name, time_zone = excluded.time_zone,
    latitude = excluded.latitude, longitude = excluded.longitude;

-- name: put_pv_system
insert into pv_system (project_id, id, site_id, capacity_w, connection, grid_region, credited_by,
                       emission_factor_tco2_per_mwh, emission_factor_source)
values (%(project_id)s, %(id)s, %(site_id)s, %(capacity_w)s, %(connection)s, %(grid_region)s, %(credited_by)s,
        %(emission_factor_tco2_per_mwh)s, %(emission_factor_source)s)
on conflict (project_id, id) do update
set site_id = excluded.site_id, capacity_w = excluded.capacity_w, connection = excluded.connection,
    grid_region = excluded.grid_region, credited_by = excluded.credited_by,
    emission_factor_tco2_per_mwh = excluded.emission_factor_tco2_per_mwh,
    emission_factor_source = excluded.emission_factor_source;

-- name: put_device
insert into device (site_id, id, project_id, pv_system_id, kind, profile, rated_power_w,
                    register_point, register_bits, register_resolution_wh, register_micro_decrease_wh,
                    address, fields, time_zone,
                    serial_number, accuracy_class, maximum_permissible_error_percent)
values (%(site_id)s, %(id)s, %(project_id)s, %(pv_system_id)s, %(kind)s, %(profile)s, %(rated_power_w)s,
        %(register_point)s, %(register_bits)s, %(register_resolution_wh)s, %(register_micro_decrease_wh)s,
        %(address)s::jsonb, %(fields)s::jsonb, %(time_zone)s,
        %(serial_number)s, %(accuracy_class)s, %(maximum_permissible_error_percent)s)
on conflict (site_id, id) do update
set pv_system_id = excluded.pv_system_id, kind = excluded.kind, profile = excluded.profile,
    rated_power_w = excluded.rated_power_w, register_point = excluded.register_point,
    register_bits = excluded.register_bits, register_resolution_wh = excluded.register_resolution_wh,
    register_micro_decrease_wh = excluded.register_micro_decrease_wh,
    address = excluded.address, fields = excluded.fields, time_zone = excluded.time_zone,
    serial_number = excluded.serial_number, accuracy_class = excluded.accuracy_class,
    maximum_permissible_error_percent = excluded.maximum_permissible_error_percent;

-- name: correct_install
-- A corrected time of installation is a correction of the row, not a second installation.
update device_install set installed_at = %(installed_at)s, removed_at = %(removed_at)s
where device_id = (select device_id from device where site_id = %(site_id)s and id = %(id)s)
  and installed_at <> %(installed_at)s;

-- name: put_install
insert into device_install (device_id, installed_at, opening_register_wh, removed_at, closing_register_wh, replaced_by)
select device_id, %(installed_at)s, %(opening_register_wh)s, %(removed_at)s, %(closing_register_wh)s, %(replaced_by)s
from device where site_id = %(site_id)s and id = %(id)s
on conflict (device_id, installed_at) do update
set opening_register_wh = excluded.opening_register_wh, removed_at = excluded.removed_at,
    closing_register_wh = excluded.closing_register_wh, replaced_by = excluded.replaced_by;

-- name: put_calibration
insert into calibration (device_id, performed, valid_until, error_percent, laboratory, certificate)
select device_id, %(performed)s, %(valid_until)s, %(error_percent)s, %(laboratory)s, %(certificate)s
from device where site_id = %(site_id)s and id = %(id)s
on conflict (device_id, performed) do update
set valid_until = excluded.valid_until, error_percent = excluded.error_percent,
    laboratory = excluded.laboratory, certificate = excluded.certificate;

-- name: put_declaration
insert into declaration (project_id, revision, sha256, content) values (%s, %s, %s, %s::jsonb);

-- name: record
insert into audit_event (action, subject, detail) values ('apply', %s, %s::jsonb);
