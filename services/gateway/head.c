// Collecting and judging heads; see head.h. Rebuilding is in head_write.c.
#include "head.h"

#include <string.h>
#include <strings.h>

void gw_head_init(gw_head *h, char *mem, size_t cap) {
  memset(h, 0, offsetof(gw_head, h));
  h->mem = mem;
  h->cap = (uint16_t)(cap > UINT16_MAX ? UINT16_MAX : cap);
}

static bool add(gw_head *h, const char *p, size_t n) {
  if (n > (size_t)(h->cap - h->used)) {
    return false;
  }
  memcpy(h->mem + h->used, p, n);
  h->used = (uint16_t)(h->used + n);
  return true;
}

bool gw_head_add_url(gw_head *h, const char *p, size_t n) {
  if (n > (size_t)(GW_URL_MAX - h->url_len) || !add(h, p, n)) {
    return false;
  }
  h->url_len = (uint16_t)(h->url_len + n);
  return true;
}

bool gw_head_add_name(gw_head *h, const char *p, size_t n) {
  if (h->n == 0 || h->in_value) {
    if (h->n == GW_HEADERS_MAX) {
      return false;
    }
    h->h[h->n] = (gw_header){.name = h->used, .value = h->used};
    h->n++;
    h->in_value = false;
  }
  h->h[h->n - 1].name_len = (uint16_t)(h->h[h->n - 1].name_len + n);
  return add(h, p, n);
}

bool gw_head_add_value(gw_head *h, const char *p, size_t n) {
  gw_header *x = &h->h[h->n - 1];
  if (!h->in_value) {
    h->in_value = true;
    x->value = h->used;
  }
  x->value_len = (uint16_t)(x->value_len + n);
  return add(h, p, n);
}

typedef struct known_name {
  const char *name;
  uint8_t len;
  uint8_t id;
} known_name;
#define NAME(text, id) \
  { text, sizeof(text) - 1, id }
// By length, so that a name is compared with its like alone.
static const known_name NAMES[] = {
    NAME("te", GW_H_HOP),
    NAME("host", GW_H_HOST),
    NAME("expect", GW_H_EXPECT),
    NAME("accept", GW_H_ACCEPT),
    NAME("cookie", GW_H_COOKIE),
    NAME("trailer", GW_H_HOP),
    NAME("upgrade", GW_H_UPGRADE),
    NAME("alt-svc", GW_H_ALT_SVC),
    NAME("x-api-key", GW_H_API_KEY),
    NAME("forwarded", GW_H_FORWARDED),
    NAME("x-real-ip", GW_H_FORWARDED),
    NAME("connection", GW_H_CONNECTION),
    NAME("keep-alive", GW_H_HOP),
    NAME("set-cookie", GW_H_SET_COOKIE),
    NAME("traceparent", GW_H_TRACEPARENT),
    NAME("content-type", GW_H_CONTENT_TYPE),
    NAME("authorization", GW_H_AUTHORIZATION),
    NAME("content-length", GW_H_CONTENT_LENGTH),
    NAME("accept-encoding", GW_H_ACCEPT_ENCODING),
    NAME("x-forwarded-for", GW_H_FORWARDED_FOR),
    NAME("idempotency-key", GW_H_IDEMPOTENCY_KEY),
    NAME("content-encoding", GW_H_CONTENT_ENCODING),
    NAME("transfer-encoding", GW_H_TRANSFER_ENCODING),
    NAME("x-content-type-options", GW_H_SANDBOX),
    NAME("content-security-policy", GW_H_SANDBOX),
};
static const known_name PREFIXES[] = {
    NAME("proxy-", GW_H_HOP),
    NAME("x-forwarded-", GW_H_FORWARDED),
    NAME("x-ecolink-", GW_H_ECOLINK),
    NAME("x-ratelimit-", GW_H_RATELIMIT),
};
#undef NAME

static uint8_t classify(const char *name, size_t n) {
  // Where the names of each length begin in NAMES; those of length n end where those of n + 1 begin.
  static const uint8_t FROM[] = {0,  0,  0,  1,  1,  2,  2,  5,  8,  8,  11, 14, 15,
                                 16, 17, 18, 21, 22, 23, 23, 23, 23, 23, 24, 25};
  enum { LONGEST = sizeof FROM - 2 };
  char first = (char)(name[0] | 0x20);
  for (size_t i = n <= LONGEST ? FROM[n] : 0; n <= LONGEST && i < FROM[n + 1]; i++) {
    if (NAMES[i].name[0] == first && strncasecmp(NAMES[i].name, name, n) == 0) {
      return NAMES[i].id;
    }
  }
  for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++) {
    const known_name *p = &PREFIXES[i];
    if (p->len <= n && p->name[0] == first && strncasecmp(p->name, name, p->len) == 0) {
      return p->id;
    }
  }
  return GW_H_OTHER;
}

