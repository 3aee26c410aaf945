// Structured logs on stderr: JSON lines for machines, readable text for terminals.
//
//   eco_log(ECO_LOG_INFO, "launch accepted", ECO_F_I64("instance", id), ECO_F_STR("account", acc));
//
// Secrets are redacted by type: ECO_F_SECRET never prints its value, and no other constructor takes a secret. Request
// and trace id of the message being handled are thread-local and added to each line. Any thread; one write(2) a line.
#ifndef ECOLINK_LOG_H
#define ECOLINK_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/status.h"

typedef enum eco_log_level { ECO_LOG_DEBUG, ECO_LOG_INFO, ECO_LOG_WARN, ECO_LOG_ERROR } eco_log_level;
typedef enum eco_log_format { ECO_LOG_JSON, ECO_LOG_TEXT } eco_log_format;

typedef struct eco_field {
  enum { ECO_FIELD_END, ECO_FIELD_STR, ECO_FIELD_I64, ECO_FIELD_F64, ECO_FIELD_BOOL, ECO_FIELD_SECRET } kind;
  const char *name;
  const char *str;
  int64_t i64;
  double f64;
} eco_field;

#define ECO_F_STR(n, v) ((eco_field){.kind = ECO_FIELD_STR, .name = (n), .str = (v)})
#define ECO_F_I64(n, v) ((eco_field){.kind = ECO_FIELD_I64, .name = (n), .i64 = (int64_t)(v)})
#define ECO_F_F64(n, v) ((eco_field){.kind = ECO_FIELD_F64, .name = (n), .f64 = (v)})
#define ECO_F_BOOL(n, v) ((eco_field){.kind = ECO_FIELD_BOOL, .name = (n), .i64 = (v) ? 1 : 0})
#define ECO_F_SECRET(n) ((eco_field){.kind = ECO_FIELD_SECRET, .name = (n)})
// Two fields: the code's word and the message.
#define ECO_F_STATUS(st) ECO_F_STR("code", eco_code_word((st).code)), ECO_F_STR("error", (st).message)

void eco_log_init(const char *service, eco_log_format format, eco_log_level min_level);
void eco_log_fields(eco_log_level level, const char *message, const eco_field *fields);  // ends with kind END
#define eco_log(level, message, ...) \
  eco_log_fields((level), (message), (const eco_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = ECO_FIELD_END}})

// Thread-local context; the strings are copied (64 bytes each). NULL clears.
void eco_log_set_context(const char *request_id, const char *trace_id);

#endif
