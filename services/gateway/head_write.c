// Rebuilding heads for the other side; see head.h.
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "head.h"

// A bounded writer: `over` instead of an overflow.
typedef struct writer {
  char *p;
  size_t len;
  size_t cap;
  bool over;
} writer;

static void put(writer *w, const char *p, size_t n) {
  if (w->over || n > w->cap - w->len) {
    w->over = true;
    return;
  }
  if (n > 0) {
    memcpy(w->p + w->len, p, n);
    w->len += n;
  }
}

static void put_string(writer *w, const char *s) {
  put(w, s, strlen(s));
}
#define put_text(w, literal) put(w, literal, sizeof(literal) - 1)

static void put_slice(writer *w, gw_slice s) {
  put(w, s.p, s.n);
}

static void put_u64(writer *w, uint64_t v) {
  char digits[24];
  size_t i = sizeof digits;
  do {
    digits[--i] = (char)('0' + v % 10);
    v /= 10;
  } while (v);
  put(w, digits + i, sizeof digits - i);
}

static void put_header(writer *w, const gw_head *h, const gw_header *x) {
  put(w, h->mem + x->name, x->name_len);
  put(w, ": ", 2);
  put(w, h->mem + x->value, x->value_len);
  put(w, "\r\n", 2);
}

// Cookie names that begin with "ecolink" (after __Host- or __Secure-) are the console's: it may share the origin with
// /proxy, where tenants' containers answer, and they are neither told of them nor may they set them.
static bool our_cookie(gw_slice pair) {
  static const char *const PREFIXES[] = {"__host-", "__secure-"};
  static const char OURS[] = "ecolink";
  for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++) {
    const size_t n = strlen(PREFIXES[i]);
    if (pair.n >= n && strncasecmp(pair.p, PREFIXES[i], n) == 0) {
      pair.p += n;
      pair.n -= n;
    }
  }
  return pair.n >= sizeof OURS - 1 && strncasecmp(pair.p, OURS, sizeof OURS - 1) == 0;
}

static gw_slice trimmed(const char *p, size_t n) {
  for (; n > 0 && (*p == ' ' || *p == '\t'); n--) {
    p++;
  }
  while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) {
    n--;
  }
  return (gw_slice){p, n};
}

// The header without our own; nothing at all when nothing is left.
static void put_cookies(writer *w, gw_slice all) {
  bool any = false;
  while (all.n > 0) {
    const char *semicolon = memchr(all.p, ';', all.n);
    const size_t n = semicolon ? (size_t)(semicolon - all.p) : all.n;
    const gw_slice pair = trimmed(all.p, n);
    if (pair.n > 0 && !our_cookie(pair)) {
      put_string(w, any ? "; " : "cookie: ");
      put_slice(w, pair);
      any = true;
    }
    const size_t used = n + (semicolon ? 1 : 0);
    all.p += used;
    all.n -= used;
  }
  if (any) {
    put_text(w, "\r\n");
  }
}

static bool request_keeps(const gw_header *x, const gw_request_out *r) {
  if (x->named) {
    return false;
  }
  switch ((gw_header_id)x->id) {
    case GW_H_HOST:
    case GW_H_CONTENT_LENGTH:
    case GW_H_TRANSFER_ENCODING:
    case GW_H_CONNECTION:
    case GW_H_HOP:
    case GW_H_UPGRADE:
    case GW_H_AUTHORIZATION:
    case GW_H_EXPECT:
    case GW_H_ECOLINK:
    case GW_H_COOKIE:         // written below, on /proxy
    case GW_H_FORWARDED_FOR:  // written below
      return false;
    case GW_H_ACCEPT_ENCODING:
    case GW_H_API_KEY:
      return !r->v1;
    case GW_H_FORWARDED:
      return r->trusted;
    default:
      return true;
  }
}

static void put_forwarded(writer *w, const gw_head *h, const gw_request_out *r) {
  put_text(w, "x-forwarded-for: ");
  for (unsigned i = 0; r->trusted && i < h->n; i++) {  // several lines are one list (RFC 9110 section 5.3)
    if (h->h[i].id == GW_H_FORWARDED_FOR && h->h[i].value_len > 0) {
      put_slice(w, gw_head_value(h, &h->h[i]));
      put_text(w, ", ");
    }
  }
  put_string(w, r->peer);
  put_text(w, "\r\n");
  if (!r->trusted) {
    put_text(w, "x-forwarded-proto: http\r\nx-forwarded-host: ");
    put_slice(w, r->client_host);
    put_text(w, "\r\n");
  }
}

