-- A region is unreachable when looking at it has failed for a minute, not when nobody has looked for a minute.
-- last_seen_at stays for the release before this one, which still reads and writes it.
ALTER TABLE regions ADD COLUMN failing_since timestamptz;
