-- From a frozen revision to tonnes that were verified and notified: each step is one row that is never changed, by one
-- person at the database's clock, and writes its own audit event. What state a revision is in is read from the rows.
--
-- A step that may not be taken is refused here, for the owner too, as JV001 with a message for a person. What PostgreSQL
-- cannot check is an Ed25519 signature: mrv/verification does, when one is given and every time one is relied on.

-- Keys of third-party entities, registered by the owner; the private halves never come here.
create table verifier_key (
    key_id     text primary key check (key_id = 'ed25519:' || encode(sha256(public_key), 'hex')),
    public_key bytea not null check (octet_length(public_key) = 32),
    third_party_entity text not null check (btrim(third_party_entity) <> ''),
    valid_from  timestamptz not null,
    valid_until timestamptz not null check (valid_until > valid_from),
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> '')
);

-- From `at` on nothing is attested with it; what was attested before stands.
create table verifier_key_withdrawal (
    key_id       text primary key references verifier_key,
    reason       text not null check (btrim(reason) <> ''),
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> '')
);

create table submission (
    period_id    integer not null,
    revision     integer not null,
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> ''),
    primary key (period_id, revision),
    foreign key (period_id, revision) references period_revision
);

-- A finding keeps its number for the life of the period, so that what is carried over to the next revision is the same
-- finding: numbers rise by kind over all revisions of a period.
create table finding (
    finding_id integer primary key generated always as identity,
    period_id  integer not null,
    revision   integer not null,
    kind       text not null check (kind in ('CAR', 'CL', 'FAR')),
    number     integer not null,
    text       text not null check (btrim(text) <> ''),
    -- What it is about; nothing named is the whole period.
    about      jsonb not null default '{}' check (jsonb_typeof(about) = 'object'
        and about - array['system', 'device', 'day', 'rule', 'message_id'] = '{}'),
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> ''),
    unique (period_id, kind, number),
    foreign key (period_id, revision) references submission
);

-- `revision` is the latest one of the period when it was written.
create table finding_response (
    response_id integer primary key generated always as identity,
    finding_id  integer not null references finding,
    revision    integer not null,
    text        text not null check (btrim(text) <> ''),
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> '')
);

create table finding_closing (
    finding_id  integer primary key references finding,
    revision    integer not null,
    text        text not null check (btrim(text) <> ''),
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> '')
);

create table attestation (
    period_id integer not null,
    revision  integer not null,
    key_id    text not null references verifier_key,
    -- The bytes that were signed (docs/verifiers.md), and the signature over them.
    statement bytea not null,
    signature bytea not null check (octet_length(signature) = 64),
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> ''),
    primary key (period_id, revision),
    foreign key (period_id, revision) references submission
);

-- One a period: its tonnes are notified once, whatever revisions it has. `shares` is a list of
-- {"vintage": 2021, "side": "host" | "japan", "holder": "…", "tco2": 1008}.
create table notification (
    period_id integer primary key,
    revision  integer not null,
    decided   date not null,
    shares    jsonb not null,
    at           timestamptz not null,
    login        text not null,
    person       text not null check (btrim(person) <> ''),
    organisation text not null check (btrim(organisation) <> ''),
    foreign key (period_id, revision) references attestation
);

create view notification_share as
select n.period_id, n.revision, s.vintage, s.side, s.holder, s.tco2
from notification n, jsonb_to_recordset(n.shares) as s(vintage integer, side text, holder text, tco2 bigint);

create view revision_state as
select p.project_id, p.first_day, p.last_day, r.period_id, r.revision,
    case when n.period_id is not null then 'notified'
         when a.period_id is not null then 'verified'
         when exists (select from period_revision l where l.period_id = r.period_id and l.revision > r.revision)
             then 'superseded'
         when r.result is null then 'unfinished'
         when s.period_id is not null then 'submitted'
         else 'frozen' end as state
from period_revision r
join period p using (period_id)
left join submission s using (period_id, revision)
left join attestation a using (period_id, revision)
left join notification n using (period_id, revision);

create view finding_state as
select p.project_id, p.first_day, p.last_day, f.*, f.kind || '-' || f.number as label,
    case when c.finding_id is not null then 'closed'
         when exists (select from finding_response a where a.finding_id = f.finding_id) then 'responded'
         else 'raised' end as state
from finding f
join period p using (period_id)
left join finding_closing c using (finding_id);

create function refuse_step(said text) returns void language plpgsql as $$
begin
    raise exception using errcode = 'JV001', message = said;
end
$$;

-- Steps of one period, and the freezing of its revisions, one after the other; what is looked at afterwards is then
-- what stands, which needs a snapshot for each statement.
create function lock_verification(of_period integer) returns void language plpgsql as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        perform refuse_step('a step of the verification is taken in a transaction that is read committed');
    end if;
    perform pg_advisory_xact_lock(hashtext('jcm-mrv verification'), of_period);