size_t gw_head_write_request(const gw_head *h, const gw_request_out *r, char *out, size_t cap) {
  writer w = {.p = out, .cap = cap};
  put_string(&w, r->method);
  put_text(&w, " ");
  put_slice(&w, r->prefix);
  bool slash = (r->prefix.n > 0 && r->prefix.p[r->prefix.n - 1] == '/') || (r->path.n > 0 && r->path.p[0] == '/');
  if (!slash && (r->path.n > 0 || r->prefix.n == 0)) {
    put_text(&w, "/");
  }
  put_slice(&w, r->path);
  if (r->has_query) {
    put_text(&w, "?");
    put_slice(&w, r->query);
  }
  put_text(&w, " HTTP/1.1\r\nhost: ");
  put_string(&w, r->host);
  put_text(&w, "\r\n");
  for (unsigned i = 0; i < h->n; i++) {
    if (request_keeps(&h->h[i], r)) {
      put_header(&w, h, &h->h[i]);
    } else if (h->h[i].id == GW_H_COOKIE && !h->h[i].named && !r->v1) {
      put_cookies(&w, gw_head_value(h, &h->h[i]));
    }
  }
  put_forwarded(&w, h, r);
  put_text(&w, "x-ecolink-request-id: ");
  put_string(&w, r->request_id);
  put_text(&w, "\r\n");
  if (r->token[0]) {
    put_text(&w, "authorization: Bearer ");
    put_string(&w, r->token);
    put_text(&w, "\r\n");
  }
  if (r->websocket) {
    put_text(&w, "connection: Upgrade\r\nupgrade: websocket\r\n");
  }
  if (r->chunked) {
    put_text(&w, "transfer-encoding: chunked\r\n");
  } else if (r->body) {
    put_text(&w, "content-length: ");
    put_u64(&w, r->content_length);
    put_text(&w, "\r\n");
  }
  put_text(&w, "\r\n");
  return w.over ? 0 : w.len;
}

static bool response_keeps(const gw_head *h, const gw_header *x, const gw_response_out *r) {
  if (x->named) {
    return false;
  }
  switch ((gw_header_id)x->id) {
    case GW_H_CONTENT_LENGTH:
    case GW_H_TRANSFER_ENCODING:
    case GW_H_CONNECTION:
    case GW_H_HOP:
    case GW_H_UPGRADE:
    case GW_H_ECOLINK:
    case GW_H_RATELIMIT:
    case GW_H_ALT_SVC:
      return false;
    case GW_H_SET_COOKIE:
      return !r->v1 && !our_cookie(gw_head_value(h, x));
    case GW_H_SANDBOX:
      return r->v1;
    default:
      return true;
  }
}

static void put_line(writer *w, const char *name, const char *value) {
  if (value && value[0]) {
    put_string(w, name);
    put_string(w, value);
    put_text(w, "\r\n");
  }
}

static void put_number(writer *w, const char *name, int32_t value) {
  put_string(w, name);
  put_u64(w, value > 0 ? (uint64_t)value : 0);
  put_text(w, "\r\n");
}

static void put_own(writer *w, const gw_own_headers *own) {
  put_line(w, "x-ecolink-request-id: ", own->request_id);
  put_line(w, "content-type: ", own->content_type);
  put_line(w, "x-ecolink-region: ", own->region);
  if (own->limit) {
    put_number(w, "x-ratelimit-limit: ", own->limit->limit);
    put_number(w, "x-ratelimit-remaining: ", own->limit->remaining);
    put_number(w, "x-ratelimit-reset: ", own->limit->reset_s);
  }
  if (own->retry_after_s > 0) {
    put_number(w, "retry-after: ", own->retry_after_s);
  }
  put_line(w, "allow: ", own->allow);
  if (own->wants_bearer) {
    put_text(w, "www-authenticate: Bearer\r\n");
  }
}

size_t gw_head_write_response(const gw_head *h, const gw_response_out *r, char *out, size_t cap) {
  writer w = {.p = out, .cap = cap};
  put_text(&w, "HTTP/1.1 ");
  put_u64(&w, (uint64_t)r->status);
  put_text(&w, " ");
  put_string(&w, gw_status_reason(r->status));
  put_text(&w, "\r\n");
  for (unsigned i = 0; h && i < h->n; i++) {
    if (response_keeps(h, &h->h[i], r)) {
      put_header(&w, h, &h->h[i]);
    }
  }
  put_own(&w, &r->own);
  if (!r->v1 && !r->websocket) {
    // Tenant content on our origin must not run as part of it.
    put_text(&w, "x-content-type-options: nosniff\r\ncontent-security-policy: sandbox\r\n");
  }
  if (r->websocket) {
    put_text(&w, "connection: Upgrade\r\nupgrade: websocket\r\n");
  } else if (r->close) {
    put_text(&w, "connection: close\r\n");
  } else if (r->keep_alive_10) {
    put_text(&w, "connection: keep-alive\r\n");
  }
  if (r->chunked) {
    put_text(&w, "transfer-encoding: chunked\r\n");
  } else if (r->content_length >= 0) {
    put_text(&w, "content-length: ");
    put_u64(&w, (uint64_t)r->content_length);
    put_text(&w, "\r\n");
  }
  put_text(&w, "\r\n");
  return w.over ? 0 : w.len;
}

const char *gw_status_reason(int status) {
  static const struct {
    int status;
    const char *reason;
  } REASONS[] = {
      {100, "Continue"},
      {101, "Switching Protocols"},
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {206, "Partial Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {303, "See Other"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {402, "Payment Required"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {410, "Gone"},
      {412, "Precondition Failed"},
      {413, "Content Too Large"},
      {415, "Unsupported Media Type"},
      {416, "Range Not Satisfiable"},
      {417, "Expectation Failed"},
      {422, "Unprocessable Content"},
      {424, "Failed Dependency"},
      {429, "Too Many Requests"},
      {499, "Client Closed Request"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
  };
  for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++) {
    if (REASONS[i].status == status) {
      return REASONS[i].reason;
    }
  }
  return "";
}
