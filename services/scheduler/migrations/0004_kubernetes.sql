-- Regions that are run through an API server, and the name by which this installation knows its own objects there.
ALTER TABLE regions ADD COLUMN config bytea NOT NULL DEFAULT '';         -- KubernetesRegion, packed
ALTER TABLE regions ADD COLUMN trouble text NOT NULL DEFAULT '';         -- what needs an operator
ALTER TABLE regions ADD COLUMN prune_confirmed boolean NOT NULL DEFAULT false;  -- the next pass may remove whatever has no row

CREATE TABLE installation (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id uuid NOT NULL
);
INSERT INTO installation (id) VALUES (gen_random_uuid());
GRANT SELECT ON installation TO scheduler_app;
