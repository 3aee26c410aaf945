// JSON <-> protobuf for the public API: one generic mapper over protobuf-c's descriptors.
//
// The rules on the *type* of a field stand at the head of proto/ecolink/v1/common.proto. Input is judged strictly: an
// unknown or repeated member, a value of another type, an integer out of its range, a NUL or a string that is not UTF-8
// are refused with INVALID_REQUEST and `param` naming the path (`env.FOO`, `gpus[1].total`); text that is not JSON with
// INVALID_JSON and its position. null is the same as absent. Pure: no I/O, any thread; messages are built in the
// caller's arena.
#ifndef ECOLINK_JSON_PB_H
#define ECOLINK_JSON_PB_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/buf.h"
#include "ecolink/seal.h"
#include "ecolink/status.h"

// Bounds of one input document; the caller bounds its whole length.
enum {
  ECO_JSON_DEPTH_MAX = 16,          // nested arrays and objects; the deepest message of the contract has 4
  ECO_JSON_STRING_MAX = 64 * 1024,  // bytes of one string value: a certificate in an env variable fits
  ECO_JSON_SECRET_MAX = 16 * 1024,  // bytes of one value to be sealed
  ECO_JSON_NAME_MAX = 256,          // bytes of a name in a map (env, secret_env)
  ECO_JSON_ITEMS_MAX = 256,         // elements of one array, members of one map
};

// Which message types carry an `"object"` member, and its value. Ends with a zeroed row.
typedef struct eco_json_object {
  const ProtobufCMessageDescriptor *type;
  const char *object;
} eco_json_object;

// Reads one JSON object into a new message of `type` in the arena. `seal_key` seals Sealed and SealedKeyValue fields;
// NULL refuses them with INVALID_REQUEST. The text is not kept: copies of it that held a secret are wiped.
ECO_CHECKED eco_status eco_json_to_pb(const char *json, size_t len, const ProtobufCMessageDescriptor *type,
                                      const eco_seal_key *seal_key, eco_arena *arena, ProtobufCMessage **out);

// Sets one field (string, integer, bool, enum, Timestamp) from the text of a path or query parameter, by the same
// rules: integers in plain decimal, bools `true`/`false`, enums by their word. `name` is the field's; INVALID_REQUEST
// with it as param when there is no such field, when it is of another kind, or when the text does not fit.
ECO_CHECKED eco_status eco_pb_set_text(ProtobufCMessage *message, const char *name, const char *text, size_t len,
                                       eco_arena *arena);

// Whether the JSON form of `type` has a field of this name that eco_pb_set_text can set.
bool eco_pb_has_text_field(const ProtobufCMessageDescriptor *type, const char *name);

// Appends the message as JSON. A message with `repeated data` and `PageInfo page` is a list:
// {"object":"list","data":[...],"has_more":...,"next_cursor":...}. False when the buffer's maximum would be passed
// (what was added so far stays: the caller drops the buffer). Sealed values are never written; bytes fields neither.
bool eco_pb_to_json(const ProtobufCMessage *message, const eco_json_object *objects, eco_buf *out);

// Clears every Secret field in the message and all that it holds, so that it may be stored. The values themselves are
// left to their owner (the message's arena). Changes the message, not what it was packed into before.
void eco_pb_strip_secrets(ProtobufCMessage *message);

#endif
