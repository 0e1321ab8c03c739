-- What the collector runs, in the order of a batch.

-- name: begin_batch
-- The shared lock lets batches run side by side and keeps them apart from a freeze, which takes it exclusively
-- while it draws its cut-off. A database clock that was set back must not write behind a cut-off.
with lock as materialized (
    select pg_advisory_xact_lock_shared(hashtext('jcm-mrv batch')) as held
)
select greatest(
    clock_timestamp(),
    (select max(received_until) + interval '1 microsecond' from period_revision)
) as received_at
from lock;