static gw_slice trim(const char *p, size_t n) {
  while (n > 0 && (*p == ' ' || *p == '\t')) {
    p++;
    n--;
  }
  while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
    n--;
  }
  return (gw_slice){p, n};
}

// Takes the next member off a comma-separated list. False at its end.
static bool next_token(gw_slice *list, gw_slice *token) {
  while (list->n > 0) {
    const char *comma = memchr(list->p, ',', list->n);
    size_t len = comma ? (size_t)(comma - list->p) : list->n;
    *token = trim(list->p, len);
    size_t used = comma ? len + 1 : len;
    list->p += used;
    list->n -= used;
    if (token->n > 0) {
      return true;
    }
  }
  return false;
}

bool gw_slice_has_token(gw_slice list, const char *lower) {
  gw_slice token;
  while (next_token(&list, &token)) {
    if (gw_slice_is(token, lower)) {
      return true;
    }
  }
  return false;
}

static void read_connection(gw_head *h, gw_slice list) {
  gw_slice token;
  while (next_token(&list, &token)) {
    if (gw_slice_is(token, "close")) {
      h->conn_close = true;
    } else if (gw_slice_is(token, "keep-alive")) {
      h->conn_keep_alive = true;
    } else if (gw_slice_is(token, "upgrade")) {
      h->conn_upgrade = true;
    } else {
      for (unsigned i = 0; i < h->n; i++) {
        gw_header *x = &h->h[i];
        x->named = x->named || (x->name_len == token.n && strncasecmp(h->mem + x->name, token.p, token.n) == 0);
      }
    }
  }
}

void gw_head_finish(gw_head *h) {
  for (unsigned i = 0; i < h->n; i++) {
    gw_header *x = &h->h[i];
    gw_slice v = trim(h->mem + x->value, x->value_len);
    x->value = (uint16_t)(v.p - h->mem);
    x->value_len = (uint16_t)v.n;
    x->id = x->name_len ? classify(h->mem + x->name, x->name_len) : (uint8_t)GW_H_OTHER;
    if (h->count[x->id]++ == 0) {
      h->first[x->id] = (uint8_t)i;
    }
  }
  for (unsigned i = 0; i < h->n; i++) {
    if (h->h[i].id == GW_H_CONNECTION) {
      read_connection(h, gw_head_value(h, &h->h[i]));
    }
  }
}

gw_slice gw_head_last(const gw_head *h, gw_header_id id) {
  for (unsigned i = h->n; i > 0; i--) {
    if (h->h[i - 1].id == id) {
      return gw_head_value(h, &h->h[i - 1]);
    }
  }
  return (gw_slice){"", 0};
}

// ---- the request line: token SP target SP "HTTP/1." ("0" | "1") CRLF ----
enum { L_START, L_START_LF, L_METHOD, L_TARGET_FIRST, L_TARGET, L_VERSION, L_MINOR, L_CR, L_LF };

static bool line_byte(gw_request_line *l, char c) {
  static const char VERSION[] = "HTTP/1.";
  switch (l->state) {
    case L_START:
      if (c == '\r') {
        l->state = L_START_LF;
        return ++l->blanks <= GW_BLANK_LINES_MAX;
      }
      l->state = L_METHOD;
      return c >= 'A' && c <= 'Z';
    case L_START_LF:
      l->state = L_START;
      return c == '\n';
    case L_METHOD:
      if (c == ' ') {
        l->state = L_TARGET_FIRST;
        return true;
      }
      return (c >= 'A' && c <= 'Z') || c == '-';
    case L_TARGET_FIRST:
    case L_TARGET:
      if (c == ' ') {
        bool empty = l->state == L_TARGET_FIRST;
        l->state = L_VERSION;
        return !empty;
      }
      l->state = L_TARGET;
      return c > ' ' && c < 0x7f;
    case L_VERSION:
      if (c != VERSION[l->match]) {
        return false;
      }
      l->state = VERSION[++l->match] ? L_VERSION : L_MINOR;
      return true;
    case L_MINOR:
      l->state = L_CR;
      return c == '0' || c == '1';
    case L_CR:
      l->state = L_LF;
      return c == '\r';
    default:
      l->done = true;
      return c == '\n';
  }
}

bool gw_request_line_feed(gw_request_line *l, const char *p, size_t n) {
  for (size_t i = 0; i < n && !l->done; i++) {
    while (l->state == L_TARGET && i + 1 < n && p[i] > ' ' && p[i] < 0x7f) {
      i++;  // what line_byte would say to each
    }
    if (!line_byte(l, p[i])) {
      return false;
    }
  }
  return true;
}

// ---- judging ----
static int decoded_byte(const char *p, size_t n, size_t *used) {
  *used = 1;
  if (*p == '%' && n >= 3) {
    int value = 0;
    for (size_t i = 1; i <= 2; i++) {
      char c = (char)(p[i] | 0x20);
      if (p[i] >= '0' && p[i] <= '9') {
        value = value * 16 + (p[i] - '0');
      } else if (c >= 'a' && c <= 'f') {
        value = value * 16 + (c - 'a' + 10);
      } else {
        return '%';
      }
    }
    *used = 3;
    return value;
  }
  return (unsigned char)*p;
}

