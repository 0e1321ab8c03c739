-- What is seen by who sees projects, not everything: a view of the same name in `scoped` for each table and view of
-- `public`, with the rows of the session's projects. Run after the migrations, every time, before the grants of
-- roles.sql. What is not listed here is not seen at all. Row security will not do: TimescaleDB refuses it on hypertables
-- with the columnstore.

-- The views of `scoped` are security barriers: whoever writes SQL of their own could else let a function, or an error,
-- tell of a row before the row is refused. A barrier hides the order of rows from a query around it, which makes the
-- newest of a device's readings cost all of them: 84 ms instead of 0.3 ms on 60 days of 50 devices. So `within` has the
-- same views without it, for the service, whose statements are ours.

drop schema if exists scoped cascade;
drop schema if exists within cascade;
create schema scoped;
create schema within;

-- Which projects: the setting `jcm_mrv.projects` is a JSON list, or `*` for all. The owner sees all without it, the
-- service (`jcm-mrv serve`) none. Every other login sees what login_project has for it, and the setting can only narrow
-- that: `session_user` is what no SET ROLE changes, and here `current_user` is the owner of the tables.
create function scoped.everything() returns boolean
language plpgsql stable parallel safe security definer set search_path = public, pg_temp as $$
declare
    given text := nullif(current_setting('jcm_mrv.projects', true), '');
begin
    return case when pg_has_role(session_user, current_user, 'MEMBER') then coalesce(given, '*') = '*'
                else pg_has_role(session_user, 'jcm_mrv_service', 'MEMBER') and coalesce(given, '') = '*' end;
end
$$;

create function scoped.projects() returns text[]
language plpgsql stable parallel safe security definer set search_path = public, pg_temp as $$
declare
    given text := nullif(current_setting('jcm_mrv.projects', true), '');
    trusted boolean := pg_has_role(session_user, current_user, 'MEMBER')
        or pg_has_role(session_user, 'jcm_mrv_service', 'MEMBER');
begin
    if scoped.everything() then
        return array(select id from project);
    elsif trusted then
        return array(select jsonb_array_elements_text(coalesce(given, '[]')::jsonb));
    end if;
    return array(select project_id from login_project where login = session_user and (given is null or given = '*'
        or project_id in (select jsonb_array_elements_text(case when given <> '*' then given::jsonb end))));
end
$$;

create function scoped.sites() returns text[]
language plpgsql stable parallel safe security definer set search_path = public, pg_temp as $$
declare
    mine text[] := scoped.projects();
begin
    return array(select id from site where project_id = any (mine));
end
$$;

create function scoped.devices() returns integer[]
language plpgsql stable parallel safe security definer set search_path = public, pg_temp as $$
declare
    mine text[] := scoped.projects();
begin
    return array(select device_id from device where project_id = any (mine));
end
$$;

create function scoped.periods() returns integer[]
language plpgsql stable parallel safe security definer set search_path = public, pg_temp as $$
declare
    mine text[] := scoped.projects();
begin
    return array(select period_id from period where project_id = any (mine));
end
$$;

do $$
declare
    -- Evaluated once a statement, so that the keys' indexes and the exclusion of chunks are used.
    projects constant text := 'any ((select scoped.projects())::text[])';
    sites    constant text := 'any ((select scoped.sites())::text[])';
    devices  constant text := 'any ((select scoped.devices())::integer[])';
    periods  constant text := 'any ((select scoped.periods())::integer[])';
    everything constant text := '(select scoped.everything())';
    of_finding constant text := 'exists (select from public.finding f where f.finding_id = t.finding_id and f.period_id = '
        || periods || ')';
    rule text[];
    check_option text;
begin
    foreach rule slice 1 in array array[
        ['project', 'id = ' || projects],
        ['site', 'project_id = ' || projects],
        ['pv_system', 'project_id = ' || projects],
        ['device', 'project_id = ' || projects],
        ['device_install', 'device_id = ' || devices],
        ['calibration', 'device_id = ' || devices],
        ['declaration', 'project_id = ' || projects],
        ['audit_event', 'project_id = ' || projects],
        -- What names no declared site is of no project.
        ['message', everything || ' or site_id = ' || sites],
        ['quarantine', everything || ' or site_id = ' || sites],
        ['ingest_account', everything || ' or site_id = ' || sites],
        ['device_event', everything || ' or site_id = ' || sites],
        ['reading', 'device_id = ' || devices],
        ['reading_part', 'device_id = ' || devices],
        ['reading_conflict', 'device_id = ' || devices],
        ['decoder_state', everything],
        ['energy_day', 'device_id = ' || devices],
        ['period', 'project_id = ' || projects],
        ['period_revision', 'period_id = ' || periods],
        ['emission_result', 'period_id = ' || periods],
        ['revision_day', 'period_id = ' || periods],
        ['revision_line', 'period_id = ' || periods],
        ['job_run', everything || ' or scope = ' || sites
            || ' or regexp_replace(scope, '' \d{4}-\d\d-\d\d \d{4}-\d\d-\d\d$'', '''') = ' || projects],
        ['seal', everything || ' or site_id = ' || sites],
        ['seal_timestamp', everything || ' or site_id = ' || sites],
        ['seal_block', everything || ' or site_id = ' || sites],
        ['evidence_salt', 'period_id = ' || periods],
        ['evidence_bundle', 'period_id = ' || periods],
        ['message_drop', everything || ' or site_id = ' || sites],
        ['message_drop_period', 'period_id = ' || periods],
        ['submission', 'period_id = ' || periods],
        ['finding', 'period_id = ' || periods],
        ['finding_response', of_finding],
        ['finding_closing', of_finding],
        ['attestation', 'period_id = ' || periods],
        ['notification', 'period_id = ' || periods],
        ['notification_share', 'period_id = ' || periods],
        ['revision_state', 'project_id = ' || projects],
        ['finding_state', 'project_id = ' || projects],
        ['alert', everything || ' or project_id = ' || projects],
        -- A notice may be of alerts of several projects.
        ['alert_notice', everything],
        -- Of no project, and for everybody.
        ['signing_key', 'true'],
        ['verifier_key', 'true'],
        ['verifier_key_withdrawal', 'true'],
        ['schema_migration', 'true']
    ] loop
        check_option := case when rule[1] in ('submission', 'finding', 'finding_response', 'finding_closing', 'attestation',
                                              'notification') then 'cascaded' end;
        execute format('create view scoped.%I with (security_barrier) as select t.* from public.%1$I t where %2$s %3$s',
            rule[1], rule[2], 'with ' || check_option || ' check option');
        execute format('create view within.%I as select t.* from public.%1$I t where %2$s %3$s',
            rule[1],
            -- Who asks the service for readings names devices. This array, of which the planner does not know the
            -- length, made it read all keys of a chunk beside the index that a query is for: 170 ms instead of 50 for
            -- what came late to a year of 50 devices.
            case rule[1] when 'reading' then replace(rule[2], 'device_id =', 'device_id + 0 =') else rule[2] end,
            'with ' || check_option || ' check option');
    end loop;
end
$$;

-- The steps of 0008_verification.sql look at the tables as whoever takes the step, which is the scoped views for a role
-- that has no others, and never at temporary tables of the same names.
do $$
declare
    step regprocedure;
begin
    for step in select oid from pg_proc where pronamespace = 'public'::regnamespace and not prosecdef
        and proname in ('step_submission', 'step_finding', 'step_response', 'step_closing', 'step_attestation',
                        'step_notification', 'step_revision')
    loop
        execute format('alter function %s set search_path = scoped, public, pg_temp', step);
    end loop;
end
$$;
