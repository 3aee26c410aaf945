// HTTP towards the gateway, by libcurl. One handle, one request at a time.
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/buf.h"
#include "ecolink/status.h"

enum {
  CLI_ANSWER_MAX = 64 * 1024 * 1024,  // of an answer kept in memory
  CLI_HEADER_MAX = 128,
};

typedef struct cli_http cli_http;

// Gets the pieces of a streamed answer with a 2xx status; false stops the request.
typedef bool (*cli_http_piece_fn)(void *arg, const char *p, size_t n);

typedef struct cli_request {
  const char *method;
  const char *path;  // with query, beginning with '/'
  const char *body;  // NULL: none
  size_t body_len;
  const char *accept;           // NULL: application/json
  const char *idempotency_key;  // NULL: none
  cli_http_piece_fn piece;      // NULL: the answer is kept
  void *arg;
  int timeout_s;  // 0: none (streams)
} cli_request;

typedef struct cli_answer {
  long status;
  char request_id[CLI_HEADER_MAX];
  char region[CLI_HEADER_MAX];
  char content_type[CLI_HEADER_MAX];
  int64_t retry_after_s;
  double first_byte_s;  // from sending to the first byte of the body
  eco_buf body;         // kept answers, and every answer that is no 2xx. Freed by cli_answer_free
} cli_answer;

// url, key and ca_file are borrowed until free. ca_file may be NULL.
ECO_CHECKED eco_status cli_http_new(const char *url, const char *key, const char *ca_file, cli_http **out);
void cli_http_free(cli_http *http);
// A failure means that no (whole) answer came: CONTROL_PLANE_UNAVAILABLE when the gateway was not reached or broke off,
// UPSTREAM_TIMEOUT, TOO_LARGE. Interrupted or stopped by `piece`: success with what came so far.
ECO_CHECKED eco_status cli_http_do(cli_http *http, const cli_request *request, cli_answer *out);
void cli_answer_free(cli_answer *answer);

#endif
