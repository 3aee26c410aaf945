// The management API as a table: one row per method and path. Adding an endpoint adds a row in rest_table.c.
//
// Path parameters bear the name of the request's field that they fill ({id}, {account_id}, {name}, {token}); so do
// query parameters of rows without a body. Pure and constant: any thread.
#ifndef GATEWAY_REST_TABLE_H
#define GATEWAY_REST_TABLE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "ecolink/json_pb.h"
#include "ecolink/service.h"

enum {
  REST_PARAMS_MAX = 2,       // path parameters of one template
  REST_ALLOW_TEXT_MAX = 64,  // "DELETE, GET, POST, PUT" and room
};

// What a row does beside "one request, one RPC, one JSON answer".
typedef enum rest_extra {
  REST_PLAIN = 0,
  REST_LAUNCH,         // ?dry_run=true asks for a quote instead
  REST_FOLLOW_EVENTS,  // ?follow=true streams SSE until the instance is terminal
  REST_FOLLOW_LOGS,    // ?follow=true streams SSE until everything was read
  REST_CSV,            // Accept: text/csv or ?format=csv exports every page
  REST_INVITE,         // the answer gains an accept link
  REST_ACCEPT,         // the path holds a secret: it is not written down for idempotency
} rest_extra;

typedef struct rest_row {
  const char *method;
  const char *path;  // template
  const char *rpc;   // "<service>.<Method>"
  const ProtobufCMessageDescriptor *request;
  const ProtobufCMessageDescriptor *reply;
  int status;      // of success
  unsigned allow;  // eco_allow bits: roles; ECO_ALLOW_PUBLIC: no key needed
  bool body;       // takes a JSON object; otherwise the body must be empty or {}
  rest_extra extra;
} rest_row;

extern const rest_row rest_table[];           // ends with a zeroed row
extern const eco_json_object rest_objects[];  // "object" members by message type

typedef struct rest_capture {
  const char *name;  // borrowed from the template; name_len bytes
  size_t name_len;
  const char *value;  // borrowed from the path, not percent-decoded; value_len bytes
  size_t value_len;
} rest_capture;

typedef struct rest_match {
  const rest_row *row;              // NULL: no such path, or no such method on it
  bool path_known;                  // some method is served there
  bool path_public;                 // some row of the path takes calls without a key
  char allow[REST_ALLOW_TEXT_MAX];  // methods served there, for 405's Allow
  rest_capture captures[REST_PARAMS_MAX];
  size_t capture_count;
} rest_match;

// `method` may be NULL: only the path is looked at.
void rest_find(const char *method, const char *path, size_t path_len, rest_match *out);

#endif
