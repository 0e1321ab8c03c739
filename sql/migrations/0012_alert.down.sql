do $$
begin
    if exists (select from alert where firing_since is not null) or exists (select from alert_notice) then
        raise exception using errcode = 'JD001', message = 'alerts that fired, and what was told of them, would be lost';
    end if;
end
$$;

drop index quarantine_received_at_idx;
drop table alert_notice, alert;
drop function refuse_deletion_of_an_alert();
drop function audit_alert();
