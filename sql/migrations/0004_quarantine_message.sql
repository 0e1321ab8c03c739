-- A message that is replayed or shown is taken with all of its entries, of which there may be ten thousand.
create index quarantine_message_idx on quarantine (message_id);
