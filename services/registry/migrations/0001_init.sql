-- Accounts, members, operators, keys, models, filesystems, the platform catalogue, invites, pins.
-- Ids sort bytewise, so that snapshots page the same everywhere.

CREATE TABLE accounts (
  id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL,
  owner_email text NOT NULL,
  created_at_us bigint NOT NULL,
  version bigint NOT NULL
);
CREATE INDEX accounts_newest ON accounts (created_at_us DESC, id DESC);

CREATE TABLE members (
  id text COLLATE "C" PRIMARY KEY,
  account_id text COLLATE "C" NOT NULL REFERENCES accounts,
  email text NOT NULL,
  role smallint NOT NULL CHECK (role IN (1, 2)),
  created_at_us bigint NOT NULL,
  deleted_at_us bigint
);
CREATE UNIQUE INDEX members_email ON members (account_id, email) WHERE deleted_at_us IS NULL;
CREATE INDEX members_newest ON members (account_id, created_at_us DESC, id DESC);

CREATE TABLE operators (
  id text COLLATE "C" PRIMARY KEY,
  name text NOT NULL CONSTRAINT operators_name UNIQUE,
  created_at_us bigint NOT NULL
);

-- Only the SHA-256 of a key is known here.
CREATE TABLE api_keys (
  id text COLLATE "C" PRIMARY KEY,
  account_id text COLLATE "C" REFERENCES accounts,
  member_id text COLLATE "C" REFERENCES members,
  operator_id text COLLATE "C" REFERENCES operators,
  name text NOT NULL,
  source_tag text NOT NULL,
  prefix text NOT NULL,
  sha256_hex text COLLATE "C" NOT NULL CONSTRAINT api_keys_sha256 UNIQUE CHECK (sha256_hex ~ '^[0-9a-f]{64}$'),
  role smallint NOT NULL CHECK (role BETWEEN 1 AND 4),
  expires_at_us bigint,
  rate_limit_per_minute integer NOT NULL CHECK (rate_limit_per_minute > 0),
  spend_cap_micros bigint CHECK (spend_cap_micros > 0),
  last_used_at_us bigint,
  revoked_at_us bigint,
  created_at_us bigint NOT NULL,
  version bigint NOT NULL,
  CHECK ((account_id IS NULL) = (operator_id IS NOT NULL)),
  CHECK ((role = 4) = (operator_id IS NOT NULL))
);
CREATE INDEX api_keys_newest ON api_keys (account_id, created_at_us DESC, id DESC);
CREATE INDEX api_keys_member ON api_keys (member_id) WHERE revoked_at_us IS NULL;
CREATE INDEX api_keys_operator ON api_keys (operator_id) WHERE operator_id IS NOT NULL;

CREATE TABLE filesystems (
  id text COLLATE "C" PRIMARY KEY,
  account_id text COLLATE "C" NOT NULL REFERENCES accounts,
  name text NOT NULL,
  region text NOT NULL,
  mount_path text NOT NULL,
  created_at_us bigint NOT NULL,
  deleted_at_us bigint
);
CREATE UNIQUE INDEX filesystems_name ON filesystems (account_id, name) WHERE deleted_at_us IS NULL;
CREATE INDEX filesystems_newest ON filesystems (account_id, created_at_us DESC, id DESC) WHERE deleted_at_us IS NULL;

CREATE TABLE models (
  id text COLLATE "C" PRIMARY KEY,
  account_id text COLLATE "C" NOT NULL REFERENCES accounts,
  name text NOT NULL,
  source smallint NOT NULL CHECK (source IN (1, 2, 3)),
  repo text NOT NULL,
  revision text NOT NULL,
  filesystem_id text COLLATE "C" REFERENCES filesystems,
  path text NOT NULL,
  category smallint NOT NULL,
  hf_token_sealed bytea, -- opens with the scheduler's key alone
  created_at_us bigint NOT NULL,
  deleted_at_us bigint,
  version bigint NOT NULL
);
CREATE UNIQUE INDEX models_name ON models (account_id, name) WHERE deleted_at_us IS NULL;
CREATE INDEX models_newest ON models (account_id, created_at_us DESC, id DESC) WHERE deleted_at_us IS NULL;
CREATE INDEX models_filesystem ON models (filesystem_id) WHERE deleted_at_us IS NULL AND filesystem_id IS NOT NULL;

CREATE TABLE platform_models (
  name text COLLATE "C" PRIMARY KEY,
  repo text NOT NULL,
  revision text NOT NULL,
  category smallint NOT NULL,
  description text NOT NULL,
  created_at_us bigint NOT NULL
);

CREATE TABLE invites (
  id text COLLATE "C" PRIMARY KEY,
  account_id text COLLATE "C" NOT NULL REFERENCES accounts,
  email text NOT NULL,
  role smallint NOT NULL CHECK (role IN (1, 2)),
  token_sha256_hex text COLLATE "C" NOT NULL UNIQUE,
  expires_at_us bigint NOT NULL,
  accepted_at_us bigint,
  created_at_us bigint NOT NULL
);
CREATE INDEX invites_account ON invites (account_id) WHERE accepted_at_us IS NULL;

-- What live instances hold: a model or filesystem with a pin cannot be deleted.
CREATE TABLE pins (
  instance_id bigint NOT NULL,
  target_id text COLLATE "C" NOT NULL, -- mdl_… or fs_…
  acquired_at_us bigint NOT NULL,
  PRIMARY KEY (instance_id, target_id)
);
CREATE INDEX pins_target ON pins (target_id);

GRANT SELECT, INSERT, UPDATE ON accounts, members, operators, api_keys, filesystems, models TO registry_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON platform_models, invites TO registry_app;
GRANT SELECT, INSERT, DELETE ON pins TO registry_app;
