CREATE TABLE items (
  name text PRIMARY KEY,
  value text NOT NULL,
  version bigint NOT NULL
);
-- What the service's own consumer was told: one row an entity, plus how often the handler ran.
CREATE TABLE copies (
  name text PRIMARY KEY,
  value text NOT NULL,
  applied bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON items, copies TO probe_app;
