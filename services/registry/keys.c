// API keys; the contract is in keys.h.
#include "keys.h"

#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/lists.h"
#include "names.h"
#include "registry_limits.h"

Ecolink__V1__Secret *registry_secret(eco_arena *arena, const char *value) {
  Ecolink__V1__Secret *s = eco_alloc(arena, sizeof *s);
  ecolink__v1__secret__init(s);
  s->value = eco_strdup(arena, value);
  return s;
}

static eco_status check_limits(const Ecolink__V1__CreateApiKeyRequest *request, int64_t now_us, registry_key *out) {
  out->rate_limit_per_minute = REGISTRY_RATE_LIMIT_DEFAULT;
  if (request->rate_limit_set_case == ECOLINK__V1__CREATE_API_KEY_REQUEST__RATE_LIMIT_SET_RATE_LIMIT_PER_MINUTE) {
    out->rate_limit_per_minute = request->rate_limit_per_minute;
  }
  if (out->rate_limit_per_minute < 1 || out->rate_limit_per_minute > REGISTRY_RATE_LIMIT_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "rate_limit_per_minute", "must be between 1 and %d requests a minute",
                           REGISTRY_RATE_LIMIT_MAX);
  }
  if (request->expires_at != NULL) {
    if (request->expires_at->micros <= now_us) {
      return eco_error_param(ECO_INVALID_REQUEST, "expires_at", "must lie in the future");
    }
    out->expires_at_us = request->expires_at->micros;
  }
  if (request->spend_cap != NULL) {
    if (request->spend_cap->micros <= 0) {
      return eco_error_param(ECO_INVALID_REQUEST, "spend_cap", "must be more than zero; leave it out for no cap");
    }
    out->spend_cap_micros = request->spend_cap->micros;
  }
  return eco_success();
}

eco_status registry_key_from_request(const Ecolink__V1__CreateApiKeyRequest *request, int64_t now_us,
                                     registry_key *out) {
  *out = (registry_key){.account_id = "",
                        .member_id = "",
                        .operator_id = "",
                        .prefix = "",
                        .id = "",
                        .name = request->name,
                        .source_tag = request->source_tag};
  if (!registry_label_valid(request->name, REGISTRY_LABEL_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "name", "a name of 1 to %d bytes of printable text is needed",
                           REGISTRY_LABEL_MAX);
  }
  if (request->source_tag[0] != '\0' && !registry_label_valid(request->source_tag, REGISTRY_SOURCE_TAG_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "source_tag", "at most %d bytes of printable text",
                           REGISTRY_SOURCE_TAG_MAX);
  }
  out->role = request->role == ECOLINK__V1__ROLE__ROLE_UNSPECIFIED ? ECOLINK__V1__ROLE__ROLE_INFERENCE : request->role;
  if (out->role != ECOLINK__V1__ROLE__ROLE_OWNER && out->role != ECOLINK__V1__ROLE__ROLE_MEMBER &&
      out->role != ECOLINK__V1__ROLE__ROLE_INFERENCE) {
    return eco_error_param(ECO_INVALID_REQUEST, "role", "must be owner, member or inference");
  }
  return check_limits(request, now_us, out);
}

bool registry_key_adopt(eco_arena *arena, registry_key *key, const char *secret) {
  size_t n = strlen(secret);
  if (!eco_api_key_is(secret, n)) {
    return false;
  }
  uint8_t hash[32];
  eco_sha256(secret, n, hash);
  eco_hex(hash, sizeof hash, key->sha256_hex);
  key->prefix = eco_strndup(arena, secret, ECO_API_KEY_PREFIX_LEN);
  return true;
}

void registry_key_mint(eco_arena *arena, registry_key *key, char secret[ECO_API_KEY_LEN + 1]) {
  eco_api_key_new(secret);
  (void)registry_key_adopt(arena, key, secret);  // a minted key has the form of a key
}

bool registry_key_is_listed(const registry_key *key, int64_t now_us) {
  const int64_t keep_us = REGISTRY_KEY_TOMBSTONE_DAYS * INT64_C(86400) * ECO_US_PER_S;
  return !(key->revoked_at_us != 0 && key->revoked_at_us < now_us - keep_us) &&
         !(key->expires_at_us != 0 && key->expires_at_us < now_us - keep_us);
}

Ecolink__V1__ApiKey *registry_key_message(eco_arena *arena, const registry_key *key, const char *secret) {
  Ecolink__V1__ApiKey *m = eco_alloc(arena, sizeof *m);
  ecolink__v1__api_key__init(m);
  m->id = eco_strdup(arena, key->id);
  m->account_id = eco_strdup(arena, key->account_id);
  m->member_id = eco_strdup(arena, key->member_id);
  m->name = eco_strdup(arena, key->name);
  m->source_tag = eco_strdup(arena, key->source_tag);
  m->prefix = eco_strdup(arena, key->prefix);
  m->key = secret != NULL ? registry_secret(arena, secret) : NULL;
  m->role = key->role;
  m->expires_at = eco_pb_time_or_null(arena, key->expires_at_us);
  m->rate_limit_per_minute = key->rate_limit_per_minute;
  if (key->spend_cap_micros != 0) {
    m->spend_cap = eco_pb_money(arena, key->spend_cap_micros);
  }
  m->last_used_at = eco_pb_time_or_null(arena, key->last_used_at_us);
  m->revoked_at = eco_pb_time_or_null(arena, key->revoked_at_us);
  m->created_at = eco_pb_time(arena, key->created_at_us);
  return m;
}

Ecolink__V1__KeyEntry *registry_key_entry(eco_arena *arena, const registry_key *key) {
  Ecolink__V1__KeyEntry *e = eco_alloc(arena, sizeof *e);
  ecolink__v1__key_entry__init(e);
  e->key_id = eco_strdup(arena, key->id);
  e->account_id = eco_strdup(arena, key->account_id);
  e->member_id = eco_strdup(arena, key->member_id);
  e->role = key->role;
  e->operator_id = eco_strdup(arena, key->operator_id);
  e->expires_at_us = key->expires_at_us;
  e->rate_limit_per_minute = key->rate_limit_per_minute;
  e->spend_cap_micros = key->spend_cap_micros;
  e->revoked = key->revoked_at_us != 0;
  return e;
}
