-- From rows to tonnes.

-- Energy of a device in one local day of its site. An interval between two register readings belongs to the day
-- in which it ends; carried_wh is the part whose interval began before that day, on carried_from.
create table energy_day (
    device_id    integer not null references device,
    day          date not null,
    within_wh    numeric not null check (within_wh >= 0),
    carried_wh   numeric not null check (carried_wh >= 0),
    carried_from date check (carried_from < day),
    samples      integer not null,
    coverage     numeric not null check (coverage between 0 and 1),
    rules        jsonb not null,
    inputs_sha256 bytea not null,
    computed_at  timestamptz not null default now(),
    primary key (device_id, day)
);

create table period (
    period_id  integer primary key generated always as identity,
    project_id text not null references project,
    first_day  date not null,
    last_day   date not null check (last_day >= first_day),
    created_at timestamptz not null default now(),
    unique (project_id, first_day, last_day)
);

-- A frozen revision: everything received up to the cut-off, the declarations and the methodology as they stood,
-- and the result. result is null between the cut-off and the end of the computation only.
create table period_revision (
    period_id     integer not null references period,
    revision      integer not null check (revision >= 1),
    received_until timestamptz not null,
    declarations  text not null,
    methodology   text not null,
    code_version  text not null,
    inputs_digest text,
    result        text,
    frozen_by     text not null default session_user,
    frozen_at     timestamptz not null default now(),
    primary key (period_id, revision),
    check ((inputs_digest is null) = (result is null))
);
create index period_revision_received_until_idx on period_revision (received_until);

create table emission_result (
    period_id    integer not null,
    revision     integer not null,
    year         integer not null,
    pv_system_id text not null,
    eg_mwh       numeric not null,
    ef_tco2_per_mwh numeric not null,
    re_tco2      numeric not null,
    primary key (period_id, revision, year, pv_system_id),
    foreign key (period_id, revision) references period_revision
);

-- The schedule's claims: whoever inserts the row does the work; a claim without a heartbeat may be taken over.
create table job_run (
    job          text not null,
    scope        text not null,
    period_start timestamptz not null,
    claimed_by   text not null,
    claimed_at   timestamptz not null,
    heartbeat_at timestamptz not null,
    attempts     integer not null default 1,
    finished_at  timestamptz,
    failure      text,
    primary key (job, scope, period_start)
);

create function refuse_change_of_a_finished_revision() returns trigger language plpgsql as $$
begin
    if tg_op <> 'UPDATE' or old.result is not null then
        raise exception 'revision % of period % is frozen', old.revision, old.period_id
            using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger frozen before update or delete on period_revision
    for each row execute function refuse_change_of_a_finished_revision();
