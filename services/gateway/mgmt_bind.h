// From an HTTP request to the row's request message: path, query and body, all judged. Pure; memory is the arena's.
#ifndef GATEWAY_MGMT_BIND_H
#define GATEWAY_MGMT_BIND_H

#include "mgmt.h"
#include "rest_table.h"

enum {
  MGMT_QUERY_PARAMS_MAX = 32,
  MGMT_IDEMPOTENCY_KEY_MAX = 255,
};

// The request as the table sees it.
typedef struct mgmt_bound {
  ProtobufCMessage *message;  // of type `request`
  const char *rpc;
  const ProtobufCMessageDescriptor *reply;
  int status;
  bool follow;  // ?follow=true
  bool csv;     // Accept or ?format
  bool quote;   // ?dry_run=true
} mgmt_bound;

ECO_CHECKED eco_status mgmt_bind(const rest_match *match, const gw_mgmt_request *request, const eco_seal_key *seal_key,
                                 eco_arena *arena, mgmt_bound *out);
// Whether the caller's role may use the row: UNAUTHORIZED without a key, FORBIDDEN with one that may not.
ECO_CHECKED eco_status mgmt_allowed(const rest_row *row, Ecolink__V1__Role role);
// Nothing sent passes (0, ""); otherwise one header of 1 to 255 visible ASCII characters: a client that means to be
// safe and is not must hear of it.
ECO_CHECKED eco_status mgmt_idempotency_key_check(const char *key, unsigned sent);
// Percent-decodes (and '+' to a blank where `plus`). NULL when it is malformed. *len_out may hold NULs: judged later.
char *mgmt_decode(const char *text, size_t len, bool plus, eco_arena *arena, size_t *len_out);
// Whether a media type stands in an Accept header with a weight above zero.
bool mgmt_accepts(const char *accept, const char *media_type);

#endif
