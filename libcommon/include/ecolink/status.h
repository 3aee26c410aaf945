// The one error type, and the one table of public error codes.
//
// A function that can fail returns an eco_status by value; ECO_OK is success. Context is added once, where it is known;
// the edge (RPC server, gateway) logs it once and turns it into OpenAI's error shape. Pure: no I/O, any thread.
#ifndef ECOLINK_STATUS_H
#define ECOLINK_STATUS_H

#include <stdbool.h>
#include <stddef.h>

// X(enumerator, HTTP status, public word, OpenAI error type). The list is closed: tests and OpenAPI are made from it.
#define ECO_ERROR_TABLE(X)                                                          \
  X(INVALID_JSON, 400, "invalid_json", "invalid_request_error")                     \
  X(UNAUTHORIZED, 401, "unauthorized", "authentication_error")                      \
  X(INSUFFICIENT_BALANCE, 402, "insufficient_balance", "billing_error")             \
  X(MODEL_NOT_PRICED, 402, "model_not_priced", "billing_error")                     \
  X(BUDGET_EXCEEDED, 402, "budget_exceeded", "billing_error")                       \
  X(FORBIDDEN, 403, "forbidden", "permission_error")                                \
  X(NOT_FOUND, 404, "not_found", "invalid_request_error")                           \
  X(MODEL_NOT_FOUND, 404, "model_not_found", "invalid_request_error")               \
  X(NOT_OPENAI_COMPATIBLE, 404, "not_openai_compatible", "invalid_request_error")   \
  X(METHOD_NOT_ALLOWED, 405, "method_not_allowed", "invalid_request_error")         \
  X(INSUFFICIENT_CAPACITY, 409, "insufficient_capacity", "conflict_error")          \
  X(NAME_TAKEN, 409, "name_taken", "conflict_error")                                \
  X(IN_USE, 409, "in_use", "conflict_error")                                        \
  X(IN_PROGRESS, 409, "in_progress", "conflict_error")                              \
  X(IDEMPOTENCY_MISMATCH, 409, "idempotency_mismatch", "conflict_error")            \
  X(WRONG_STATE, 409, "wrong_state", "conflict_error")                              \
  X(TOO_LARGE, 413, "too_large", "invalid_request_error")                           \
  X(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type", "invalid_request_error") \
  X(INVALID_REQUEST, 422, "invalid_request", "invalid_request_error")               \
  X(RATE_LIMIT_EXCEEDED, 429, "rate_limit_exceeded", "rate_limit_error")            \
  X(INTERNAL, 500, "internal", "server_error")                                      \
  X(UPSTREAM_ERROR, 502, "upstream_error", "server_error")                          \
  X(INSTANCE_STARTING, 503, "instance_starting", "server_error")                    \
  X(NO_HEALTHY_REPLICA, 503, "no_healthy_replica", "server_error")                  \
  X(OVERLOADED, 503, "overloaded", "server_error")                                  \
  X(CONTROL_PLANE_UNAVAILABLE, 503, "control_plane_unavailable", "server_error")    \
  X(UPSTREAM_TIMEOUT, 504, "upstream_timeout", "server_error")

typedef enum eco_code {
  ECO_OK = 0,
#define ECO_X(name, http, word, type) ECO_##name,
  ECO_ERROR_TABLE(ECO_X)
#undef ECO_X
      ECO_CODE_COUNT
} eco_code;

enum { ECO_STATUS_MESSAGE_MAX = 384, ECO_STATUS_PARAM_MAX = 64 };

typedef struct eco_status {
  eco_code code;
  char param[ECO_STATUS_PARAM_MAX];      // request field at fault; "" when none is
  char message[ECO_STATUS_MESSAGE_MAX];  // for people: what went wrong and what to do next. Never holds a secret.
} eco_status;

// Every caller looks at what it gets back.
#define ECO_CHECKED __attribute__((warn_unused_result))

static inline bool eco_ok(eco_status st) {
  return st.code == ECO_OK;
}
eco_status eco_success(void);
// Message is truncated to fit. `param` may be NULL.
eco_status eco_error(eco_code code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
eco_status eco_error_param(eco_code code, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// Puts "<context>: " before the message of a failure; a success passes unchanged.
eco_status eco_context(eco_status st, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int eco_code_http(eco_code code);
const char *eco_code_word(eco_code code);  // "" for ECO_OK
const char *eco_code_type(eco_code code);
// The code of a public word; ECO_INTERNAL when unknown, ECO_OK for "".
eco_code eco_code_from_word(const char *word);
// Trouble that passes by itself (database, bus, network, overload): retried, never dead-lettered, never kept for
// replay.
bool eco_code_is_transient(eco_code code);

// Returns from the enclosing function with the failure.
#define ECO_TRY(expr)                    \
  do {                                   \
    eco_status eco_try_status_ = (expr); \
    if (!eco_ok(eco_try_status_)) {      \
      return eco_try_status_;            \
    }                                    \
  } while (0)

// Goes to `cleanup` with `st` (a local eco_status) set.
#define ECO_TRY_GOTO(expr) \
  do {                     \
    st = (expr);           \
    if (!eco_ok(st)) {     \
      goto cleanup;        \
    }                      \
  } while (0)

#endif
