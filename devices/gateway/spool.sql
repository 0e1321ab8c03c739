-- The gateway's store: what was read from the devices and is not yet safely with the broker.

-- name: schema
create table if not exists reading (
    id integer primary key autoincrement,
    device text not null,
    seq integer not null,
    -- Epoch milliseconds; null: taken before the clock was set, see boot and boot_ms.
    ts_ms integer,
    boot text not null,
    boot_ms integer not null,
    points text not null
) strict;
-- Looked into every second, and nearly always empty.
create index if not exists held on reading (boot) where ts_ms is null;
create table if not exists device (id text primary key, seq integer not null) strict;
create table if not exists dropped (device text primary key, readings integer not null) strict;

-- name: next_seq
insert into device (id, seq) values (?, 1) on conflict (id) do update set seq = seq + 1 returning seq;

-- name: put
insert into reading (device, seq, ts_ms, boot, boot_ms, points) values (?, ?, ?, ?, ?, ?) returning id;

-- name: pending
select id, device, seq, ts_ms, points from reading
where id > ? and id <= ? and (ts_ms is not null or boot <> ?)
order by id limit ?;

-- name: newest
select coalesce(max(id), 0) from reading;

-- name: oldest
select id, device from reading order by id limit ?;

-- name: delete
delete from reading where id = ?;

-- name: count_dropped
insert into dropped (device, readings) values (?, 1) on conflict (device) do update set readings = readings + 1;

-- name: dropped
select coalesce(sum(readings), 0) from dropped;

-- name: first_held
select min(id) from reading where ts_ms is null and boot = ?;

-- name: date_held
update reading set ts_ms = ? - (? - boot_ms) where ts_ms is null and boot = ?;

-- name: count
select count(*) from reading;

-- name: oldest_time
select ts_ms from reading order by id limit 1;

-- name: count_held
select count(*) from reading where ts_ms is null;
