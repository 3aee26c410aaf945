-- Wallets, the double-entry ledger, holds, notices and usage.

-- A customer's wallet: the one row that every change of its money locks first.
CREATE TABLE accounts (
  id text PRIMARY KEY,
  name text NOT NULL DEFAULT '',
  version bigint NOT NULL DEFAULT 1,  -- of the balance, grows with each change
  sequence bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
  available_micros bigint NOT NULL DEFAULT 0 CHECK (available_micros >= 0),
  held_micros bigint NOT NULL DEFAULT 0 CHECK (held_micros >= 0),
  chain_head bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(chain_head) = 32),
  notice_minutes int NOT NULL DEFAULT 0,  -- tightest low-balance threshold told of in this episode
  created_at_us bigint NOT NULL,
  CHECK (id NOT LIKE 'platform:%')
);
CREATE INDEX accounts_id_c ON accounts (id COLLATE "C");

-- One row per business event. The key says which, so that no event is booked twice.
CREATE TABLE ledger_transactions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key text NOT NULL UNIQUE,
  kind text NOT NULL,
  created_at_us bigint NOT NULL,
  created_by text NOT NULL DEFAULT '',  -- operator, where one acted
  request_id text NOT NULL DEFAULT '',
  xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);

-- Entries of a transaction sum to zero. Customer accounts carry sequence, balance and chain; platform accounts
-- ('platform:...') are sums of their entries and have no row anywhere that could become hot.
CREATE TABLE ledger_entries (
  transaction_id bigint NOT NULL REFERENCES ledger_transactions (id),
  position int NOT NULL,
  account_id text NOT NULL,
  amount_micros bigint NOT NULL CHECK (amount_micros <> 0),
  sequence bigint,
  id text,
  type text,
  balance_after_micros bigint CHECK (balance_after_micros >= 0),
  description text,
  instance_id bigint,
  created_at_us bigint NOT NULL,
  previous_hash bytea CHECK (length(previous_hash) = 32),
  hash bytea CHECK (length(hash) = 32),
  PRIMARY KEY (transaction_id, position),
  CHECK (CASE WHEN account_id LIKE 'platform:%'
         THEN num_nonnulls(sequence, id, type, balance_after_micros, description, previous_hash, hash) = 0
         ELSE num_nulls(sequence, id, type, balance_after_micros, description, previous_hash, hash) = 0 END)
);
CREATE UNIQUE INDEX ledger_entries_sequence ON ledger_entries (account_id, sequence) WHERE sequence IS NOT NULL;
CREATE UNIQUE INDEX ledger_entries_id ON ledger_entries (id) WHERE id IS NOT NULL;
CREATE INDEX ledger_entries_instance ON ledger_entries (account_id, instance_id, sequence) WHERE instance_id IS NOT NULL;

-- At commit: every transaction has entries, they sum to zero, and all came with it.
CREATE FUNCTION ledger_check_balanced() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  transaction bigint;
  total numeric;
BEGIN
  IF TG_TABLE_NAME = 'ledger_transactions' THEN
    transaction := NEW.id;
  ELSE
    transaction := NEW.transaction_id;
    IF NOT EXISTS (SELECT 1 FROM ledger_transactions t WHERE t.id = transaction AND t.xid = pg_current_xact_id()) THEN
      RAISE EXCEPTION 'ledger transaction % is closed: no entry can join it', transaction
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'ledger_closed';
    END IF;
  END IF;
  SELECT sum(e.amount_micros) INTO total FROM ledger_entries e WHERE e.transaction_id = transaction;
  IF total IS DISTINCT FROM 0 THEN
    RAISE EXCEPTION 'ledger transaction % sums to %, not to zero', transaction, coalesce(total::text, 'nothing')
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'ledger_balanced';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_transactions_balanced AFTER INSERT ON ledger_transactions
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balanced();
CREATE CONSTRAINT TRIGGER ledger_entries_balanced AFTER INSERT ON ledger_entries
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balanced();

-- Append-only for everybody, the owner's own slips included.
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: book a correction instead' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_transactions
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

