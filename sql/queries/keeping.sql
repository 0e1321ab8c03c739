-- Backup, restore, retention and compression.

-- name: export_snapshot
select pg_export_snapshot()

-- name: session
-- A row's text is the same wherever it is written.
select set_config('timezone', 'UTC', false), set_config('datestyle', 'ISO, YMD', false),
    set_config('intervalstyle', 'postgres', false), set_config('extra_float_digits', '1', false),
    set_config('bytea_output', 'hex', false)

-- name: about
select current_setting('server_version'), current_setting('server_version_num')::integer / 10000,
    (select extversion from pg_extension where extname = 'timescaledb'),
    (select current_setting('timescaledb.license', true)),
    (select to_regclass('public.schema_migration') is not null)

-- name: schema_version
select max(version) from schema_migration

-- name: tables
select c.relname from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
order by c.relname

-- name: table_content
-- The number of rows, and the sum of the first 64 bits of each row's MD5: the order of rows does not count. It is there
-- to find what went missing; what was forged is for the seals.
select count(*), coalesce(sum(('x' || left(md5(t::text), 16))::bit(64)::bigint::numeric), 0)::text from {table} t

-- name: hypertables
select hypertable_name, num_chunks::integer from timescaledb_information.hypertables
where hypertable_schema = 'public' order by 1

-- name: sequences
-- The columns that a sequence numbers, and message ids, which come in blocks (migration 0005).
select s.relname, t.relname, a.attname, q.seqincrement
from pg_depend d
join pg_class s on s.oid = d.objid and s.relkind = 'S'
join pg_sequence q on q.seqrelid = s.oid
join pg_class t on t.oid = d.refobjid and t.relnamespace = 'public'::regnamespace
join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
where d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
union all
select 'message_id_seq', 'message', 'message_id', seqincrement from pg_sequence
where seqrelid = to_regclass('public.message_id_seq')
order by 1

-- name: sequence_reaches
select coalesce((select max({column}) from {table}), 0) < s.last_value + %(increment)s from {sequence} s

-- name: set_sequence
select setval({name}, (select max({column}) from {table}))

-- name: content
-- What is in a database beside what PostgreSQL and its extensions put there.
select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
    and not exists (select from pg_depend d where d.objid = n.oid and d.deptype = 'e')

-- name: may_create
select has_database_privilege(current_database(), 'create')
    and bool_and(has_schema_privilege(oid, 'create')) is not false
from pg_namespace where nspname = 'public'

-- name: mark_restoring
-- Until the dump is in and every table is what it was; `sql.server` refuses such a database.
alter database {name} set jcm_mrv.restoring = 'on'

-- name: unmark_restoring
alter database {name} reset jcm_mrv.restoring

-- name: restoring
select 'on' in (coalesce(current_setting('timescaledb.restoring', true), ''),
    coalesce(current_setting('jcm_mrv.restoring', true), ''))

-- name: timescaledb_versions
select v.version, a.default_version, a.installed_version
from pg_available_extensions a join pg_available_extension_versions v using (name) where a.name = 'timescaledb'

-- name: create_timescaledb
create extension timescaledb version {version}

-- name: pre_restore
select timescaledb_pre_restore()

-- name: post_restore
select timescaledb_post_restore()

-- name: database_exists
select exists (select from pg_database where datname = %(name)s)

-- name: create_database
create database {name} owner {owner} template template0

-- name: drop_database
drop database {name} with (force)

-- name: me
select current_user, current_database()

-- name: give
-- A restored object is the superuser's who restored it. Chunks follow their hypertable, a column's sequence its table.
with ours as (
    select oid, nspname from pg_namespace n
    where nspname !~ '^pg_' and nspname <> 'information_schema'
        and not exists (select from pg_depend d where d.objid = n.oid and d.deptype = 'e')
)
select format('alter %%s %%s owner to %%I', kind, name, %(owner)s::text)
from (
    select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end
        as kind, c.oid::regclass::text as name, c.relkind::text as sorting
    from pg_class c
    where c.relnamespace in (select oid from ours) and c.relkind in ('r', 'p', 'v', 'm', 'S')
        and not exists (select from pg_depend d where d.objid = c.oid and d.deptype in ('e', 'a', 'i'))
    union all
    select case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure::text, 'f'
    from pg_proc p
    where p.pronamespace in (select oid from ours)
        and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    union all
    select 'schema', quote_ident(nspname), 's' from ours where nspname <> 'public'
) as object
order by sorting, name

