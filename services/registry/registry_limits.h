// Every bound of the registry, with its reason.
#ifndef REGISTRY_LIMITS_H
#define REGISTRY_LIMITS_H

enum {
  REGISTRY_NAME_MAX = 128,   // a model's name is a prefix of the model string that the gateway looks up (<= 512 bytes)
  REGISTRY_LABEL_MAX = 128,  // names that only people read
  REGISTRY_SOURCE_TAG_MAX = 64,     // a word for statistics
  REGISTRY_DESCRIPTION_MAX = 1000,  // a catalogue entry's text
  REGISTRY_EMAIL_MAX = 254,         // RFC 5321 §4.5.3.1.3
  REGISTRY_REPO_PART_MAX = 96,      // the Hub's own bound for each side of org/name
  REGISTRY_REVISION_MAX = 255,
  REGISTRY_REGION_MAX = 63,  // a DNS label: regions name Kubernetes objects
  REGISTRY_PATH_MAX = 1024,
  REGISTRY_SEALED_MAX = 4096,  // a sealed token; real ones are about 100 bytes

  REGISTRY_LIST_DEFAULT = 20,
  REGISTRY_LIST_MAX = 100,
  REGISTRY_CURSOR_MAX = 192,

  // Per account: enough for a large team, and a runaway script cannot fill the gateways' memory.
  REGISTRY_ACCOUNT_KEYS_MAX = 1000,
  REGISTRY_ACCOUNT_MODELS_MAX = 1000,
  REGISTRY_ACCOUNT_FILESYSTEMS_MAX = 100,
  REGISTRY_ACCOUNT_MEMBERS_MAX = 500,
  REGISTRY_ACCOUNT_INVITES_MAX = 100,
  REGISTRY_ACQUIRE_FILESYSTEMS_MAX = 16,

  REGISTRY_RATE_LIMIT_DEFAULT = 200,  // requests a minute
  REGISTRY_RATE_LIMIT_MAX = 10000000,
  REGISTRY_INVITE_DAYS = 14,
  REGISTRY_BOOTSTRAP_OPERATORS = 2,  // operators that the bootstrap key may create
  REGISTRY_KEY_TOMBSTONE_DAYS = 30,  // how long a revoked or expired key stays in the bucket `keys`

  REGISTRY_PINS_MIN_AGE_S = 600,  // far beyond a launch's 10 s: an unknown instance is abandoned by then
  REGISTRY_PINS_BATCH = 100,      // ReadMeter's own bound
};

#endif
