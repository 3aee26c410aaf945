// Rules of teams: invites and the removal of members. Pure; any thread.
#ifndef REGISTRY_MEMBERS_H
#define REGISTRY_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "ecolink/v1/registry.pb-c.h"

// An invite's token: 256 bits in 52 characters of the keys' alphabet, without the keys' prefix.
enum { REGISTRY_INVITE_TOKEN_LEN = 52 };
void registry_invite_token_new(char out[REGISTRY_INVITE_TOKEN_LEN + 1]);
bool registry_invite_token_is(const char *token);
// Lower-case hex of the token's SHA-256: what is stored.
void registry_invite_token_hash(const char *token, char out[65]);

int64_t registry_invite_expiry(int64_t now_us);
// WRONG_STATE when it was accepted or has expired (an invite lives until just before expires_at_us).
ECO_CHECKED eco_status registry_invite_judge(int64_t expires_at_us, int64_t accepted_at_us, int64_t now_us);
// The role that an invite gives: member by default, owner when asked; INVALID_REQUEST for any other.
ECO_CHECKED eco_status registry_invite_role(Ecolink__V1__Role asked, Ecolink__V1__Role *out);
// The last owner cannot be removed. live_owners counts him.
ECO_CHECKED eco_status registry_member_removal_judge(Ecolink__V1__Role role, int64_t live_owners);

#endif
