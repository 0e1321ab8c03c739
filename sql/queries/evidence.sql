-- Sealing what was received, and what a bundle is made of. Times go out as microseconds since 1970-01-01T00:00Z.

-- name: lock_seal
-- One sealer at a time: a site's seals form a chain.
select pg_advisory_xact_lock(hashtext('jcm-mrv seal'))

-- name: next_day
-- The first day that has messages and no seal; all sites of a day are sealed in one transaction.
select (min(received_at) at time zone 'UTC')::date from message
where received_at >= coalesce((select max(day) + 1 from seal)::timestamp at time zone 'UTC', '-infinity')
    and received_at < %(until)s

-- name: last_seals
select distinct on (site_id) site_id, day, sha256 from seal order by site_id, day desc

-- name: messages_of_day
-- In the order of the key, so that a day streams through the index whatever the number of sites.
select coalesce(site_id, ''), (extract(epoch from received_at) * 1000000)::bigint, message_id,
    (extract(epoch from arrived_at) * 1000000)::bigint, topic, payload, qos, retained, redelivered, outcome, readings,
    collector, note, sha256
from message where received_at >= %(start)s and received_at < %(end)s
order by received_at, message_id

-- name: messages_of_site
select coalesce(site_id, ''), (extract(epoch from received_at) * 1000000)::bigint, message_id,
    (extract(epoch from arrived_at) * 1000000)::bigint, topic, payload, qos, retained, redelivered, outcome, readings,
    collector, note
from message where received_at >= %(start)s and received_at < %(end)s and site_id = %(site)s
order by received_at, message_id

-- name: add_key
insert into signing_key (key_id, public_key) values (%(key)s, %(public)s) on conflict do nothing

-- name: add_seal
insert into seal (site_id, day, messages, statement, sha256, signature, key_id, salt, created_at)
values (%(site)s, %(day)s, %(messages)s, %(statement)s, %(sha256)s, %(signature)s, %(key)s, %(salt)s, %(created)s)

-- name: add_block
insert into seal_block (site_id, day, block, first_received_at, first_message_id, root)
values (%(site)s, %(day)s, %(block)s, %(received)s, %(message)s, %(root)s)

-- name: seals
select statement, signature, salt from seal
where site_id = %(site)s and day between %(first)s and %(last)s order by day

-- name: stamp_alone
-- One process at a time asks the TSA; another has nothing to wait for.
select pg_try_advisory_lock(hashtext('jcm-mrv time stamp'))

-- name: stamp_done
select pg_advisory_unlock(hashtext('jcm-mrv time stamp'))

-- name: unstamped
-- The newest first: through the chain its time stamp holds for every seal before it.
select site_id, day, statement from seal
where not exists (select from seal_timestamp s where s.site_id = seal.site_id and s.day = seal.day)
order by day desc, site_id

-- name: add_timestamp
insert into seal_timestamp (site_id, day, token, tsa_time, policy)
values (%(site)s, %(day)s, %(token)s, %(time)s, %(policy)s)

-- name: timestamps
select day, token from seal_timestamp
where site_id = %(site)s and day between %(first)s and %(last)s order by day

-- name: last_sealed_day
select max(day) from seal

-- name: public_keys
select key_id, public_key from signing_key where key_id = any(%(keys)s) order by key_id

-- name: keep_salt
insert into evidence_salt (period_id, revision, salt)
select period_id, %(revision)s, %(salt)s from period
where project_id = %(project)s and first_day = %(first)s and last_day = %(last)s
on conflict do nothing

-- name: salt
select salt from evidence_salt join period using (period_id)
where project_id = %(project)s and first_day = %(first)s and last_day = %(last)s and revision = %(revision)s

-- name: declaration_history
select revision, (extract(epoch from applied_at) * 1000000)::bigint, content::text from declaration
where project_id = %(project)s and applied_at <= %(cut_off)s order by revision

-- name: joined
select exists (select from reading_part where device_id = %(device)s)

-- name: used_energy_exported_wh
-- The readings of a register, each with the message that it came from: of a joined one, which is stored later than its
-- messages, that is the part of the same number.
select (extract(epoch from r.ts) * 1000000)::bigint, r.energy_exported_wh, r.power_w,
    (extract(epoch from coalesce(case when %(joined)s then (
        select p.received_at from reading_part p
        where p.device_id = r.device_id and p.ts = r.ts and p.message_id = r.message_id limit 1
    ) end, r.received_at)) * 1000000)::bigint,
    r.message_id, r.element, (extract(epoch from r.received_at) * 1000000)::bigint
from reading r
where r.device_id = %(device)s and r.ts between %(start)s and %(end)s
    and r.received_at <= %(cut_off)s and r.energy_exported_wh is not null
order by r.ts

-- name: used_energy_imported_wh
select (extract(epoch from r.ts) * 1000000)::bigint, r.energy_imported_wh, r.power_w,
    (extract(epoch from coalesce(case when %(joined)s then (
        select p.received_at from reading_part p
        where p.device_id = r.device_id and p.ts = r.ts and p.message_id = r.message_id limit 1
    ) end, r.received_at)) * 1000000)::bigint,
    r.message_id, r.element, (extract(epoch from r.received_at) * 1000000)::bigint
from reading r
where r.device_id = %(device)s and r.ts between %(start)s and %(end)s
    and r.received_at <= %(cut_off)s and r.energy_imported_wh is not null
order by r.ts

-- name: parts
select (extract(epoch from p.ts) * 1000000)::bigint, (extract(epoch from p.received_at) * 1000000)::bigint,
    p.message_id, p.field
from reading_part p
where p.device_id = %(device)s and p.ts between %(start)s and %(end)s and p.received_at <= %(cut_off)s
order by p.ts, p.received_at, p.message_id

-- name: last_birth
-- The last birth certificate of a Sparkplug node before an instant: what its later messages mean hangs on it.
select received_at from device_event
where site_id = %(site)s and subject = %(subject)s and event = 'sparkplug_node_born' and received_at <= %(before)s
order by received_at desc limit 1

-- name: messages_below
-- What a Sparkplug node said in a span.
select (extract(epoch from received_at) * 1000000)::bigint, message_id from message
where received_at between %(start)s and %(end)s and site_id = %(site)s
    and (topic like %(node)s or topic like %(device)s)
