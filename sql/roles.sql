-- Who may do what. Run after the migrations, every time: the whole picture stands here, nothing is granted elsewhere.

do $$
declare
    name text;
begin
    foreach name in array array['jcm_mrv_collector', 'jcm_mrv_mrv', 'jcm_mrv_reader',
                                'jcm_mrv_verifier', 'jcm_mrv_participant'] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin', name);
            exception when duplicate_object or unique_violation then null; -- another database's migration was first
            end;
        end if;
        -- From 16 on whoever creates a role is its administrator, which alone does not allow SET ROLE.
        if not pg_has_role(current_user, name,
                           case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end) then
            execute format('grant %I to current_user', name);
        end if;
    end loop;
end
$$;

revoke all on all tables in schema public
    from jcm_mrv_collector, jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_verifier, jcm_mrv_participant;
revoke all on all sequences in schema public
    from jcm_mrv_collector, jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_verifier, jcm_mrv_participant;
grant usage on schema public
    to jcm_mrv_collector, jcm_mrv_mrv, jcm_mrv_reader, jcm_mrv_verifier, jcm_mrv_participant;

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
-- Alerts: a pending one that goes away is deleted, what was told never (0012_alert.sql).
grant insert, update, delete on alert to jcm_mrv_mrv;
grant insert, update on alert_notice to jcm_mrv_mrv;

-- The reader reads everything and changes nothing.
grant select on all tables in schema public to jcm_mrv_reader;

-- Who verifies and who is verified: each reads everything and takes only its own steps (0008_verification.sql). Their
-- audit events are written by the database; keys of verifiers are registered by the owner alone.
grant select on all tables in schema public to jcm_mrv_verifier, jcm_mrv_participant;
grant insert on finding, finding_closing, attestation to jcm_mrv_verifier;
grant insert on submission, finding_response, notification to jcm_mrv_participant;
