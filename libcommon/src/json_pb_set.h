// One value into one field: what JSON input and text parameters share. Internal to the mapper.
#ifndef ECOLINK_JSON_PB_SET_H
#define ECOLINK_JSON_PB_SET_H

#include "ecolink/json_pb.h"
#include "json_pb_internal.h"

// Each writes the value (and a oneof's case) and judges it; `param` names the field in errors. `at` is the place of the
// value: the field's own, or an element of its array.
ECO_CHECKED eco_status eco_json_set_text(const ProtobufCFieldDescriptor *field, void *at, const char *text, size_t len,
                                         const char *param, eco_arena *arena);
ECO_CHECKED eco_status eco_json_set_integer(const ProtobufCFieldDescriptor *field, void *at, int64_t value,
                                            const char *param);
// Chooses the field in its oneof; fails when another field of it was chosen before.
ECO_CHECKED eco_status eco_json_choose(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                                       const char *param);
// A new message of the type in the arena.
ProtobufCMessage *eco_json_new(const ProtobufCMessageDescriptor *type, eco_arena *arena);
// "a, b, c" of an enum's words, for messages.
void eco_json_enum_words(const ProtobufCEnumDescriptor *type, char *out, size_t size);

#endif
