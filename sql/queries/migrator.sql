-- What the migrator and the server check run.

-- name: available_timescaledb
select default_version, installed_version from pg_available_extensions where name = 'timescaledb';

-- name: create_timescaledb
create extension timescaledb;

-- name: server
-- While `timescaledb.restoring` is on a hypertable is none, and nothing but a restore may write.
select current_setting('server_version'), current_setting('timescaledb.license'),
    'on' in (current_setting('timescaledb.restoring'), coalesce(current_setting('jcm_mrv.restoring', true), ''));

-- name: lock
-- A session lock: one migrator at a time, whatever it runs outside a transaction.
select pg_advisory_lock(hashtext('jcm-mrv migrate'));

-- name: unlock
select pg_advisory_unlock(hashtext('jcm-mrv migrate'));

-- name: create_table
create table if not exists schema_migration (
    version      integer primary key,
    name         text not null,
    sha256       bytea not null,
    code_version text not null,
    applied_at   timestamptz not null default now()
);

-- name: applied
select version, name, sha256 from schema_migration order by version;

-- name: record
insert into schema_migration (version, name, sha256, code_version) values (%s, %s, %s, %s);

-- name: forget
delete from schema_migration where version = %s;

-- name: drop_scope
drop schema if exists scoped, within cascade;
