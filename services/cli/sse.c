// The event stream reader: lines end with CR, LF or CRLF, an empty line dispatches.
#include "sse.h"

#include <stdio.h>
#include <string.h>

void cli_sse_init(cli_sse *sse, cli_sse_fn fn, void *arg) {
  *sse = (cli_sse){.fn = fn, .arg = arg, .first_line = true};
  eco_buf_init(&sse->line, CLI_SSE_LINE_MAX);
  eco_buf_init(&sse->data, CLI_SSE_LINE_MAX);
}

void cli_sse_free(cli_sse *sse) {
  eco_buf_free(&sse->line);
  eco_buf_free(&sse->data);
}

static bool dispatch(cli_sse *sse) {
  bool go_on = true;
  if (sse->has_data) {
    go_on = sse->fn(sse->arg, sse->event, sse->data.data != NULL ? sse->data.data : "", sse->data.len);
  }
  eco_buf_reset(&sse->data);
  sse->has_data = false;
  sse->event[0] = '\0';
  return go_on;
}

static bool field_is(const char *line, size_t n, const char *name) {
  return strlen(name) == n && memcmp(line, name, n) == 0;
}

static bool take_line(cli_sse *sse) {
  const char *line = sse->line.data != NULL ? sse->line.data : "";
  size_t n = sse->line.len;
  if (sse->first_line && n >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
    line += 3;
    n -= 3;
  }
  sse->first_line = false;
  if (n == 0) {
    return dispatch(sse);
  }
  const char *colon = memchr(line, ':', n);
  size_t name_len = colon != NULL ? (size_t)(colon - line) : n;
  const char *value = line + name_len + (colon != NULL ? 1 : 0);
  size_t value_len = n - (size_t)(value - line);
  if (value_len > 0 && *value == ' ') {
    value++;
    value_len--;
  }
  if (field_is(line, name_len, "data")) {
    bool fits = (!sse->has_data || eco_buf_putc(&sse->data, '\n')) && eco_buf_append(&sse->data, value, value_len);
    sse->has_data = true;
    return fits;
  }
  if (field_is(line, name_len, "event")) {
    (void)snprintf(sse->event, sizeof(sse->event), "%.*s",
                   (int)(value_len < CLI_SSE_NAME_MAX ? value_len : CLI_SSE_NAME_MAX), value);
  }
  return true;  // id, retry, comments and unknown fields
}

bool cli_sse_feed(cli_sse *sse, const char *p, size_t n) {
  size_t i = 0;
  while (i < n && !sse->stopped) {
    if (sse->after_cr && p[i] == '\n') {
      sse->after_cr = false;
      i++;
      continue;
    }
    sse->after_cr = false;
    size_t run = 0;
    while (i + run < n && p[i + run] != '\n' && p[i + run] != '\r') {
      run++;
    }
    if (!eco_buf_append(&sse->line, p + i, run)) {
      sse->stopped = true;
      break;
    }
    i += run;
    if (i < n) {
      sse->after_cr = p[i] == '\r';
      i++;
      sse->stopped = !take_line(sse);
      eco_buf_reset(&sse->line);
    }
  }
  return !sse->stopped;
}
