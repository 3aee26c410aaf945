// The bounded buffer, and JSON string escaping into it.
#include "ecolink/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAP_FIRST = 256 };

void eco_buf_init(eco_buf *b, size_t max) {
  *b = (eco_buf){.max = max < SIZE_MAX / 2 ? max : SIZE_MAX / 2};
}

void eco_buf_free(eco_buf *b) {
  free(b->data);
  *b = (eco_buf){.max = b->max};
}

void eco_buf_reset(eco_buf *b) {
  b->len = 0;
  if (b->data != NULL) {
    b->data[0] = '\0';
  }
}

// Makes room for n more bytes and the NUL; false when that passes the maximum.
static bool reserve(eco_buf *b, size_t n) {
  if (n > b->max - b->len) {
    return false;
  }
  size_t need = b->len + n + 1;
  if (need <= b->cap) {
    return true;
  }
  size_t cap = b->cap > 0 ? b->cap : CAP_FIRST;
  while (cap < need) {
    cap *= 2;
  }
  if (cap > b->max + 1) {
    cap = b->max + 1;
  }
  char *data = realloc(b->data, cap);
  if (data == NULL) {
    fprintf(stderr, "buf: cannot allocate %zu bytes\n", cap);
    abort();
  }
  b->data = data;
  b->cap = cap;
  return true;
}

bool eco_buf_append(eco_buf *b, const void *p, size_t n) {
  if (!reserve(b, n)) {
    return false;
  }
  if (n > 0) {
    memcpy(b->data + b->len, p, n);
  }
  b->len += n;
  b->data[b->len] = '\0';
  return true;
}

bool eco_buf_puts(eco_buf *b, const char *s) {
  return eco_buf_append(b, s, strlen(s));
}

bool eco_buf_putc(eco_buf *b, char c) {
  return eco_buf_append(b, &c, 1);
}

bool eco_buf_printf(eco_buf *b, const char *fmt, ...) {
  va_list ap;
  va_list again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  bool ok = n >= 0 && reserve(b, (size_t)n);
  if (ok) {
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
  return ok;
}

// Length of the valid UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF); 0 when
// invalid.
static size_t utf8_length(const unsigned char *s, size_t n) {
  unsigned char c = s[0];
  if (c < 0x80) {
    return 1;
  }
  size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
  if (c < 0xC2 || c > 0xF4 || n < len) {
    return 0;
  }
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xC0) != 0x80) {
      return 0;
    }
  }
  if ((c == 0xE0 && s[1] < 0xA0) || (c == 0xED && s[1] > 0x9F) || (c == 0xF0 && s[1] < 0x90) ||
      (c == 0xF4 && s[1] > 0x8F)) {
    return 0;
  }
  return len;
}

static bool put_escape(eco_buf *b, unsigned char c) {
  switch (c) {
    case '"':
      return eco_buf_puts(b, "\\\"");
    case '\\':
      return eco_buf_puts(b, "\\\\");
    case '\n':
      return eco_buf_puts(b, "\\n");
    case '\r':
      return eco_buf_puts(b, "\\r");
    case '\t':
      return eco_buf_puts(b, "\\t");
    case '\b':
      return eco_buf_puts(b, "\\b");
    case '\f':
      return eco_buf_puts(b, "\\f");
    default:
      return eco_buf_printf(b, "\\u%04x", c);
  }
}

bool eco_buf_json_string(eco_buf *b, const char *s, size_t n) {
  const unsigned char *p = (const unsigned char *)s;
  size_t before = b->len;
  bool ok = eco_buf_putc(b, '"');
  size_t i = 0;
  while (ok && i < n) {
    size_t plain = i;  // the longest run that needs no change is copied at once
    size_t step = 0;
    while (plain < n && p[plain] >= 0x20 && p[plain] != '"' && p[plain] != '\\' &&
           (step = utf8_length(p + plain, n - plain)) > 0) {
      plain += step;
    }
    if (plain > i) {
      ok = eco_buf_append(b, p + i, plain - i);
      i = plain;
    } else if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\') {
      ok = put_escape(b, p[i]);
      i++;
    } else {
      ok = eco_buf_puts(b, "\xEF\xBF\xBD");
      i++;
    }
  }
  ok = ok && eco_buf_putc(b, '"');
  if (!ok && b->data != NULL) {
    b->len = before;
    b->data[before] = '\0';
  }
  return ok;
}