// Whether a segment is "." or "..", with '/' and '\' as separators, all three plain or percent-encoded.
static bool has_dot_segment(gw_slice path) {
  if (!memchr(path.p, '.', path.n) && !memchr(path.p, '%', path.n)) {
    return false;
  }
  size_t dots = 0;
  bool other = false;
  for (size_t i = 0; i < path.n;) {
    size_t used = 1;
    int c = decoded_byte(path.p + i, path.n - i, &used);
    i += used;
    if (c == '/' || c == '\\') {
      if (!other && dots >= 1 && dots <= 2) {
        return true;
      }
      dots = 0;
      other = false;
    } else if (c == '.') {
      dots++;
    } else {
      other = true;
    }
  }
  return !other && dots >= 1 && dots <= 2;
}

eco_status gw_target_parse(gw_slice url, gw_target *out) {
  *out = (gw_target){0};
  for (size_t i = 0; i < url.n; i++) {
    if (url.p[i] <= ' ' || url.p[i] >= 0x7f || url.p[i] == '#') {
      return eco_error(ECO_INVALID_JSON, "The request target holds a fragment or a byte that must be percent-encoded.");
    }
  }
  if (url.n > 7 && strncasecmp(url.p, "http://", 7) == 0) {
    const char *slash = memchr(url.p + 7, '/', url.n - 7);
    size_t authority = slash ? (size_t)(slash - url.p) - 7 : url.n - 7;
    if (!slash || authority == 0 || memchr(url.p + 7, '@', authority)) {
      return eco_error(ECO_INVALID_JSON, "The request target is not valid.");
    }
    url.n -= 7 + authority;
    url.p = slash;
  }
  if (url.n == 0 || url.p[0] != '/') {
    return eco_error(ECO_INVALID_JSON, "The request target must begin with '/'.");
  }
  const char *question = memchr(url.p, '?', url.n);
  out->path = (gw_slice){url.p, question ? (size_t)(question - url.p) : url.n};
  out->has_query = question != NULL;
  out->query = question ? (gw_slice){question + 1, url.n - out->path.n - 1} : (gw_slice){"", 0};
  if (has_dot_segment(out->path)) {
    return eco_error(ECO_INVALID_JSON, "The path must not contain '.' or '..' segments.");
  }
  return eco_success();
}

static bool host_ok(gw_slice host) {
  if (host.n == 0) {
    return false;
  }
  for (size_t i = 0; i < host.n; i++) {
    const char c = host.p[i];
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.' || c == '-' || c == ':';
    if (!plain && (c <= ' ' || c >= 0x7f || strchr("/?#@\\,\"<>", c))) {
      return false;
    }
  }
  return true;
}

static bool parse_length(gw_slice v, int64_t *out) {
  if (v.n == 0 || v.n > 18) {
    return false;
  }
  int64_t value = 0;
  for (size_t i = 0; i < v.n; i++) {
    if (v.p[i] < '0' || v.p[i] > '9') {
      return false;
    }
    value = value * 10 + (v.p[i] - '0');
  }
  *out = value;
  return true;
}

eco_status gw_head_judge(const gw_head *h, int major, int minor, gw_framing *out) {
  *out = (gw_framing){.content_length = -1};
  unsigned hosts = 0;
  unsigned lengths = 0;
  unsigned encodings = 0;
  const gw_header *host = gw_head_find(h, GW_H_HOST, &hosts);
  const gw_header *length = gw_head_find(h, GW_H_CONTENT_LENGTH, &lengths);
  const gw_header *encoding = gw_head_find(h, GW_H_TRANSFER_ENCODING, &encodings);
  if (major != 1 || minor < 0 || minor > 1) {
    return eco_error(ECO_INVALID_JSON, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
  }
  if (hosts != 1 || !host_ok(gw_head_value(h, host))) {
    return eco_error(ECO_INVALID_JSON, "Send exactly one valid Host header.");
  }
  if (lengths > 1 || encodings > 1 || (lengths && encodings)) {
    return eco_error(ECO_INVALID_JSON, "Send exactly one of Content-Length and Transfer-Encoding, once.");
  }
  if (encodings) {
    if (minor == 0 || !gw_slice_is(gw_head_value(h, encoding), "chunked")) {
      return eco_error(ECO_INVALID_JSON, "The only Transfer-Encoding understood is `chunked`, with HTTP/1.1.");
    }
    out->chunked = true;
  }
  if (lengths && !parse_length(gw_head_value(h, length), &out->content_length)) {
    return eco_error(ECO_INVALID_JSON, "Content-Length is not a number.");
  }
  return eco_success();
}
