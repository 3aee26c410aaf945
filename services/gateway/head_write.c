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

static void puts_(writer *w, const char *s) {
  put(w, s, strlen(s));
}

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
      puts_(w, any ? "; " : "cookie: ");
      put_slice(w, pair);
      any = true;
    }
    const size_t used = n + (semicolon ? 1 : 0);
    all.p += used;
    all.n -= used;
  }
  if (any) {
    puts_(w, "\r\n");
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
  puts_(w, "x-forwarded-for: ");
  for (unsigned i = 0; r->trusted && i < h->n; i++) {  // several lines are one list (RFC 9110 section 5.3)
    if (h->h[i].id == GW_H_FORWARDED_FOR && h->h[i].value_len > 0) {
      put_slice(w, gw_head_value(h, &h->h[i]));
      puts_(w, ", ");
    }
  }
  puts_(w, r->peer);
  puts_(w, "\r\n");
  if (!r->trusted) {
    puts_(w, "x-forwarded-proto: http\r\nx-forwarded-host: ");
    put_slice(w, r->client_host);
    puts_(w, "\r\n");
  }
}

size_t gw_head_write_request(const gw_head *h, const gw_request_out *r, char *out, size_t cap) {
  writer w = {.p = out, .cap = cap};
  puts_(&w, r->method);
  puts_(&w, " ");
  put_slice(&w, r->prefix);
  bool slash = (r->prefix.n > 0 && r->prefix.p[r->prefix.n - 1] == '/') || (r->path.n > 0 && r->path.p[0] == '/');
  if (!slash && (r->path.n > 0 || r->prefix.n == 0)) {
    puts_(&w, "/");
  }
  put_slice(&w, r->path);
  if (r->has_query) {
    puts_(&w, "?");
    put_slice(&w, r->query);
  }
  puts_(&w, " HTTP/1.1\r\nhost: ");
  puts_(&w, r->host);
  puts_(&w, "\r\n");
  for (unsigned i = 0; i < h->n; i++) {
    if (request_keeps(&h->h[i], r)) {
      put_header(&w, h, &h->h[i]);
    } else if (h->h[i].id == GW_H_COOKIE && !h->h[i].named && !r->v1) {
      put_cookies(&w, gw_head_value(h, &h->h[i]));
    }
  }
  put_forwarded(&w, h, r);
  puts_(&w, "x-ecolink-request-id: ");
  puts_(&w, r->request_id);
  puts_(&w, "\r\n");
  if (r->token[0]) {
    puts_(&w, "authorization: Bearer ");
    puts_(&w, r->token);
    puts_(&w, "\r\n");
  }
  if (r->websocket) {
    puts_(&w, "connection: Upgrade\r\nupgrade: websocket\r\n");
  }
  if (r->chunked) {
    puts_(&w, "transfer-encoding: chunked\r\n");
  } else if (r->body) {
    puts_(&w, "content-length: ");
    put_u64(&w, r->content_length);
    puts_(&w, "\r\n");
  }
  puts_(&w, "\r\n");
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

size_t gw_head_write_response(const gw_head *h, const gw_response_out *r, char *out, size_t cap) {
  writer w = {.p = out, .cap = cap};
  puts_(&w, "HTTP/1.1 ");
  put_u64(&w, (uint64_t)r->status);
  puts_(&w, " ");
  puts_(&w, gw_status_reason(r->status));
  puts_(&w, "\r\n");
  for (unsigned i = 0; h && i < h->n; i++) {
    if (response_keeps(h, &h->h[i], r)) {
      put_header(&w, h, &h->h[i]);
    }
  }
  puts_(&w, r->extra);
  if (!r->v1 && !r->websocket) {
    // Tenant content on our origin must not run as part of it.
    puts_(&w, "x-content-type-options: nosniff\r\ncontent-security-policy: sandbox\r\n");
  }
  if (r->websocket) {
    puts_(&w, "connection: Upgrade\r\nupgrade: websocket\r\n");
  } else if (r->close) {
    puts_(&w, "connection: close\r\n");
  } else if (r->keep_alive_10) {
    puts_(&w, "connection: keep-alive\r\n");
  }
  if (r->chunked) {
    puts_(&w, "transfer-encoding: chunked\r\n");
  } else if (r->content_length >= 0) {
    puts_(&w, "content-length: ");
    put_u64(&w, (uint64_t)r->content_length);
    puts_(&w, "\r\n");
  }
  puts_(&w, "\r\n");
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