end
$$;

create function name_of_revision(of_period integer, of_revision integer) returns text language sql stable as $$
    select format('revision %s of %s %s to %s', of_revision, project_id, to_char(first_day, 'YYYY-MM-DD'),
        to_char(last_day, 'YYYY-MM-DD')) from period where period_id = of_period
$$;

create function require_state(of_period integer, of_revision integer, wanted text, step text) returns void
language plpgsql as $$
declare
    is_now text;
    latest integer;
begin
    select state into is_now from revision_state s where s.period_id = of_period and s.revision = of_revision;
    select max(revision) into latest from period_revision r where r.period_id = of_period;
    if is_now = wanted then
        return;
    end if;
    perform refuse_step(coalesce(name_of_revision(of_period, of_revision), 'a period that is not there') || ' cannot be ' || step
        || ': it is ' || case is_now
            when 'superseded' then format('superseded by revision %s', latest)
            when 'unfinished' then 'unfinished; freeze the period again to complete it'
            when 'frozen' then 'not submitted yet'
            when 'submitted' then case wanted when 'frozen' then 'submitted already' else 'not verified yet' end
            when 'verified' then 'verified and cannot change; what is new goes into the next revision'
            when 'notified' then 'notified and cannot change; what is new goes into the next revision'
            else 'not there' end);
end
$$;

-- Who verifies and who is verified are never one organisation. The third-party entity is the one that the project
-- declares; while it declares none, it is whoever raised the finding or holds the key.
create function same_organisation(one text, other text) returns boolean language sql immutable as $$
    select lower(regexp_replace(btrim(one), '\s+', ' ', 'g')) = lower(regexp_replace(btrim(other), '\s+', ' ', 'g'))
$$;

create function third_party_entity_of(of_period integer) returns text language sql stable as $$
    select j.third_party_entity from period p join project j on j.id = p.project_id where p.period_id = of_period
$$;

create function require_verifier(of_period integer, organisation text, step text, otherwise text) returns void
language plpgsql as $$
declare
    entity text := coalesce(third_party_entity_of(of_period), otherwise);
begin
    if not same_organisation(organisation, entity) then
        perform refuse_step(format('only %s, the third-party entity, may %s; not %s', entity, step, organisation));
    end if;
end
$$;

create function refuse_verifier(of_period integer, organisation text, step text, also text) returns void
language plpgsql as $$
begin
    if same_organisation(organisation, third_party_entity_of(of_period)) or same_organisation(organisation, also) then
        perform refuse_step(format('%s is the third-party entity and may not %s; a participant does', organisation, step));
    end if;
end
$$;

-- Time and login are the database's own, whatever was given.
create function step_stamp() returns trigger language plpgsql as $$
begin
    new.at := clock_timestamp();
    new.login := session_user;
    return new;
end
$$;

create function step_submission() returns trigger language plpgsql as $$
begin
    perform lock_verification(new.period_id);
    perform require_state(new.period_id, new.revision, 'frozen', 'submitted');
    perform refuse_verifier(new.period_id, new.organisation, 'submit', null);
    return new;
end
$$;

create function step_finding() returns trigger language plpgsql as $$
begin
    perform lock_verification(new.period_id);
    perform require_state(new.period_id, new.revision, 'submitted', 'given a finding');
    perform require_verifier(new.period_id, new.organisation, 'raise a finding', new.organisation);
    select coalesce(max(number), 0) + 1 into new.number from finding f
    where f.period_id = new.period_id and f.kind = new.kind;
    return new;
end
$$;

create function step_response() returns trigger language plpgsql as $$
declare
    answered record;
begin
    select * into answered from finding_state f where f.finding_id = new.finding_id;
    perform lock_verification(answered.period_id);
    select * into answered from finding_state f where f.finding_id = new.finding_id;
    if answered.state = 'closed' then
        perform refuse_step(format('%s is closed; it takes no more responses', answered.label));
    end if;
    perform refuse_verifier(answered.period_id, new.organisation, 'respond to a finding', answered.organisation);
    select max(revision) into new.revision from period_revision r where r.period_id = answered.period_id;
    return new;
end
$$;

create function step_closing() returns trigger language plpgsql as $$
declare
    closed record;
begin
    select * into closed from finding_state f where f.finding_id = new.finding_id;
    perform lock_verification(closed.period_id);
    select * into closed from finding_state f where f.finding_id = new.finding_id;
    if closed.state = 'closed' then
        perform refuse_step(format('%s is closed already', closed.label));
    elsif closed.state = 'raised' then
        perform refuse_step(format('%s cannot be closed: nobody has responded to it', closed.label));
    end if;
    perform require_verifier(closed.period_id, new.organisation, 'close a finding', closed.organisation);
    select max(revision) into new.revision from period_revision r where r.period_id = closed.period_id;
    return new;
