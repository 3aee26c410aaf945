// API keys as the registry knows them: what may be asked for, and what gateways are told. Pure; any thread.
//
// The key itself exists in the answer to its creation alone; here it is its SHA-256 and the readable prefix.
#ifndef REGISTRY_KEYS_H
#define REGISTRY_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/id.h"
#include "ecolink/status.h"
#include "ecolink/v1/registry.pb-c.h"

// Strings are never NULL; "" is absent. Times and amounts: 0 is absent.
typedef struct registry_key {
  const char *id;
  const char *account_id;  // "" for an operator's key
  const char *member_id;
  const char *operator_id;  // "" for an account's key
  const char *name;
  const char *source_tag;
  const char *prefix;
  char sha256_hex[ECO_SHA256_HEX_LEN + 1];
  Ecolink__V1__Role role;
  int64_t expires_at_us;
  int32_t rate_limit_per_minute;
  int64_t spend_cap_micros;
  int64_t last_used_at_us;
  int64_t revoked_at_us;
  int64_t created_at_us;
  int64_t version;
} registry_key;

// Checks the request and fills name, tag, role, expiry, limit and cap (borrowed from the request). INVALID_REQUEST with
// param.
ECO_CHECKED eco_status registry_key_from_request(const Ecolink__V1__CreateApiKeyRequest *request, int64_t now_us,
                                                 registry_key *out);
// Makes a new key: fills `secret` with it, and the row's prefix (in the arena) and hash.
void registry_key_mint(eco_arena *arena, registry_key *key, char secret[ECO_API_KEY_LEN + 1]);
// Prefix and hash of a key that somebody else made (the bootstrap key). False when it has not the form of a key.
bool registry_key_adopt(eco_arena *arena, registry_key *key, const char *secret);
// Whether the bucket `keys` still holds it: revoked and expired ones stay for REGISTRY_KEY_TOMBSTONE_DAYS.
bool registry_key_is_listed(const registry_key *key, int64_t now_us);
// The public message in the arena; `secret` NULL outside the answer to its creation.
Ecolink__V1__ApiKey *registry_key_message(eco_arena *arena, const registry_key *key, const char *secret);
// The value in the bucket `keys`, in the arena; its key there is sha256_hex.
Ecolink__V1__KeyEntry *registry_key_entry(eco_arena *arena, const registry_key *key);

Ecolink__V1__Secret *registry_secret(eco_arena *arena, const char *value);

#endif
