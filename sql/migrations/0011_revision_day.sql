-- What leads from the tonnes of a frozen revision down to a payload: the days it was summed from, what stands between
-- their sum and EG, and the roots of parts of a day's Merkle tree.

-- One register on one local day, as the revision counted it. Written in the transaction that finishes the revision; of
-- one that was frozen before this table, when it is computed again and comes to the same.
-- within_wh and carried_wh are as in energy_day. credited_wh is what of it counts, before the permissible error of the
-- meter; left_out says why that is not all of it.
create table revision_day (
    period_id    integer not null,
    revision     integer not null,
    day          date not null,
    pv_system_id text not null,
    device_id    integer not null references device,
    point        text not null,
    quantity     text not null check (quantity in ('generated', 'sold', 'auxiliary', 'charged', 'discharged')),
    category     text,
    within_wh    numeric not null check (within_wh >= 0),
    carried_wh   numeric not null check (carried_wh >= 0),
    carried_from date check (carried_from < day),
    credited_wh  numeric not null check (credited_wh >= 0),
    left_out     text check (left_out in ('crossing', 'doubtful', 'not_invoiced')),
    -- Taken from what raises EG, added to what lowers it, for want of a valid calibration.
    error_wh     numeric not null check (error_wh >= 0),
    -- What quality rules took out of the credit [Wh], by rule id.
    withheld_wh  jsonb not null,
    samples      integer not null,
    covered_us   bigint not null,
    length_us    bigint not null check (length_us > 0),
    -- Whether the device owed readings of the whole day.
    owed         boolean not null,
    rules        jsonb not null,
    inputs_sha256 bytea not null check (length(inputs_sha256) = 32),
    primary key (period_id, revision, day, pv_system_id, device_id, quantity, point),
    foreign key (period_id, revision) references period_revision
);

-- What stands between the days of a system's year and its EG, each with its effect on EG [Wh], in order.
create table revision_line (
    period_id    integer not null,
    revision     integer not null,
    -- The row of the result: a system, or a system on the days of a category.
    system       text not null,
    year         integer not null,
    place        integer not null,
    name         text not null check (name in ('permissible_error', 'register_rounding', 'invoice', 'formula', 'rounding')),
    device_id    integer references device,
    quantity     text,
    wh           numeric not null,
    primary key (period_id, revision, system, year, place),
    foreign key (period_id, revision) references period_revision
);

-- The tree of a sealed day in blocks of 256 leaves, so that a proof needs the messages of one block only. Nothing rests
-- on it: whoever reads it compares the root over the blocks with the sealed one. Seals before this table have none.
create table seal_block (
    site_id  text not null,
    day      date not null,
    block    integer not null check (block >= 0),
    first_received_at timestamptz not null,
    first_message_id  bigint not null,
    root     bytea not null check (length(root) = 32),
    primary key (site_id, day, block),
    foreign key (site_id, day) references seal
);

-- What came of a message is found by it.
create index reading_part_received_at_idx on reading_part using brin (received_at);
create index reading_conflict_message_idx on reading_conflict (received_at, message_id);

do $$
declare
    name text;
begin
    foreach name in array array['revision_day', 'revision_line', 'seal_block'] loop
        execute format('create trigger append_only before update or delete or truncate on %I
            for each statement execute function refuse_change()', name);
    end loop;
end
$$;
