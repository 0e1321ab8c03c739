-- What is wrong, what was, and what was told of it to whom (docs/alerts.md).

-- pending: firing_since is null; firing: it is not; resolved: resolved_at is not. A pending one that goes away is
-- deleted: nothing was wrong for long enough, and nobody was told.
create table alert (
    alert_id     bigint primary key generated always as identity,
    rule         text not null,
    subject      text not null,
    -- Neither is a foreign key: what was told stays told. Null for what is of the whole installation.
    project_id   text,
    site_id      text,
    severity     text not null check (severity in ('warning', 'critical')),
    said         text not null,
    -- Since when it has been so, as far as the data tells; the others are when it was seen.
    since        timestamptz not null,
    first_seen   timestamptz not null,
    last_seen    timestamptz not null check (last_seen >= first_seen),
    firing_since timestamptz check (firing_since >= first_seen),
    resolved_at  timestamptz check (resolved_at >= firing_since),
    -- Those that were told of together; set when their notices were written, whether or not there was anybody to tell.
    group_id     bigint,
    recovery_told_at timestamptz,
    acknowledged_by   text,
    acknowledged_at   timestamptz,
    acknowledged_note text,
    muted_by    text,
    muted_at    timestamptz,
    muted_until timestamptz,
    check (resolved_at is null or firing_since is not null),
    check (recovery_told_at is null or (group_id is not null and resolved_at is not null)),
    check ((acknowledged_by is null) = (acknowledged_at is null)),
    check ((muted_by is null) = (muted_until is null) and (muted_by is null) = (muted_at is null))
);
-- However many replicas look: one open alert a rule and subject.
create unique index alert_open_idx on alert (rule, subject) where resolved_at is null;
create index alert_untold_idx on alert (group_id) where recovery_told_at is null;
create index alert_resolved_at_idx on alert (resolved_at desc) where resolved_at is not null;

create function refuse_deletion_of_an_alert() returns trigger language plpgsql as $$
begin
    if old.firing_since is not null then
        raise exception 'alert % is history', old.alert_id using errcode = 'insufficient_privilege';
    end if;
    return old;
end
$$;
create trigger history before delete on alert for each row execute function refuse_deletion_of_an_alert();
create trigger no_truncate before truncate on alert for each statement execute function refuse_change();

-- One notice to one target. content is fixed when it is written, so that every attempt sends the same under the same key.
create table alert_notice (
    notice_id  bigint primary key generated always as identity,
    group_id   bigint not null,
    target     text not null,
    kind       text not null check (kind in ('firing', 'resolved')),
    alerts     bigint[] not null,
    key        text not null,
    content    jsonb not null,
    created_at timestamptz not null,
    attempts   integer not null default 0,
    -- Claimed until then while attempts are made, and tried again then.
    due_at     timestamptz not null,
    tried_at   timestamptz,
    outcome    text,
    sent_at    timestamptz,
    given_up_at timestamptz check (given_up_at is null or sent_at is null),
    unique (target, key)
);
create index alert_notice_due_idx on alert_notice (due_at) where sent_at is null and given_up_at is null;

-- How much went to quarantine in the last hour is asked every minute, where 200,000 entries may wait.
create index quarantine_received_at_idx on quarantine (received_at) where released_at is null;

-- Who said that they see to it, and who wants no notices, is put on record by the database itself, so that the role of
-- an operator needs no right to write records. The name is the one that the session gives; else it is the login.
create function audit_alert() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
    actor text := coalesce(nullif(current_setting('jcm_mrv.actor', true), ''), session_user);
    about jsonb := jsonb_strip_nulls(jsonb_build_object('alert', new.alert_id, 'project', new.project_id));
begin
    if new.acknowledged_at is distinct from old.acknowledged_at then
        insert into audit_event (actor, action, subject, detail) values (actor, 'alert.acknowledged',
            new.rule || ' ' || new.subject, about || jsonb_build_object('note', coalesce(new.acknowledged_note, '')));
    end if;
    if new.muted_at is distinct from old.muted_at then
        insert into audit_event (actor, action, subject, detail) values (actor,
            case when new.muted_at is null then 'alert.unmuted' else 'alert.muted' end, new.rule || ' ' || new.subject,
            about || jsonb_strip_nulls(jsonb_build_object('until', new.muted_until)));
    end if;
    return null;
end
$$;
create trigger c_audit after update on alert for each row execute function audit_alert();
