do $$
begin
    if exists (select from message_drop) then
        raise exception using errcode = 'JD001', message =
            'messages were dropped by retention, and the record of it would be lost; the account would not hold any more';
    end if;
    if exists (select from evidence_bundle) then
        raise exception using errcode = 'JD001', message = 'the record of the bundles that were written would be lost';
    end if;
end
$$;

drop trigger a_retention on period_revision;
drop function refuse_revision_of_dropped();
drop function drop_message_chunk(timestamptz, interval, boolean);
drop function message_chunks(interval, boolean);
drop function message_chunk_stays(timestamptz, timestamptz, interval, boolean);
drop function message_needed(text, timestamptz, interval);
drop function messages_needed_from(text, interval);
drop function first_open_day(text, interval);
drop function period_is_closed(integer, interval);
drop table message_drop_period, message_drop, evidence_bundle;
