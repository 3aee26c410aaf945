-- Targets of probes with their present state, the history of changes, and when each region was last looked at.

CREATE TABLE targets (
  id text COLLATE "C" PRIMARY KEY, -- "<instance>-<replica>"
  instance_id bigint NOT NULL,
  replica_id integer NOT NULL,
  account_id text NOT NULL,
  region text NOT NULL,
  host text NOT NULL,
  port integer NOT NULL,
  health_path text NOT NULL,
  token text NOT NULL,
  run_id text NOT NULL,
  probed boolean NOT NULL,       -- Ready, with an address
  removed_at_us bigint,
  state smallint NOT NULL CHECK (state BETWEEN 0 AND 2),
  reason text NOT NULL,
  since_us bigint NOT NULL,
  version bigint NOT NULL,
  -- What gateways reported, summed up: a copy of the service hears it, the one that probes reads it.
  passive_failures bigint NOT NULL DEFAULT 0,
  passive_successes bigint NOT NULL DEFAULT 0,
  passive_kind text NOT NULL DEFAULT ''
);
CREATE INDEX targets_probed ON targets (id) WHERE probed;
CREATE INDEX targets_instance ON targets (instance_id);
CREATE INDEX targets_removed ON targets (removed_at_us) WHERE removed_at_us IS NOT NULL;

CREATE TABLE changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target_id text COLLATE "C" NOT NULL,
  run_id text NOT NULL,
  state smallint NOT NULL,
  reason text NOT NULL,
  at_us bigint NOT NULL
);
CREATE INDEX changes_target ON changes (target_id, id);
CREATE INDEX changes_age ON changes (at_us);

CREATE TABLE regions (
  region text PRIMARY KEY,
  observed_at_us bigint NOT NULL,
  probed integer NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON targets, regions TO health_app;
GRANT SELECT, INSERT, DELETE ON changes TO health_app;
