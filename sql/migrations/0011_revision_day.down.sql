-- Nothing is refused: all of it follows from what stays, and is written again when a revision is computed again. Only
-- proofs of days that are sealed before the next upgrade take longer from then on.
drop index reading_conflict_message_idx;
drop index reading_part_received_at_idx;
drop table seal_block, revision_line, revision_day;
