// The error type: building, adding context, and looking up the one table of public codes.
#include "ecolink/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct code_row {
  int http;
  const char *word;
  const char *type;
} code_row;

static const code_row CODES[ECO_CODE_COUNT] = {[ECO_OK] = {200, "", ""},
#define ECO_X(name, http, word, type) [ECO_##name] = {http, word, type},
                                               ECO_ERROR_TABLE(ECO_X)
#undef ECO_X
};

// A cut in the middle of a UTF-8 sequence would make the message invalid text: drop the incomplete tail.
static void trim_partial_utf8(char *s) {
  size_t len = strlen(s);
  size_t start = len;
  while (start > 0 && len - start < 3 && ((unsigned char)s[start - 1] & 0xC0) == 0x80) {
    start--;
  }
  if (start == 0) {
    return;
  }
  unsigned char lead = (unsigned char)s[start - 1];
  size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (len - (start - 1) < want) {
    s[start - 1] = '\0';
  }
}

__attribute__((format(printf, 2, 0))) static void format_message(eco_status *st, const char *fmt, va_list ap) {
  int n = vsnprintf(st->message, sizeof(st->message), fmt, ap);
  if (n < 0) {
    st->message[0] = '\0';
  } else if ((size_t)n >= sizeof(st->message)) {
    trim_partial_utf8(st->message);
  }
}

eco_status eco_success(void) {
  return (eco_status){.code = ECO_OK};
}

eco_status eco_error(eco_code code, const char *fmt, ...) {
  eco_status st = {.code = code};
  va_list ap;
  va_start(ap, fmt);
  format_message(&st, fmt, ap);
  va_end(ap);
  return st;
}

eco_status eco_error_param(eco_code code, const char *param, const char *fmt, ...) {
  eco_status st = {.code = code};
  if (param != NULL) {
    int n = snprintf(st.param, sizeof(st.param), "%s", param);
    if (n >= (int)sizeof(st.param)) {
      trim_partial_utf8(st.param);
    }
  }
  va_list ap;
  va_start(ap, fmt);
  format_message(&st, fmt, ap);
  va_end(ap);
  return st;
}

eco_status eco_context(eco_status st, const char *fmt, ...) {
  if (eco_ok(st)) {
    return st;
  }
  eco_status out = st;
  va_list ap;
  va_start(ap, fmt);
  format_message(&out, fmt, ap);
  va_end(ap);
  size_t used = strlen(out.message);
  int n = snprintf(out.message + used, sizeof(out.message) - used, ": %s", st.message);
  if (n < 0 || (size_t)n >= sizeof(out.message) - used) {
    trim_partial_utf8(out.message);
  }
  return out;
}

static const code_row *row_of(eco_code code) {
  if ((int)code < 0 || code >= ECO_CODE_COUNT) {
    return &CODES[ECO_INTERNAL];
  }
  return &CODES[code];
}

int eco_code_http(eco_code code) {
  return row_of(code)->http;
}

const char *eco_code_word(eco_code code) {
  return row_of(code)->word;
}

const char *eco_code_type(eco_code code) {
  return row_of(code)->type;
}

eco_code eco_code_from_word(const char *word) {
  if (word == NULL) {
    return ECO_INTERNAL;
  }
  for (int code = ECO_OK; code < ECO_CODE_COUNT; code++) {
    if (strcmp(CODES[code].word, word) == 0) {
      return (eco_code)code;
    }
  }
  return ECO_INTERNAL;
}

bool eco_code_is_transient(eco_code code) {
  switch (code) {
    case ECO_IN_PROGRESS:
    case ECO_RATE_LIMIT_EXCEEDED:
    case ECO_UPSTREAM_ERROR:
    case ECO_INSTANCE_STARTING:
    case ECO_NO_HEALTHY_REPLICA:
    case ECO_OVERLOADED:
    case ECO_CONTROL_PLANE_UNAVAILABLE:
    case ECO_UPSTREAM_TIMEOUT:
      return true;
    default:
      // ECO_INTERNAL is not here: it is a bug, and a message that meets a bug each time has to end as a dead letter.
      return false;
  }
}
