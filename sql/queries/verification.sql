-- The steps of the verification, each an insert that the database takes or refuses, and what is read of them.

-- name: states
select s.period_id, s.revision, s.state,
    coalesce((select array_agg(f.label order by f.kind, f.number) from finding_state f
              where f.period_id = s.period_id and f.state <> 'closed'), '{}')
from revision_state s
where s.project_id = %(project)s and s.first_day = %(first)s and s.last_day = %(last)s
order by s.revision

-- name: all_states
select project_id, first_day, last_day, revision, state from revision_state
where %(project)s::text is null or project_id = %(project)s

-- name: submit
insert into submission (period_id, revision, person, organisation)
values (%(period)s, %(revision)s, %(person)s, %(organisation)s) returning at, login, person, organisation

-- name: raise_finding
insert into finding (period_id, revision, kind, text, about, person, organisation)
values (%(period)s, %(revision)s, %(kind)s, %(text)s, %(about)s, %(person)s, %(organisation)s) returning finding_id

-- name: respond
insert into finding_response (finding_id, text, person, organisation)
values (%(finding)s, %(text)s, %(person)s, %(organisation)s)

-- name: close
insert into finding_closing (finding_id, text, person, organisation)
values (%(finding)s, %(text)s, %(person)s, %(organisation)s)

-- name: findings
select f.finding_id, f.project_id, f.first_day, f.last_day, f.revision, f.label, f.kind, f.state, f.text, f.about,
    f.at, f.login, f.person, f.organisation,
    coalesce((select jsonb_agg(to_jsonb(r) order by r.response_id) from finding_response r
              where r.finding_id = f.finding_id), '[]'),
    (select to_jsonb(c) from finding_closing c where c.finding_id = f.finding_id)
from finding_state f
where (%(project)s::text is null or f.project_id = %(project)s)
    and (%(first)s::date is null or f.first_day = %(first)s) and (%(last)s::date is null or f.last_day = %(last)s)
    and (%(id)s::integer is null or f.finding_id = %(id)s)
order by f.project_id, f.first_day, f.last_day, f.kind, f.number

-- name: message_exists
select 1 from message where message_id = %(message)s limit 1

-- name: register_key
insert into verifier_key (key_id, public_key, third_party_entity, valid_from, valid_until, person, organisation)
values (%(key)s, %(public_key)s, %(entity)s, %(valid_from)s, %(valid_until)s, %(person)s, %(organisation)s)

-- name: withdraw_key
insert into verifier_key_withdrawal (key_id, reason, person, organisation)
values (%(key)s, %(reason)s, %(person)s, %(organisation)s)

-- name: keys
select k.key_id, k.public_key, k.third_party_entity, k.valid_from, k.valid_until, k.at, k.login, k.person, k.organisation,
    w.at, w.reason
from verifier_key k left join verifier_key_withdrawal w using (key_id) order by k.at, k.key_id

-- name: attest
insert into attestation (period_id, revision, key_id, statement, signature, person, organisation)
values (%(period)s, %(revision)s, %(key)s, %(statement)s, %(signature)s, %(person)s, %(organisation)s)

-- name: attestation
select statement, signature, key_id, at, login, person, organisation from attestation
where period_id = %(period)s and revision = %(revision)s

-- name: notify
insert into notification (period_id, revision, decided, shares, person, organisation)
values (%(period)s, %(revision)s, %(decided)s, %(shares)s, %(person)s, %(organisation)s)

-- name: notification
select decided, shares, at, login, person, organisation from notification
where period_id = %(period)s and revision = %(revision)s

-- name: late_messages
-- Readings of a device in a span that were received after one cut-off and up to another, by the message they came in.
select message_id, min(received_at), count(*), min(ts), max(ts) from reading
where device_id = %(device)s and ts >= %(start)s and ts < %(end)s
    and received_at > %(after)s and received_at <= %(until)s
group by message_id order by min(received_at), message_id
