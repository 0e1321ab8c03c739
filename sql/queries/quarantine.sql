-- What `jcm-mrv quarantine` runs.

-- name: counts
-- An entry of a site that was not declared when it came has no site_id, but a topic that names one.
select coalesce(site_id, '') as site, reason, count(*), min(received_at), max(received_at)
from quarantine
where released_at is null
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(site)s::text is null or site_id = %(site)s or (site_id is null and split_part(topic, '/', 3) = %(site)s))
group by 1, 2
order by 3 desc, 1, 2;

-- name: newest
select quarantine_id, received_at, coalesce(site_id, ''), topic, reason, detail, element
from quarantine
where released_at is null
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(site)s::text is null or site_id = %(site)s or (site_id is null and split_part(topic, '/', 3) = %(site)s))
order by quarantine_id desc
limit %(limit)s;

-- name: entry
select quarantine_id, received_at, message_id, element, coalesce(site_id, ''), topic, reason, detail, released_at
from quarantine
where quarantine_id = %s;

-- name: message
select arrived_at, payload, sha256, qos, retained, redelivered, collector, outcome, readings
from message
where received_at = %s and message_id = %s;

-- name: entries_of_message
select quarantine_id, element, reason, detail, released_at
from quarantine
where message_id = %(message_id)s and received_at = %(received_at)s
order by quarantine_id
limit %(limit)s;

-- name: readings_of_message
select d.site_id, d.id, r.ts, r.element, r.power_w, r.energy_exported_wh
from reading r
join device d using (device_id)
where r.received_at = %(received_at)s and r.message_id = %(message_id)s
order by r.element
limit %(limit)s;

-- name: not_waiting
-- Of the entries asked for: those that there are not, and those that were released.
select asked.id, q.released_at
from unnest(%(ids)s::bigint[]) as asked (id)
left join quarantine q on q.quarantine_id = asked.id
where q.quarantine_id is null or q.released_at is not null
order by asked.id
limit 1;

-- name: waiting
select count(*), coalesce(max(quarantine_id), 0)
from quarantine
where released_at is null
  and (%(ids)s::bigint[] is null or quarantine_id = any(%(ids)s))
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(site)s::text is null or site_id = %(site)s or (site_id is null and split_part(topic, '/', 3) = %(site)s));

-- name: page
select quarantine_id, received_at, message_id
from quarantine
where released_at is null and quarantine_id > %(after)s and quarantine_id <= %(until)s
  and (%(ids)s::bigint[] is null or quarantine_id = any(%(ids)s))
  and (%(reason)s::text is null or reason = %(reason)s)
  and (%(site)s::text is null or site_id = %(site)s or (site_id is null and split_part(topic, '/', 3) = %(site)s))
order by quarantine_id
limit %(limit)s;

-- name: entries
-- All that wait of these messages, whatever they were selected by: a message is judged as a whole.
select q.message_id, q.received_at, q.quarantine_id, q.element
from quarantine q
where q.released_at is null and q.message_id = any(%(message_ids)s);

-- name: sizes
select m.message_id, octet_length(m.payload)
from unnest(%(received_at)s::timestamptz[], %(message_ids)s::bigint[]) as asked (received_at, message_id)
join message m on m.received_at = asked.received_at and m.message_id = asked.message_id
where m.received_at between %(first)s and %(last)s;

-- name: messages
select m.message_id, m.arrived_at, m.topic, m.payload, m.qos, m.retained, m.redelivered
from unnest(%(received_at)s::timestamptz[], %(message_ids)s::bigint[]) as asked (received_at, message_id)
join message m on m.received_at = asked.received_at and m.message_id = asked.message_id
where m.received_at between %(first)s and %(last)s
order by m.message_id;

-- name: release
update quarantine set released_at = %(released_at)s
where quarantine_id = any(%(ids)s) and released_at is null;
