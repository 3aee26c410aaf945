// Fuzzes request and response heads: the parser with the gateway's collecting, the request line, the judgement and the
// rebuilt heads. The input's first byte tells where the bytes are split, whether they come from an engine, and how they
// go on. What is written must be one head: parsed again, it has one Host and at most one framing.
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEM = 4096, OUT = 32768 };

typedef struct heads {
  gw_head head;
  gw_request_line line;
  bool done;
  unsigned hosts;
  unsigned framings;
  unsigned ends;
} heads;

static heads *of(llhttp_t *p) {
  return p->data;
}

static int on_url(llhttp_t *p, const char *at, size_t n) {
  return gw_head_add_url(&of(p)->head, at, n) ? 0 : HPE_USER;
}

static int on_name(llhttp_t *p, const char *at, size_t n) {
  return gw_head_add_name(&of(p)->head, at, n) ? 0 : HPE_USER;
}

static int on_value(llhttp_t *p, const char *at, size_t n) {
  return gw_head_add_value(&of(p)->head, at, n) ? 0 : HPE_USER;
}

static int on_head(llhttp_t *p) {
  of(p)->done = true;
  gw_head_finish(&of(p)->head);
  return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
};

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

// What we wrote, read by the same parser.
static void check_written(llhttp_type_t type, const char *out, size_t n) {
  static char mem[2 * OUT];
  heads again = {0};
  llhttp_t parser;
  gw_head_init(&again.head, mem, sizeof mem);
  llhttp_init(&parser, type, &SETTINGS);
  parser.data = &again;
  enum llhttp_errno e = llhttp_execute(&parser, out, n);
  if (e == HPE_USER) {
    return;  // our own lines came on top of the most that is taken
  }
  require(e == HPE_PAUSED && again.done);
  require(n >= 4 && memcmp(out + n - 4, "\r\n\r\n", 4) == 0 && memmem(out, n - 1, "\r\n\r\n", 4) == NULL);
  unsigned hosts = 0;
  unsigned lengths = 0;
  unsigned encodings = 0;
  (void)gw_head_find(&again.head, GW_H_HOST, &hosts);
  (void)gw_head_find(&again.head, GW_H_CONTENT_LENGTH, &lengths);
  (void)gw_head_find(&again.head, GW_H_TRANSFER_ENCODING, &encodings);
  require((type == HTTP_RESPONSE || hosts == 1) && lengths + encodings <= 1);
}

static void write_request(const gw_head *h, const llhttp_t *p, const gw_framing *framing, uint8_t how) {
  static char out[OUT];
  gw_target target;
  if (p->method == HTTP_CONNECT || !eco_ok(gw_target_parse((gw_slice){h->mem, h->url_len}, &target))) {
    return;
  }
  gw_request_out r = {
      .method = llhttp_method_name((llhttp_method_t)p->method),
      .prefix = {"/generate", how & 1 ? 9 : 0},
      .path = target.path,
      .query = target.query,
      .has_query = target.has_query,
      .host = "127.0.0.1:1",
      .token = how & 2 ? "secret" : "",
      .v1 = how & 4,
      .websocket = how & 8,
      .trusted = how & 16,
      .peer = "10.0.0.1",
      .client_host = gw_head_get(h, GW_H_HOST),
      .request_id = "req_x",
      .body = true,
      .chunked = framing->chunked,
      .content_length = framing->content_length < 0 ? 0 : (uint64_t)framing->content_length,
  };
  size_t n = gw_head_write_request(h, &r, out, sizeof out);
  require(n > 0);
  check_written(HTTP_REQUEST, out, n);
}

static void write_response(const gw_head *h, const llhttp_t *p, uint8_t how) {
  static char out[OUT];
  gw_response_out r = {
      .status = p->status_code,
      .v1 = how & 4,
      .close = how & 1,
      .chunked = how & 2,
      .content_length = how & 8 ? 5 : -1,
      .own = {.request_id = "req_x"},
  };
  if (r.status < 200 || r.status > 599) {
    return;
  }
  size_t n = gw_head_write_response(h, &r, out, sizeof out);
  require(n > 0);
  check_written(HTTP_RESPONSE, out, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) {
    return 0;
  }
  const bool engine = data[0] & 128;
  const uint8_t how = data[0] & 31;
  const char *text = (const char *)data + 2;
  const size_t n = size - 2;
  const size_t cut = data[1] < n ? data[1] : n;
  char *mem = malloc(MEM);
  heads h = {0};
  llhttp_t parser;
  gw_framing framing;
  gw_head_init(&h.head, mem, MEM);
  llhttp_init(&parser, engine ? HTTP_RESPONSE : HTTP_REQUEST, &SETTINGS);
  parser.data = &h;
  const bool line = engine || (gw_request_line_feed(&h.line, text, cut) &&
                               (h.line.done || gw_request_line_feed(&h.line, text + cut, n - cut)));
  enum llhttp_errno e = line ? llhttp_execute(&parser, text, cut) : HPE_USER;
  e = e == HPE_OK ? llhttp_execute(&parser, text + cut, n - cut) : e;
  if (h.done && engine) {
    write_response(&h.head, &parser, how);
  } else if (h.done && h.line.done && eco_ok(gw_head_judge(&h.head, parser.http_major, parser.http_minor, &framing))) {
    write_request(&h.head, &parser, &framing, how);
  }
  free(mem);
  return 0;
}