end
$$;

create function step_attestation() returns trigger language plpgsql as $$
declare
    name text := name_of_revision(new.period_id, new.revision);
    unresolved text;
    open_far jsonb;
    key record;
    now_is timestamptz := clock_timestamp();
    said jsonb := convert_from(new.statement, 'UTF8')::jsonb;
    holds jsonb;
    differing text;
begin
    perform lock_verification(new.period_id);
    perform require_state(new.period_id, new.revision, 'submitted', 'attested');
    select string_agg(label, ', ' order by kind, number) into unresolved from finding_state f
    where f.period_id = new.period_id and kind in ('CAR', 'CL') and state <> 'closed';
    if unresolved is not null then
        perform refuse_step(format('%s cannot be attested: %s not closed', name, unresolved));
    end if;
    select k.*, w.at as withdrawn_at into key from verifier_key k left join verifier_key_withdrawal w using (key_id)
    where k.key_id = new.key_id;
    if key.key_id is null then
        perform refuse_step(format('key %s is not registered', new.key_id));
    elsif key.withdrawn_at is not null then
        perform refuse_step(format('key %s was withdrawn at %s', new.key_id, key.withdrawn_at));
    elsif now_is < key.valid_from then
        perform refuse_step(format('key %s is not valid before %s', new.key_id, key.valid_from));
    elsif now_is >= key.valid_until then
        perform refuse_step(format('key %s expired at %s', new.key_id, key.valid_until));
    end if;
    if not same_organisation(key.third_party_entity, new.organisation) then
        perform refuse_step(format('key %s is registered for %s, not for %s', new.key_id, key.third_party_entity,
            new.organisation));
    end if;
    perform require_verifier(new.period_id, new.organisation, 'attest', key.third_party_entity);
    select coalesce(jsonb_agg(label order by number), '[]') into open_far from finding_state f
    where f.period_id = new.period_id and kind = 'FAR' and state <> 'closed';
    select jsonb_build_object(
        'statement', 'jcm-mrv attestation 1', 'project', p.project_id, 'revision', r.revision,
        'period', jsonb_build_object('from', to_char(p.first_day, 'YYYY-MM-DD'), 'to', to_char(p.last_day, 'YYYY-MM-DD')),
        'inputs_digest', r.inputs_digest,
        'result_sha256', 'sha256:' || encode(sha256(convert_to(r.result, 'UTF8')), 'hex'),
        'open_far', open_far,
        'er_tco2', r.result::jsonb -> 'er_tco2',
        'vintages', (select jsonb_agg(jsonb_build_object('year', v -> 'year', 'er_tco2', v -> 'er_tco2') order by i)
                     from jsonb_array_elements(r.result::jsonb -> 'vintages') with ordinality as l(v, i)))
    into holds from period_revision r join period p using (period_id)
    where r.period_id = new.period_id and r.revision = new.revision;
    select string_agg(h.key, ', ' order by h.key) into differing from jsonb_each(holds) h
    where h.value is distinct from said -> h.key;
    if differing is not null then
        perform refuse_step(format('the statement is not that of %s; it differs in %s', name, differing));
    end if;
    return new;
end
$$;

create function step_notification() returns trigger language plpgsql as $$
declare
    name text := name_of_revision(new.period_id, new.revision);
    other integer;
    said text;
