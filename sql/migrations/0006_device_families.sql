-- Devices of foreign families: what finds them in their topics, what their fields mean, the zone of their clock.
alter table device
    add column address   jsonb,
    add column fields    jsonb,
    add column time_zone text,
    add column register_micro_decrease_wh numeric check (register_micro_decrease_wh >= 0);

-- Why a message, or a field of it, is no reading although nothing is wrong with it (docs/devices.md lists the codes).
alter table message add column note text;

-- What a collector must remember between messages, so that any collector can go on: readings that are being joined,
-- and what Sparkplug nodes said at their birth. Written in the transaction of the messages that it came from. It is no
-- evidence: everything in it can be had again from `message`.
create table decoder_state (
    kind       text not null check (kind in ('frame', 'sparkplug')),
    key        text not null,
    version    bigint not null,
    state      jsonb not null,
    changed_at timestamptz not null,
    primary key (kind, key)
);

-- Which messages a joined reading was made of, or was not, and then why. `reading.message_id` is the message that
-- carried the register.
create table reading_part (
    device_id   integer not null,
    ts          timestamptz not null,
    received_at timestamptz not null,
    message_id  bigint not null,
    field       text not null,
    note        text
);
select create_hypertable('reading_part', by_range('ts', interval '7 days'), create_default_indexes => false);
create index reading_part_idx on reading_part (device_id, ts);

-- What a Sparkplug node or device said of itself: birth and death, in the order received.
create table device_event (
    received_at timestamptz not null,
    message_id  bigint not null,
    site_id     text not null,
    subject     text not null,
    event       text not null,
    detail      text not null
);
select create_hypertable('device_event', by_range('received_at', interval '30 days'), create_default_indexes => false);
create index device_event_idx on device_event (site_id, received_at desc);
