// Rules of teams; the contract is in members.h.
#include "members.h"

#include <stdio.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/id.h"
#include "registry_limits.h"

#define KEY_PREFIX "eco_"

void registry_invite_token_new(char out[REGISTRY_INVITE_TOKEN_LEN + 1]) {
  char key[ECO_API_KEY_LEN + 1];
  eco_api_key_new(key);
  memcpy(out, key + strlen(KEY_PREFIX), REGISTRY_INVITE_TOKEN_LEN + 1);
}

bool registry_invite_token_is(const char *token) {
  char key[ECO_API_KEY_LEN + 1];
  if (strlen(token) != REGISTRY_INVITE_TOKEN_LEN) {
    return false;
  }
  (void)snprintf(key, sizeof key, KEY_PREFIX "%s", token);
  return eco_api_key_is(key, ECO_API_KEY_LEN);
}

void registry_invite_token_hash(const char *token, char out[65]) {
  uint8_t hash[32];
  eco_sha256(token, strlen(token), hash);
  eco_hex(hash, sizeof hash, out);
}

int64_t registry_invite_expiry(int64_t now_us) {
  return now_us + REGISTRY_INVITE_DAYS * INT64_C(86400) * ECO_US_PER_S;
}

eco_status registry_invite_judge(int64_t expires_at_us, int64_t accepted_at_us, int64_t now_us) {
  if (accepted_at_us != 0) {
    return eco_error(ECO_WRONG_STATE, "this invite was accepted already: ask an owner for a new one");
  }
  if (now_us >= expires_at_us) {
    return eco_error(ECO_WRONG_STATE, "this invite has expired: ask an owner for a new one");
  }
  return eco_success();
}

eco_status registry_invite_role(Ecolink__V1__Role asked, Ecolink__V1__Role *out) {
  *out = asked == ECOLINK__V1__ROLE__ROLE_UNSPECIFIED ? ECOLINK__V1__ROLE__ROLE_MEMBER : asked;
  if (*out != ECOLINK__V1__ROLE__ROLE_MEMBER && *out != ECOLINK__V1__ROLE__ROLE_OWNER) {
    return eco_error_param(ECO_INVALID_REQUEST, "role", "must be owner or member");
  }
  return eco_success();
}

eco_status registry_member_removal_judge(Ecolink__V1__Role role, int64_t live_owners) {
  if (role == ECOLINK__V1__ROLE__ROLE_OWNER && live_owners <= 1) {
    return eco_error(ECO_WRONG_STATE, "the last owner of an account cannot be removed: invite another owner first");
  }
  return eco_success();
}