begin
    perform lock_verification(new.period_id);
    perform require_state(new.period_id, new.revision, 'verified', 'notified');
    select n.revision into other from notification n where n.period_id = new.period_id;
    if other is not null then
        perform refuse_step(format('%s cannot be notified: revision %s was, and the tonnes of a period are notified once',
            name, other));
    end if;
    select max(a.revision) into other from attestation a where a.period_id = new.period_id;
    if other <> new.revision then
        perform refuse_step(format('%s cannot be notified: revision %s was verified after it', name, other));
    end if;
    perform refuse_verifier(new.period_id, new.organisation, 'notify', null);
    if jsonb_typeof(new.shares) <> 'array' or jsonb_array_length(new.shares) = 0 then
        perform refuse_step('the shares are a list of vintage, side, holder and tonnes');
    end if;
    select string_agg(e::text, ', ') into said from jsonb_array_elements(new.shares) e
    where jsonb_typeof(e) <> 'object' or e - array['vintage', 'side', 'holder', 'tco2'] <> '{}'
        or e ->> 'side' is null or e ->> 'side' not in ('host', 'japan')
        or coalesce(btrim(e ->> 'holder'), '') = '' or coalesce(e ->> 'vintage', '') !~ '^\d{4}$'
        or coalesce(jsonb_typeof(e -> 'tco2'), '') <> 'number' or e ->> 'tco2' !~ '^\d{1,15}$';
    if said is not null then
        perform refuse_step(format('not a share of whole tonnes with vintage, side (host or japan) and holder: %s', said));
    end if;
    select string_agg(distinct format('%s %s %s', vintage, side, holder), ', ') into said from (
        select vintage, side, holder
        from jsonb_to_recordset(new.shares) as s(vintage integer, side text, holder text, tco2 bigint)
        group by vintage, side, holder having count(*) > 1) twice;
    if said is not null then
        perform refuse_step(format('a share is given twice: %s', said));
    end if;
    select string_agg(format('%s: host %s + Japan %s = %s, verified %s', vintage, host, japan, host + japan,
        coalesce(verified::text, 'nothing')), '; ' order by vintage)
    into said from (
        select coalesce(s.vintage, v.vintage) as vintage, coalesce(s.host, 0) as host, coalesce(s.japan, 0) as japan,
            v.verified
        from (select vintage, coalesce(sum(tco2) filter (where side = 'host'), 0) as host,
                  coalesce(sum(tco2) filter (where side = 'japan'), 0) as japan
              from jsonb_to_recordset(new.shares) as s(vintage integer, side text, holder text, tco2 bigint)
              group by vintage) s
        full join (select (e ->> 'year')::integer as vintage, (e ->> 'er_tco2')::bigint as verified
                   from period_revision r, jsonb_array_elements(r.result::jsonb -> 'vintages') e
                   where r.period_id = new.period_id and r.revision = new.revision) v using (vintage)
        where v.verified is null or coalesce(s.host, 0) + coalesce(s.japan, 0) <> v.verified) wrong;
    if said is not null then
        perform refuse_step(format('the shares do not sum to the verified tonnes: %s', said));
    end if;
    return new;
end
$$;

-- The record is written by the database itself: whoever takes a step cannot leave it out, nor write another.
create function step_audit() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
    content jsonb := to_jsonb(new) - array['statement', 'signature', 'public_key', 'at', 'login'];
    finding record;
    subject text := content ->> 'key_id';
begin
    if content ? 'finding_id' then
        select * into finding from finding_state f where f.finding_id = (content ->> 'finding_id')::integer;
        content := content || jsonb_build_object('period_id', finding.period_id, 'finding', finding.label);
    end if;
    if content ? 'period_id' then
        select format('%s %s %s', project_id, to_char(first_day, 'YYYY-MM-DD'), to_char(last_day, 'YYYY-MM-DD'))
        into subject from period where period_id = (content ->> 'period_id')::integer;
    end if;
    insert into audit_event (at, actor, action, subject, detail)
    values (new.at, session_user, tg_argv[0], subject, content - 'period_id' - 'finding_id' - 'response_id');
    return null;
end
$$;

do $$
declare
    step text[];
begin
    foreach step slice 1 in array array[
        ['verifier_key', 'verifier_key.registered', ''], ['verifier_key_withdrawal', 'verifier_key.withdrawn', ''],
        ['submission', 'period.submitted', 'step_submission'], ['finding', 'finding.raised', 'step_finding'],
        ['finding_response', 'finding.responded', 'step_response'],
        ['finding_closing', 'finding.closed', 'step_closing'],
        ['attestation', 'period.attested', 'step_attestation'],
        ['notification', 'period.notified', 'step_notification']
    ] loop
        -- Triggers of a kind fire in the order of their names: the stamp after the lock was waited for.
        if step[3] <> '' then
            execute format('create trigger a_step before insert on %I for each row execute function %I()', step[1], step[3]);
        end if;
        execute format('create trigger b_stamp before insert on %I for each row execute function step_stamp()', step[1]);
        execute format('create trigger c_audit after insert on %I for each row execute function step_audit(%L)',
            step[1], step[2]);
        execute format('create trigger append_only before update or delete or truncate on %I
            for each statement execute function refuse_change()', step[1]);
    end loop;
end
$$;

-- A new revision after a verified one changes nothing about that one; it is put on record as what it is.
create function step_revision() returns trigger language plpgsql as $$
begin
    perform lock_verification(new.period_id);
    return new;
end
$$;
create trigger a_step before insert on period_revision for each row execute function step_revision();

create function audit_revision() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into audit_event (actor, action, subject, detail)
    select session_user, 'period.frozen_after_verification',
        format('%s %s %s', p.project_id, to_char(p.first_day, 'YYYY-MM-DD'), to_char(p.last_day, 'YYYY-MM-DD')),
        jsonb_build_object('revision', new.revision, 'verified_revision', max(a.revision))
    from attestation a join period p using (period_id) where a.period_id = new.period_id
    group by p.project_id, p.first_day, p.last_day;
    return null;
end
$$;
create trigger c_audit after insert on period_revision for each row execute function audit_revision();
create trigger no_truncate before truncate on period_revision for each statement execute function refuse_change();
