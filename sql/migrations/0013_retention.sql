-- Retention: raw messages that no revision to come can need may go. The owner alone lets them go, a day of receipt at a
-- time, and what is asked is checked here, in the transaction that drops: nothing outside can get it wrong.
--
-- Readings stay for good. They tell a duplicate from a new value, and they are what a result is computed from.

-- Bundles that were written, by the SHA-256 of the file. Who keeps the file holds what is dropped here.
create table evidence_bundle (
    bundle_id   bigint primary key generated always as identity,
    period_id   integer not null,
    revision    integer not null,
    redacted    boolean not null,
    sha256      text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    bytes       bigint not null check (bytes > 0),
    exported_at timestamptz not null default now(),
    login       text not null default session_user,
    unique (period_id, revision, sha256),
    foreign key (period_id, revision) references period_revision
);

-- What is gone, by chunk of `message` and site ('' is none), so that the account holds over what was ever received.
create table message_drop (
    range_start timestamptz not null,
    range_end   timestamptz not null,
    site_id     text not null,
    messages_stored      bigint not null,
    messages_duplicate   bigint not null,
    messages_conflict    bigint not null,
    messages_quarantined bigint not null,
    readings    bigint not null,
    -- Of each day: its date, the root of its tree and the SHA-256 of its seal.
    seals       jsonb not null,
    kept_for    interval not null,
    dropped_at  timestamptz not null default now(),
    login       text not null default session_user,
    primary key (range_start, site_id)
);

-- Periods whose revisions such messages went into. They take no further revision.
create table message_drop_period (
    range_start timestamptz not null,
    period_id   integer not null references period,
    primary key (range_start, period_id)
);

do $$
declare
    name text;
