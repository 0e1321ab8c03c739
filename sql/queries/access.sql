-- Who acts on a connection, and the accounts, tokens and sessions behind it.

-- name: act
-- Each for the session; the role first, so that nothing else is set for who may not take it.
select set_config('role', %(role)s, false), set_config('search_path', %(search_path)s, false),
    set_config('jcm_mrv.projects', %(projects)s, false), set_config('default_transaction_read_only', %(read_only)s, false)

-- name: act_no_more
-- Null resets to what the connection began with.
select set_config('role', null, false), set_config('search_path', null, false),
    set_config('jcm_mrv.projects', null, false), set_config('default_transaction_read_only', null, false)