-- name: analyze
analyze

-- name: sites_with_seals
select distinct site_id from seal order by 1

-- name: seals_of_site
select s.day, s.statement, s.sha256, s.signature, s.salt, k.public_key, s.messages
from seal s join signing_key k using (key_id) where s.site_id = %(site)s order by s.day

-- name: dropped_days
-- Days of receipt whose messages retention took.
select site_id, generate_series(range_start, range_end - interval '1 second', interval '1 day')::date from message_drop

-- name: finished_revisions
select p.project_id, p.first_day, p.last_day, r.revision,
    exists (select from message_drop_period d where d.period_id = r.period_id) as dropped
from period_revision r join period p using (period_id) where r.result is not null order by 1, 2, 4

-- name: messages_of_day
select coalesce(site_id, ''), (extract(epoch from received_at) * 1000000)::bigint, message_id,
    (extract(epoch from arrived_at) * 1000000)::bigint, topic, payload, qos, retained, redelivered, outcome, readings,
    collector, note
from message where received_at >= %(start)s and received_at < %(end)s and coalesce(site_id, '') = %(site)s
order by received_at, message_id

-- name: add_bundle
insert into evidence_bundle (period_id, revision, redacted, sha256, bytes)
select period_id, %(revision)s, %(redacted)s, %(sha256)s, %(bytes)s
from period where project_id = %(project)s and first_day = %(first)s and last_day = %(last)s
on conflict do nothing

-- name: message_chunks
select range_start, range_end, stays,
    (select count(*) from message m where m.received_at >= c.range_start and m.received_at < c.range_end)
from message_chunks(make_interval(years => %(years)s), %(quarantined)s) c

-- name: drop_message_chunk
select drop_message_chunk(%(start)s, make_interval(years => %(years)s), %(quarantined)s)

-- name: compressible
-- Chunks that nothing is written to any more as a rule, and that are rows still. Messages: the day is sealed, so nothing
-- can be. Readings: every day of a crediting period in it is in a frozen revision; what comes late is still stored, but
-- slowly (an upsert into a compressed chunk takes 24 to 39 times as long).
select c.hypertable_name, c.range_start, c.range_end, format('%%I.%%I', c.chunk_schema, c.chunk_name)
from timescaledb_information.chunks c
where c.hypertable_schema = 'public' and not c.is_compressed and c.range_end <= now() - make_interval(days => %(days)s)
    and case c.hypertable_name
        when 'message' then (c.range_end at time zone 'UTC')::date <= (select max(day) + 1 from seal)
        when 'reading' then not exists (
            select from project p
            join site s on s.project_id = p.id
            cross join generate_series(c.range_start, c.range_end - interval '1 microsecond', interval '1 day') t
            where (t at time zone s.time_zone)::date between p.crediting_from and p.crediting_to
                and exists (select from device d join reading r using (device_id)
                            where d.site_id = s.id and r.ts >= c.range_start and r.ts < c.range_end)
                and not exists (
                    select from period f join period_revision v using (period_id)
                    where f.project_id = p.id and v.result is not null
                        and (t at time zone s.time_zone)::date between f.first_day and f.last_day))
        else false end
order by c.hypertable_name, c.range_start

-- name: columnstore_enabled
select hypertable_name from timescaledb_information.hypertables
where hypertable_schema = 'public' and compression_enabled

-- name: enable_columnstore_reading
-- A computation reads one device over a span of time; the key (device_id, ts) is covered, as a unique key has to be.
alter table reading set (timescaledb.enable_columnstore, timescaledb.segmentby = 'device_id', timescaledb.orderby = 'ts')

-- name: enable_columnstore_message
-- Sealing and bundles read a site's day in the order of the key.
alter table message set (timescaledb.enable_columnstore, timescaledb.segmentby = 'site_id',
    timescaledb.orderby = 'received_at, message_id')

-- name: compress
call convert_to_columnstore(%(chunk)s::regclass)

-- name: compression
select hypertable_name, count(*), sum(before_compression_total_bytes)::bigint, sum(after_compression_total_bytes)::bigint
from timescaledb_information.hypertables h
cross join lateral chunk_columnstore_stats(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass) s
where h.hypertable_schema = 'public' and h.compression_enabled and s.compression_status = 'Compressed'
group by 1 order by 1
