-- What the janitor has done with instances that ended.
ALTER TABLE instances ADD COLUMN leavings_dropped boolean NOT NULL DEFAULT false;
CREATE INDEX instances_with_leavings ON instances (stopped_at_us) WHERE status IN (5, 6) AND NOT leavings_dropped;
