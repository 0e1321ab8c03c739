-- A login for each service, a member of its role only (sql/roles.sql). After `jcm-mrv migrate`, by the owner, with psql;
-- run again it changes the passwords to what the files in $SECRETS say. Without INHERIT a login has no right but to take
-- its role.
\set ON_ERROR_STOP on
\set collect `cat "$SECRETS/collect-password"`
\set schedule `cat "$SECRETS/schedule-password"`
\set serve `cat "$SECRETS/serve-password"`

begin;
-- The passwords stand in the statements: the server's log shall not have them. Only a superuser can say so.
select set_config(name, value, true)
from (values ('log_statement', 'none'), ('log_min_duration_statement', '-1'), ('log_min_error_statement', 'panic'))
    as quiet (name, value)
where (select rolsuper from pg_roles where rolname = current_user)
\g /dev/null

select format('create role %I login noinherit', name)
from unnest(array['jcm_mrv_collect', 'jcm_mrv_schedule', 'jcm_mrv_serve']) as name
where not exists (select from pg_roles where rolname = name)
\gexec

alter role jcm_mrv_collect password :'collect';
alter role jcm_mrv_schedule password :'schedule';
alter role jcm_mrv_serve password :'serve';

-- The collector also reads when each site was last heard of, for its metrics.
grant jcm_mrv_collector, jcm_mrv_reader to jcm_mrv_collect;
grant jcm_mrv_mrv to jcm_mrv_schedule;
grant jcm_mrv_service to jcm_mrv_serve;
commit;
