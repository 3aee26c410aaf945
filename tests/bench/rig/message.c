// The message reader; see message.h.
#include "message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void rig_message_reset(rig_message *m) {
  char *partial = m->partial;
  *m = (rig_message){.state = RIG_HEAD, .partial = partial};
}

void rig_message_free(rig_message *m) {
  free(m->partial);
  m->partial = NULL;
}

static bool name_is(const char *line, size_t n, const char *name, const char **value) {
  size_t len = strlen(name);
  if (n <= len || strncasecmp(line, name, len) != 0) {
    return false;
  }
  *value = line + len;
  while (*value < line + n && **value == ' ') {
    (*value)++;
  }
  return true;
}

static bool read_length(const char *value, const char *end, uint64_t *out) {
  *out = 0;
  for (const char *c = value; c < end; c++) {
    if (*c < '0' || *c > '9' || *out > UINT64_MAX / 16) {
      return false;
    }
    *out = *out * 10 + (uint64_t)(*c - '0');
  }
  return end > value;
}

// head[0, n) ends with CR LF CR LF.
static rig_message_state read_head(rig_message *m, const char *head, size_t n) {
  bool chunked = false;
  const char *line = memchr(head, '\n', n);
  if (n > 12 && memcmp(head, "HTTP/1.1 ", 9) == 0) {
    m->status = (head[9] - '0') * 100 + (head[10] - '0') * 10 + (head[11] - '0');
  }
  for (line = line + 1; *line != '\r';) {
    const char *end = memchr(line, '\r', (size_t)(head + n - line));
    size_t len = (size_t)(end - line);
    const char *value = NULL;
    if ((line[0] | 0x20) == 'c' || (line[0] | 0x20) == 't') {
      if (name_is(line, len, "content-length:", &value)) {
        if (!read_length(value, end, &m->left)) {
          return RIG_BAD;
        }
      } else if (name_is(line, len, "transfer-encoding:", &value)) {
        chunked = true;
      } else if (name_is(line, len, "connection:", &value)) {
        m->close = strncasecmp(value, "close", 5) == 0;
      }
    }
    line = end + 2;
  }
  return chunked ? RIG_CHUNK_SIZE : m->left > 0 ? RIG_LENGTH : RIG_DONE;
}

// The head, at once from the caller's bytes where it is whole there.
static size_t feed_head(rig_message *m, const char *p, size_t n) {
  if (m->partial_len == 0) {
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    if (end) {
      size_t used = (size_t)(end - p) + 4;
      m->state = read_head(m, p, used);
      return used;
    }
  }
  if (!m->partial) {
    m->partial = malloc(RIG_HEAD_MAX);
    if (!m->partial) {
      abort();
    }
  }
  size_t before = m->partial_len;
  size_t take = n < RIG_HEAD_MAX - before ? n : RIG_HEAD_MAX - before;
  memcpy(m->partial + before, p, take);
  m->partial_len += take;
  const char *end = memmem(m->partial, m->partial_len, "\r\n\r\n", 4);
  if (!end) {
    m->state = m->partial_len == RIG_HEAD_MAX ? RIG_BAD : RIG_HEAD;
    return take;
  }
  size_t len = (size_t)(end - m->partial) + 4;
  m->state = read_head(m, m->partial, len);
  m->partial_len = 0;
  return len - before;
}

static size_t feed_body(rig_message *m, const char *p, size_t n, rig_body_fn *body, void *arg) {
  size_t take = n < m->left ? n : (size_t)m->left;
  m->left -= take;
  m->body += take;
  if (body) {
    body(arg, p, take);
  }
  if (m->left == 0) {
    m->state = m->state == RIG_LENGTH ? RIG_DONE : RIG_CHUNK_END;
    m->digits = 0;
  }
  return take;
}

static void size_byte(rig_message *m, char c) {
  char lower = (char)(c | 0x20);
  if (c >= '0' && c <= '9') {
    m->left = m->left * 16 + (uint64_t)(c - '0');
  } else if (lower >= 'a' && lower <= 'f') {
    m->left = m->left * 16 + (uint64_t)(lower - 'a' + 10);
  } else if (c == '\n' && m->digits > 0) {
    m->state = m->left > 0 ? RIG_CHUNK : RIG_LAST;
    m->digits = 0;
    return;
  } else if (c != '\r') {
    m->state = RIG_BAD;
  }
  m->digits += c != '\r';
}

// The two bytes CR LF; `digits` counts them.
static void end_byte(rig_message *m, char c) {
  if (c != (m->digits == 0 ? '\r' : '\n')) {
    m->state = RIG_BAD;
  } else if (++m->digits == 2) {
    m->state = m->state == RIG_LAST ? RIG_DONE : RIG_CHUNK_SIZE;
    m->digits = 0;
    m->left = 0;
  }
}

size_t rig_message_feed(rig_message *m, const char *p, size_t n, rig_body_fn *body, void *arg) {
  size_t at = 0;
  while (at < n && m->state != RIG_DONE && m->state != RIG_BAD) {
    switch (m->state) {
      case RIG_HEAD:
        at += feed_head(m, p + at, n - at);
        break;
      case RIG_LENGTH:
      case RIG_CHUNK:
        at += feed_body(m, p + at, n - at, body, arg);
        break;
      case RIG_CHUNK_SIZE:
        size_byte(m, p[at++]);
        break;
      default:
        end_byte(m, p[at++]);
    }
  }
  return at;
}
