-- What `jcm-mrv device provision` reads.

-- name: site
select id from site where id = %s;

-- name: devices
-- Those that are in their place; a device that was taken away needs no line in the gateway's file.
select d.id, d.kind, d.profile
from device d
where d.site_id = %s
  and (select bool_and(i.removed_at <= now()) from device_install i where i.device_id = d.device_id) is not true
order by d.id;
