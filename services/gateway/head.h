// Request and response heads: collected from the parser's spans into one block, judged, and rebuilt. Pure.
//
// Memory of a head (a pooled block that the caller lends):
//   mem: | target or reason | name value name value ...      |        h[i] are offsets into mem
//        0                  url_len                          used
// Nothing that goes to the other side is copied as framing: request lines, Host, Content-Length, Transfer-Encoding and
// Connection are written anew (RFC 9112 sections 3, 6, 7; RFC 9110 section 7.6).
#ifndef GATEWAY_HEAD_H
#define GATEWAY_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "ecolink/status.h"
#include "gw_limits.h"
#include "ratelimit.h"

// Names that some rule speaks of.
typedef enum gw_header_id {
  GW_H_OTHER,
  GW_H_HOST,
  GW_H_CONTENT_LENGTH,
  GW_H_TRANSFER_ENCODING,
  GW_H_CONNECTION,
  GW_H_HOP,  // keep-alive, proxy-*, te, trailer
  GW_H_UPGRADE,
  GW_H_AUTHORIZATION,
  GW_H_API_KEY,  // x-api-key: how Anthropic's SDKs send the key of /v1/messages
  GW_H_CONTENT_TYPE,
  GW_H_CONTENT_ENCODING,
  GW_H_EXPECT,
  GW_H_ACCEPT,
  GW_H_ACCEPT_ENCODING,
  GW_H_FORWARDED,      // forwarded, x-forwarded-*, x-real-ip
  GW_H_FORWARDED_FOR,  // x-forwarded-for
  GW_H_ECOLINK,        // x-ecolink-*
  GW_H_RATELIMIT,      // x-ratelimit-*
  GW_H_ALT_SVC,
  GW_H_COOKIE,
  GW_H_SET_COOKIE,
  GW_H_IDEMPOTENCY_KEY,
  GW_H_TRACEPARENT,
  GW_H_SANDBOX,  // x-content-type-options, content-security-policy: ours on /proxy
  GW_H_IDS,
} gw_header_id;

typedef struct gw_header {
  uint16_t name;
  uint16_t name_len;
  uint16_t value;
  uint16_t value_len;
  uint8_t id;
  bool named;  // listed in Connection: for this hop alone
} gw_header;

typedef struct gw_head {
  char *mem;
  uint16_t cap;
  uint16_t used;
  uint16_t url_len;
  uint8_t n;
  bool in_value;
  bool conn_close;
  bool conn_keep_alive;
  bool conn_upgrade;
  uint8_t count[GW_H_IDS];  // how many of each id, set by gw_head_finish
  uint8_t first[GW_H_IDS];  // where the first one is, if there is one
  gw_header h[GW_HEADERS_MAX];
} gw_head;

typedef struct gw_slice {
  const char *p;
  size_t n;
} gw_slice;

// ---- collecting ---- each returns false when a limit is passed
void gw_head_init(gw_head *h, char *mem, size_t cap);
bool gw_head_add_url(gw_head *h, const char *p, size_t n);
bool gw_head_add_name(gw_head *h, const char *p, size_t n);
bool gw_head_add_value(gw_head *h, const char *p, size_t n);
void gw_head_finish(gw_head *h);  // trims, classifies, reads Connection

static inline gw_slice gw_head_value(const gw_head *h, const gw_header *x) {
  return (gw_slice){h->mem + x->value, x->value_len};
}
// First header of this id, or NULL; *count (may be NULL) = how many there are.
static inline const gw_header *gw_head_find(const gw_head *h, gw_header_id id, unsigned *count) {
  if (count) {
    *count = h->count[id];
  }
  return h->count[id] ? &h->h[h->first[id]] : NULL;
}
// The first one's value; {"", 0} when absent.
static inline gw_slice gw_head_get(const gw_head *h, gw_header_id id) {
  return h->count[id] ? gw_head_value(h, &h->h[h->first[id]]) : (gw_slice){"", 0};
}
gw_slice gw_head_last(const gw_head *h, gw_header_id id);        // the last one's
static inline bool gw_slice_is(gw_slice s, const char *lower) {  // equal, ASCII case aside
  return strlen(lower) == s.n && strncasecmp(s.p, lower, s.n) == 0;
}
bool gw_slice_has_token(gw_slice list, const char *lower);  // member of a comma-separated list

// ---- the request line, before the parser sees it ----
// llhttp lets pass what we refuse: HTTP/0.9, RTSP, ICE, several spaces. Feed every byte from the start of a message
// until `done`; false: refuse with 400.
typedef struct gw_request_line {
  uint8_t state;
  uint8_t blanks;
  uint8_t match;
  bool done;
} gw_request_line;
bool gw_request_line_feed(gw_request_line *l, const char *p, size_t n);

// ---- judging a request ----
typedef struct gw_target {
  gw_slice path;
  gw_slice query;  // without '?'
  bool has_query;
} gw_target;
typedef struct gw_framing {
  bool chunked;
  int64_t content_length;  // -1: not declared
} gw_framing;
// Origin form, or absolute form without userinfo. Refuses fragments, bytes outside printable ASCII, dot segments plain
// or encoded.
eco_status gw_target_parse(gw_slice url, gw_target *out);
// The framing rules of RFC 9112 section 6.3 and ours; every failure is answered 400 and closes.
eco_status gw_head_judge(const gw_head *h, int major, int minor, gw_framing *out);

// ---- rebuilding ---- each writes into out[0..cap) and returns the length, 0 when it does not fit
typedef struct gw_request_out {
  const char *method;
  gw_slice prefix;  // path = prefix + path; a slash is put between them when neither brings one
  gw_slice path;
  gw_slice query;
  bool has_query;
  const char *host;   // the engine's
  const char *token;  // "" or what it takes as a bearer token
  bool v1;            // else /proxy
  bool websocket;
  bool trusted;      // the peer may send X-Forwarded-*
  const char *peer;  // its address
  gw_slice client_host;
  const char *request_id;
  bool body;  // whether there is one
  bool chunked;
  uint64_t content_length;
} gw_request_out;
size_t gw_head_write_request(const gw_head *h, const gw_request_out *r, char *out, size_t cap);

// Header lines of our own; what is NULL or 0 is left out.
typedef struct gw_own_headers {
  const char *request_id;
  const char *content_type;
  const char *region;
  const gw_limit *limit;
  int retry_after_s;
  const char *allow;
  bool wants_bearer;  // the answer is 401
} gw_own_headers;

typedef struct gw_response_out {
  int status;
  bool v1;
  bool close;
  bool keep_alive_10;  // an HTTP/1.0 client that asked to stay
  bool websocket;
  bool chunked;
  int64_t content_length;  // -1: none is written
  gw_own_headers own;
} gw_response_out;
size_t gw_head_write_response(const gw_head *h, const gw_response_out *r, char *out, size_t cap);
const char *gw_status_reason(int status);

#endif
