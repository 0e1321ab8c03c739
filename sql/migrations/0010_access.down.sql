do $$
begin
    if exists (select from account) or exists (select from login_project) then
        raise exception using errcode = 'JD001', message =
            'accounts, what is granted to them, and their tokens would be lost; what they did stays in audit_event';
    end if;
end
$$;

drop index audit_event_project_idx;
alter table audit_event drop column project_id;
drop table login_project, web_session, api_token, account_grant, account;
drop function audit_access();