-- What billing knows of an instance: terms fixed by its first hold, how far it is charged, what the scheduler last said.
CREATE TABLE instances (
  id bigint PRIMARY KEY CHECK (id > 0),
  account_id text NOT NULL,
  model text NOT NULL DEFAULT '',
  rate_micros_per_gpu_hour bigint NOT NULL DEFAULT 0 CHECK (rate_micros_per_gpu_hour >= 0),
  gpu_count int NOT NULL DEFAULT 0,
  total_replicas int NOT NULL DEFAULT 0,
  status int NOT NULL DEFAULT 0,          -- the scheduler's InstanceStatus
  ready_replicas int NOT NULL DEFAULT 0,
  settled_until_us bigint NOT NULL DEFAULT 0,
  seconds_settled bigint NOT NULL DEFAULT 0 CHECK (seconds_settled >= 0),
  metered_until_us bigint NOT NULL DEFAULT 0,  -- the last reading: estimate for runway, never for charging
  metered_seconds bigint NOT NULL DEFAULT 0,
  read_at_us bigint NOT NULL DEFAULT 0,
  hold_cycle bigint NOT NULL DEFAULT 0,   -- newest cycle
  hold_version bigint NOT NULL DEFAULT 0  -- of the HoldState event
);
CREATE INDEX instances_id_c ON instances ((id::text) COLLATE "C") WHERE hold_version > 0;

-- Two-phase: placed, then ended exactly once. A refused or closed row may come without a hold before it (tombstone).
CREATE TABLE holds (
  instance_id bigint NOT NULL REFERENCES instances (id),
  cycle bigint NOT NULL CHECK (cycle > 0),
  account_id text NOT NULL,
  status text NOT NULL CHECK (status IN ('open', 'partial', 'refused', 'settled', 'closed')),
  amount_micros bigint NOT NULL CHECK (amount_micros >= 0),
  started_at_us bigint NOT NULL,
  expires_at_us bigint NOT NULL,
  due_seen_us bigint NOT NULL DEFAULT 0,  -- since when the worker waits for evidence
  charged_micros bigint NOT NULL DEFAULT 0 CHECK (charged_micros BETWEEN 0 AND amount_micros),
  charged_seconds bigint NOT NULL DEFAULT 0 CHECK (charged_seconds >= 0),
  charged_from_us bigint NOT NULL DEFAULT 0,
  charged_until_us bigint NOT NULL DEFAULT 0,
  ended_at_us bigint,
  PRIMARY KEY (instance_id, cycle),
  CHECK ((status IN ('open', 'partial')) = (ended_at_us IS NULL))
);
CREATE UNIQUE INDEX holds_open ON holds (instance_id) WHERE status IN ('open', 'partial');
CREATE INDEX holds_open_account ON holds (account_id) WHERE status IN ('open', 'partial');

CREATE TABLE corrections (
  id text PRIMARY KEY,
  account_id text NOT NULL,
  amount_micros bigint NOT NULL CHECK (amount_micros <> 0),
  reason text NOT NULL,
  requested_by text NOT NULL,
  approved_by text,
  created_at_us bigint NOT NULL,
  approved_at_us bigint,
  CHECK (approved_by IS DISTINCT FROM requested_by),
  CHECK ((approved_by IS NULL) = (approved_at_us IS NULL))
);

CREATE TABLE notices (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL UNIQUE,
  account_id text NOT NULL,
  type text NOT NULL,
  severity int NOT NULL,
  message text NOT NULL,
  instance_id bigint,
  created_at_us bigint NOT NULL
);
CREATE INDEX notices_account ON notices (account_id, number);

-- Sums of one UTC day.
CREATE TABLE usage_daily (
  account_id text NOT NULL,
  day int NOT NULL,  -- days since 1970-01-01
  instance_id bigint NOT NULL,
  key_id text NOT NULL,
  requests bigint NOT NULL,
  errors bigint NOT NULL,
  prompt_tokens bigint NOT NULL,
  completion_tokens bigint NOT NULL,
  bytes_in bigint NOT NULL,
  bytes_out bigint NOT NULL,
  first_byte_us_sum bigint NOT NULL,
  PRIMARY KEY (account_id, day, instance_id, key_id)
);

GRANT SELECT, INSERT, UPDATE ON accounts, instances, holds, corrections, usage_daily TO billing_app;
GRANT SELECT, INSERT ON ledger_transactions, ledger_entries, notices TO billing_app;
