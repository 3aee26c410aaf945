// Structured log lines: built in one bounded buffer, written with one write(2).
#include "ecolink/log.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ecolink/buf.h"
#include "ecolink/clock.h"

enum {
  LINE_MAX_BYTES = 16 * 1024,
  LINE_RESERVE = 64,       // always left for the end of a line that had to be cut
  VALUE_MAX_BYTES = 4096,  // of one string: a long one must not push the other fields out
  CONTEXT_MAX = 64,
  SERVICE_MAX = 64,
};

static const char *const LEVEL_WORD[] = {"debug", "info", "warn", "error"};
static const char *const LEVEL_TEXT[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

static struct log_state {
  char service[SERVICE_MAX];  // written by eco_log_init, before threads
  atomic_int format;
  atomic_int min_level;
} state = {.format = ECO_LOG_JSON, .min_level = ECO_LOG_INFO};

static _Thread_local char request_context[CONTEXT_MAX];
static _Thread_local char trace_context[CONTEXT_MAX];

void eco_log_init(const char *service, eco_log_format format, eco_log_level min_level) {
  (void)snprintf(state.service, sizeof(state.service), "%s", service != NULL ? service : "");
  atomic_store(&state.format, (int)format);
  atomic_store(&state.min_level, (int)min_level);
}

void eco_log_set_context(const char *request_id, const char *trace_id) {
  (void)snprintf(request_context, sizeof(request_context), "%s", request_id != NULL ? request_id : "");
  (void)snprintf(trace_context, sizeof(trace_context), "%s", trace_id != NULL ? trace_id : "");
}

// ---- JSON ----

static bool json_text(eco_buf *line, const char *s) {
  return eco_buf_json_string(line, s, strnlen(s, VALUE_MAX_BYTES));
}

static bool json_value(eco_buf *line, const eco_field *f) {
  switch (f->kind) {
    case ECO_FIELD_STR:
      return f->str != NULL ? json_text(line, f->str) : eco_buf_puts(line, "null");
    case ECO_FIELD_I64:
      return eco_buf_printf(line, "%" PRId64, f->i64);
    case ECO_FIELD_F64:
      return isfinite(f->f64) ? eco_buf_printf(line, "%.9g", f->f64) : eco_buf_puts(line, "null");
    case ECO_FIELD_BOOL:
      return eco_buf_puts(line, f->i64 != 0 ? "true" : "false");
    case ECO_FIELD_SECRET:
    case ECO_FIELD_END:
      break;
  }
  return eco_buf_puts(line, "\"[redacted]\"");
}

static bool json_field(eco_buf *line, const eco_field *f) {
  return eco_buf_putc(line, ',') && json_text(line, f->name) && eco_buf_putc(line, ':') && json_value(line, f);
}

// ---- text ----

static bool is_plain(const char *s) {
  if (*s == '\0') {
    return false;
  }
  for (; *s != '\0'; s++) {
    if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7F || *s == '"' || *s == '=') {
      return false;
    }
  }
  return true;
}

static bool text_field(eco_buf *line, const eco_field *f) {
  if (!eco_buf_printf(line, " %s=", f->name)) {
    return false;
  }
  if (f->kind == ECO_FIELD_STR && f->str != NULL && is_plain(f->str) && strlen(f->str) <= VALUE_MAX_BYTES) {
    return eco_buf_puts(line, f->str);
  }
  if (f->kind == ECO_FIELD_SECRET) {
    return eco_buf_puts(line, "[redacted]");
  }
  return json_value(line, f);
}

// ---- lines ----

static bool put_field(eco_buf *line, bool json, const eco_field *f) {
  return json ? json_field(line, f) : text_field(line, f);
}

// A field that does not fit leaves no trace but the mark at the end of the line.
static void put_or_drop(eco_buf *line, bool json, const eco_field *f, bool *cut) {
  size_t before = line->len;
  if (!put_field(line, json, f)) {
    line->len = before;
    *cut = true;
  }
}

static void put_head(eco_buf *line, bool json, eco_log_level level, const char *message, bool *cut) {
  char time[ECO_RFC3339_MAX];
  eco_rfc3339_format(eco_wall_us(), time);
  if (json) {
    (void)eco_buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\"", time, LEVEL_WORD[level]);
    if (state.service[0] != '\0') {
      put_or_drop(line, true, &ECO_F_STR("service", state.service), cut);
    }
    put_or_drop(line, true, &ECO_F_STR("message", message), cut);
    return;
  }
  (void)eco_buf_printf(line, "%s %s %s%s", time, LEVEL_TEXT[level], state.service,
                       state.service[0] != '\0' ? ": " : "");
  // Control characters in a message could forge lines or drive the terminal.
  for (const char *p = message; *p != '\0' && p - message < VALUE_MAX_BYTES; p++) {
    (void)eco_buf_putc(line, (unsigned char)*p < ' ' || *p == 0x7F ? ' ' : *p);
  }
}

static void write_line(const eco_buf *line) {
  size_t done = 0;
  while (done < line->len) {
    ssize_t n = write(STDERR_FILENO, line->data + done, line->len - done);
    if (n <= 0) {
      return;  // nowhere left to tell it
    }
    done += (size_t)n;
  }
}

void eco_log_fields(eco_log_level level, const char *message, const eco_field *fields) {
  if ((int)level < atomic_load_explicit(&state.min_level, memory_order_relaxed)) {
    return;
  }
  bool json = atomic_load_explicit(&state.format, memory_order_relaxed) == ECO_LOG_JSON;
  bool cut = false;
  // On the stack: a line costs no allocation. Its maximum lies within its memory, so it never grows and is not freed.
  char memory[LINE_MAX_BYTES + 1];
  eco_buf line = {.data = memory, .cap = sizeof memory, .max = LINE_MAX_BYTES - LINE_RESERVE};
  put_head(&line, json, level, message != NULL ? message : "", &cut);
  if (request_context[0] != '\0') {
    put_or_drop(&line, json, &ECO_F_STR("request_id", request_context), &cut);
  }
  if (trace_context[0] != '\0') {
    put_or_drop(&line, json, &ECO_F_STR("trace_id", trace_context), &cut);
  }
  for (const eco_field *f = fields; f != NULL && f->kind != ECO_FIELD_END; f++) {
    put_or_drop(&line, json, f, &cut);
  }
  line.max = LINE_MAX_BYTES;
  if (cut) {
    (void)put_field(&line, json, &ECO_F_BOOL("truncated", true));
  }
  (void)eco_buf_puts(&line, json ? "}\n" : "\n");
  write_line(&line);
}
