-- Who may do what. Run after the migrations, every time: the whole picture stands here, nothing is granted elsewhere.

do $$
declare
    name text;
    may_become text := case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end;
begin
    foreach name in array array['jcm_mrv_collector', 'jcm_mrv_mrv', 'jcm_mrv_reader', 'jcm_mrv_verifier',
                                'jcm_mrv_participant', 'jcm_mrv_operator', 'jcm_mrv_service', 'jcm_mrv_verifier_served',
                                'jcm_mrv_participant_served', 'jcm_mrv_operator_served', 'jcm_mrv_exporter'] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin noinherit', name);
            exception when duplicate_object or unique_violation then null; -- another database's migration was first
            end;
        end if;
        -- From 16 on whoever creates a role is its administrator, which alone does not allow SET ROLE.
        if not pg_has_role(current_user, name, may_become) then
            execute format('grant %I to current_user', name);
        end if;
    end loop;
    -- The service takes the role of whoever asks, for the length of a request, and inherits none of their rights.
    foreach name in array array['jcm_mrv_reader', 'jcm_mrv_verifier_served', 'jcm_mrv_participant_served',
                                'jcm_mrv_operator_served', 'jcm_mrv_exporter'] loop
        if not pg_has_role('jcm_mrv_service', name, may_become) then
            begin
                execute format('grant %I to jcm_mrv_service', name);
            exception when unique_violation then null;
            end;
        end if;
    end loop;
end
$$;

revoke all on all tables in schema public
    from jcm_mrv_collector, jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_verifier, jcm_mrv_participant,
    jcm_mrv_operator, jcm_mrv_service, jcm_mrv_exporter;
revoke all on all sequences in schema public
    from jcm_mrv_collector, jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_verifier, jcm_mrv_participant,
    jcm_mrv_operator, jcm_mrv_service, jcm_mrv_exporter;
grant usage on schema public
    to jcm_mrv_collector, jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_verifier, jcm_mrv_participant,
    jcm_mrv_operator, jcm_mrv_service, jcm_mrv_exporter;

-- The collector adds what was received. It cannot change or delete a row of evidence.
grant select on project, site, device, device_install, declaration, period_revision, seal, schema_migration
    to jcm_mrv_collector;
grant select, insert on message, reading, reading_part, reading_conflict, quarantine, device_event
    to jcm_mrv_collector;
grant select, insert, update on ingest_account, decoder_state to jcm_mrv_collector;
grant update (released_at) on quarantine to jcm_mrv_collector;
grant usage on sequence message_id_seq to jcm_mrv_collector;

-- The MRV module reads the evidence and writes results.
grant select on all tables in schema public to jcm_mrv_mrv;
grant insert, update on energy_day, period_revision, job_run to jcm_mrv_mrv;
grant insert on period, emission_result, audit_event to jcm_mrv_mrv;
grant insert on signing_key, seal, seal_block, seal_timestamp, evidence_salt to jcm_mrv_mrv;
grant insert on revision_day, revision_line to jcm_mrv_mrv;
grant insert on evidence_bundle to jcm_mrv_mrv;
-- Alerts: a pending one that goes away is deleted, what was told never (0012_alert.sql).
grant insert, update, delete on alert to jcm_mrv_mrv;
grant insert, update on alert_notice to jcm_mrv_mrv;

-- The reader reads everything and changes nothing.
grant select on all tables in schema public to jcm_mrv_reader;

-- As the reader, and writes bundles (`jcm-mrv serve`): what hides their confidential values, and that they were written.
grant select on all tables in schema public to jcm_mrv_exporter;
grant insert on evidence_salt, evidence_bundle to jcm_mrv_exporter;

-- Who may do what is nobody's business but the owner's and the service's.
revoke all on account, account_grant, api_token, web_session, login_project
    from jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_exporter;

-- Who verifies, who is verified, and who operates: each reads the projects of its session (scope.sql), nothing of
-- `public`, and takes only its own steps (0008_verification.sql). Their audit events are written by the database; keys
-- of verifiers are registered by the owner alone. The roles that end in _served are for the service only, and the same.
revoke execute on all functions in schema scoped from public;
grant usage on schema scoped to jcm_mrv_verifier, jcm_mrv_participant, jcm_mrv_operator;
grant execute on all functions in schema scoped to jcm_mrv_verifier, jcm_mrv_participant, jcm_mrv_operator;
grant select on all tables in schema scoped to jcm_mrv_verifier, jcm_mrv_participant, jcm_mrv_operator;
grant insert on scoped.finding, scoped.finding_closing, scoped.attestation to jcm_mrv_verifier;
grant insert on scoped.submission, scoped.finding_response, scoped.notification to jcm_mrv_participant;

-- The triggers of the steps look at `scoped`, whoever takes one.
grant usage on schema public, scoped, within
    to jcm_mrv_verifier_served, jcm_mrv_participant_served, jcm_mrv_operator_served;
grant execute on all functions in schema scoped
    to jcm_mrv_verifier_served, jcm_mrv_participant_served, jcm_mrv_operator_served;
grant select on all tables in schema scoped
    to jcm_mrv_verifier_served, jcm_mrv_participant_served, jcm_mrv_operator_served;
grant select on all tables in schema within
    to jcm_mrv_verifier_served, jcm_mrv_participant_served, jcm_mrv_operator_served;
grant insert on within.finding, within.finding_closing, within.attestation to jcm_mrv_verifier_served;
grant insert on within.submission, within.finding_response, within.notification to jcm_mrv_participant_served;
-- A login of one's own may not: who did it is what the session says (0012_alert.sql), which the service alone is believed.
grant update (acknowledged_by, acknowledged_at, acknowledged_note, muted_by, muted_at, muted_until) on within.alert
    to jcm_mrv_operator_served;

-- The service knows who asks, and puts on record what was asked for. It deletes sessions that ended long ago, and takes
-- back a right by writing when, never by taking out the row.
grant select on project, schema_migration, login_project to jcm_mrv_service;
grant select, insert on account, account_grant, api_token, audit_event to jcm_mrv_service;
grant select, insert, delete on web_session to jcm_mrv_service;
grant update (disabled_at, disabled_by) on account to jcm_mrv_service;
grant update (revoked_at, revoked_by) on account_grant to jcm_mrv_service;
grant update (revoked_at, revoked_by, last_used_at) on api_token to jcm_mrv_service;
grant update (last_seen_at, ended_at) on web_session to jcm_mrv_service;