begin
    foreach name in array array['evidence_bundle', 'message_drop', 'message_drop_period'] loop
        execute format('create trigger append_only before update or delete or truncate on %I
            for each statement execute function refuse_change()', name);
    end loop;
end
$$;

-- Notified so long ago, with a full bundle of every revision on record, and none that is unfinished.
create function period_is_closed(of_period integer, keep interval) returns boolean language sql stable as $$
    select exists (select from notification n where n.period_id = of_period and n.at <= now() - keep)
        and not exists (
            select from period_revision r
            where r.period_id = of_period and (r.result is null or not exists (
                select from evidence_bundle b
                where b.period_id = r.period_id and b.revision = r.revision and not b.redacted)))
$$;

-- The first day of the crediting period that is not in a closed period; null when all are.
create function first_open_day(of_project text, keep interval) returns date language sql stable as $$
    with closed as materialized (
        select first_day, last_day from period where project_id = of_project and period_is_closed(period_id, keep)
    )
    select min(d)::date
    from project p, generate_series(p.crediting_from::timestamp, p.crediting_to::timestamp, interval '1 day') d
    where p.id = of_project and not exists (select from closed c where d between c.first_day and c.last_day)
$$;

-- What a project's revisions to come may need: all from this instant on. Before the first open day that is the readings
-- that the register rules look back to (a hundred, and a month: they ask for three over a day), and, since what a
-- Sparkplug node says hangs on its birth, everything since the last birth before those.
create function messages_needed_from(of_project text, keep interval) returns timestamptz language plpgsql stable as $$
declare
    open_day date := first_open_day(of_project, keep);
    open_from timestamptz;
    needed timestamptz;
    born timestamptz;
begin
    if open_day is null then
        return 'infinity';
    end if;
    select min(open_day::timestamp at time zone s.time_zone) into open_from from site s where s.project_id = of_project;
    select least(open_from - interval '31 days', min(reach.ts)) into needed
    from device d
    cross join lateral (
        select min(ts) as ts from (
            select r.ts from reading r
            where r.device_id = d.device_id and r.ts < open_from
                and (r.energy_exported_wh is not null or r.energy_imported_wh is not null)
            order by r.ts desc limit 100) last
    ) reach
    where d.project_id = of_project;
    select min(last.at) into born from (
        select max(e.received_at) as at
        from device_event e join site s on s.id = e.site_id
        where s.project_id = of_project and e.event = 'sparkplug_node_born'
            and e.received_at <= needed - interval '2 days'
        group by e.site_id, e.subject) last;
    return coalesce(least(needed, born), '-infinity');
end
$$;

-- Why what is of an instant is needed by a project; null when it is not.
create function message_needed(of_project text, at timestamptz, keep interval) returns text language plpgsql stable as $$
declare
    needed_from timestamptz := messages_needed_from(of_project, keep);
begin
    if at < needed_from then
        return null;
    end if;
    return format('%s needs what is from %s on: %s is not in a period that was notified %s ago, with bundles of all its '
        'revisions on record', of_project, needed_from, first_open_day(of_project, keep), keep);
end
$$;

-- Why a chunk of `message` stays; no row when it may go. `also_quarantined` lets go what waits in quarantine, too.
create function message_chunk_stays(chunk_start timestamptz, chunk_end timestamptz, keep interval,
    also_quarantined boolean) returns setof text language plpgsql stable as $$
declare
    said text;
    number bigint;
    needed boolean := false;
begin
    if keep is null or keep < interval '1 year' then
        raise exception using errcode = 'JR001', message = 'messages are kept for at least one year';
    end if;
    if chunk_end > now() - keep then
        return next 'received too recently';
        return;
    end if;
    select string_agg(format('%s of %s, %s messages', day, coalesce(nullif(site, ''), 'no declared site'), messages), '; ')
    into said
    from (select coalesce(m.site_id, '') as site, (m.received_at at time zone 'UTC')::date as day, count(*) as messages
          from message m where m.received_at >= chunk_start and m.received_at < chunk_end group by 1, 2) found
    where messages is distinct from (select s.messages from seal s where s.site_id = found.site and s.day = found.day);
    if said is not null then
        return next 'not sealed, or not what was sealed: ' || said;
    end if;
    select count(*) into number from message m
    where m.received_at >= chunk_start and m.received_at < chunk_end and sha256(m.payload) <> m.sha256;
    if number > 0 then
        return next format('%s payloads are not what was received', number);
    end if;
    -- A message may be needed where it was received, which a result counts by the quarter of an hour, and where its
    -- readings lie. The second is looked at only when the first lets it go: it costs a look into all chunks of readings.
    for said in
        select message_needed(s.project_id, max(m.received_at), keep)
        from message m join site s on s.id = m.site_id
        where m.received_at >= chunk_start and m.received_at < chunk_end group by s.project_id order by s.project_id
    loop
        if said is not null then
            needed := true;
            return next said;
        end if;
    end loop;
    if not needed then
        for said in
            select message_needed(project_id, max(ts), keep)
            from (select d.project_id, r.ts from reading r join device d using (device_id)
                  where r.received_at >= chunk_start and r.received_at < chunk_end
                  union all
                  select d.project_id, p.ts from reading_part p join device d using (device_id)
                  where p.received_at >= chunk_start and p.received_at < chunk_end) made
            group by project_id order by project_id
        loop
            if said is not null then
                return next said;
            end if;
        end loop;
    end if;
    select count(distinct q.message_id) into number from quarantine q
    where q.received_at >= chunk_start and q.received_at < chunk_end and q.released_at is null;
    if number > 0 and not also_quarantined then
        return next format('%s messages wait in quarantine', number);
    end if;
    -- What names no declared site may, once declared, be of any project.
    if exists (select from message m where m.received_at >= chunk_start and m.received_at < chunk_end and m.site_id is null)
    then
        select string_agg(p.id, ', ' order by p.id) into said from project p
        where messages_needed_from(p.id, keep) < chunk_end;
        if said is not null then
            return next format('it has messages of no declared site, which may be of %s', said);
        end if;
    end if;
end
$$;

create function message_chunks(keep interval, also_quarantined boolean)
    returns table (range_start timestamptz, range_end timestamptz, stays text[]) language sql stable as $$
    select c.range_start, c.range_end,
        array(select message_chunk_stays(c.range_start, c.range_end, keep, also_quarantined))
    from timescaledb_information.chunks c
    where c.hypertable_schema = 'public' and c.hypertable_name = 'message'
    order by c.range_start
$$;

-- Drop the chunk that begins there, and put on record what it was; or refuse, with everything that speaks against it.
create function drop_message_chunk(chunk_start timestamptz, keep interval, also_quarantined boolean) returns bigint
language plpgsql as $$
declare
    chunk_end timestamptz;
    said text;
    number bigint;
    gone integer;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using errcode = 'JR001', message = 'retention runs in a transaction that is read committed';
    end if;
    -- As a freeze does: nothing is written, and no revision's cut-off is drawn, while this looks and drops.
    set local lock_timeout = '60s';
    perform pg_advisory_xact_lock(hashtext('jcm-mrv batch'));
    select c.range_end into chunk_end from timescaledb_information.chunks c
    where c.hypertable_schema = 'public' and c.hypertable_name = 'message' and c.range_start = chunk_start;
    if chunk_end is null then
        raise exception using errcode = 'JR001', message = format('no messages begin at %s', chunk_start);
    end if;
    select string_agg(why, '; ') into said from message_chunk_stays(chunk_start, chunk_end, keep, also_quarantined) why;
    if said is not null then
        raise exception using errcode = 'JR001',
            message = format('the messages from %s to %s stay: %s', chunk_start, chunk_end, said);
    end if;
    insert into message_drop (range_start, range_end, site_id, messages_stored, messages_duplicate, messages_conflict,
        messages_quarantined, readings, seals, kept_for)
    select chunk_start, chunk_end, coalesce(m.site_id, ''),
        count(*) filter (where outcome = 'stored'), count(*) filter (where outcome = 'duplicate'),
        count(*) filter (where outcome = 'conflict'), count(*) filter (where outcome = 'quarantined'), sum(m.readings),
        (select jsonb_agg(jsonb_build_object('day', s.day, 'root', s.statement::jsonb -> 'root', 'sha256', s.sha256)
                          order by s.day)
         from seal s where s.site_id = coalesce(m.site_id, '') and s.day >= (chunk_start at time zone 'UTC')::date
             and s.day < (chunk_end at time zone 'UTC')::date),
        keep
    from message m where m.received_at >= chunk_start and m.received_at < chunk_end group by m.site_id;
    -- By the site's own days; a day too many only keeps a closed period closed.
    insert into message_drop_period (range_start, period_id)
    select distinct chunk_start, p.period_id
    from (select s.project_id, (m.received_at at time zone s.time_zone)::date as day
          from message m join site s on s.id = m.site_id
          where m.received_at >= chunk_start and m.received_at < chunk_end
          union
          select d.project_id, (r.ts at time zone s.time_zone)::date
          from reading r join device d using (device_id) join site s on s.id = d.site_id
          where r.received_at >= chunk_start and r.received_at < chunk_end
          union
          select d.project_id, (a.ts at time zone s.time_zone)::date
          from reading_part a join device d using (device_id) join site s on s.id = d.site_id
          where a.received_at >= chunk_start and a.received_at < chunk_end) used
    join period p on p.project_id = used.project_id and used.day between p.first_day and p.last_day;
    insert into audit_event (actor, action, subject, detail)
    select session_user, 'message.dropped', format('%s %s', g.site_id, to_char(chunk_start at time zone 'UTC', 'YYYY-MM-DD')),
        jsonb_strip_nulls(jsonb_build_object('project', s.project_id, 'from', chunk_start, 'to', chunk_end,
            'messages', g.messages_stored + g.messages_duplicate + g.messages_conflict + g.messages_quarantined,
            'readings', g.readings, 'seals', g.seals, 'kept_for', keep::text))
    from message_drop g left join site s on s.id = g.site_id where g.range_start = chunk_start;
    select count(*) into number from message m where m.received_at >= chunk_start and m.received_at < chunk_end;
    select count(*) into gone from drop_chunks('message', older_than => chunk_end, newer_than => chunk_start);
    if gone <> 1 or exists (select from message m where m.received_at >= chunk_start and m.received_at < chunk_end) then
        raise exception 'dropping the messages from % to % took % chunks', chunk_start, chunk_end, gone;
    end if;
    return number;
end
$$;

-- With messages gone a period would compute to something else; what was frozen of it stands.
create function refuse_revision_of_dropped() returns trigger language plpgsql as $$
begin
    if exists (select from message_drop_period d where d.period_id = new.period_id) then
        perform refuse_step(format('%s takes no further revision: messages of it were dropped by retention',
            (select format('%s %s to %s', project_id, first_day, last_day) from period where period_id = new.period_id)));
    end if;
    return new;
end
$$;
create trigger a_retention before insert on period_revision for each row execute function refuse_revision_of_dropped();

revoke execute on function drop_message_chunk(timestamptz, interval, boolean) from public;
