-- The kit's own tables, one set per service schema. Times are business or database microseconds as named.

-- Outbox: what has been decided and not yet been published. A row is deleted after the bus acknowledged it.
CREATE TABLE outbox (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind smallint NOT NULL CHECK (kind IN (1, 2)),  -- 1 event, 2 KV entry
  subject text NOT NULL,                          -- event: subject; KV: bucket
  name text NOT NULL,                             -- event: id; KV: key
  payload bytea NOT NULL,
  created_us bigint NOT NULL
);

-- Inbox: which event has had its effect on which consumer. Kept longer than the stream keeps the event.
CREATE TABLE inbox (
  consumer text NOT NULL,
  event_id text NOT NULL,
  at_us bigint NOT NULL,
  PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_at ON inbox (at_us);

-- The highest version of each entity that a consumer has applied.
CREATE TABLE entity_versions (
  consumer text NOT NULL,
  entity_id text NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (consumer, entity_id)
);

CREATE TABLE idempotency (
  scope text PRIMARY KEY,  -- account | method | path | key
  body_hash bytea NOT NULL,
  done boolean NOT NULL,
  code text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  param text NOT NULL DEFAULT '',
  reply bytea NOT NULL DEFAULT '',
  created_us bigint NOT NULL
);
CREATE INDEX idempotency_created ON idempotency (created_us);

CREATE TABLE leases (
  name text PRIMARY KEY,
  holder text NOT NULL,
  epoch bigint NOT NULL,
  expires_at timestamptz NOT NULL  -- by this database's clock
);

CREATE TABLE dead_letters (
  id text PRIMARY KEY,
  consumer text NOT NULL,
  entity_id text NOT NULL,
  subject text NOT NULL,
  payload bytea NOT NULL,
  error text NOT NULL,
  at_us bigint NOT NULL
);

DO $$
BEGIN
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON outbox, inbox, entity_versions, idempotency, leases, dead_letters TO %I',
                 current_schema() || '_app');
END
$$;
