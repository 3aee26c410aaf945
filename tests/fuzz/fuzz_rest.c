// Fuzzes the management API's door: the input's lines are method, path, query, Accept and body, the rest is what the
// services answer. Whatever comes in, each call ends in pieces of which the first has a status of the HTTP surface.
#include <stdlib.h>
#include <string.h>

#include "ecolink/log.h"
#include "mgmt_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 5, PIECES_MAX = 6 };

static const uint8_t *reply;
static size_t reply_len;
static int pieces;
static bool more;

static void answer_from_input(eco_service *svc, const char *method, const Ecolink__V1__RequestContext *context,
                              const uint8_t *request, size_t request_len, int timeout_ms, eco_rpc_done_fn done,
                              void *arg) {
  (void)svc;
  (void)method;
  (void)context;
  (void)request;
  (void)request_len;
  (void)timeout_ms;
  const eco_code code = reply_len == 0 ? ECO_CONTROL_PLANE_UNAVAILABLE : reply[0] == 0xFF ? ECO_FORBIDDEN : ECO_OK;
  done(arg, code == ECO_OK ? eco_success() : eco_error(code, "from the input"), reply, reply_len);
}

static void on_piece(void *arg, const gw_mgmt_piece *piece) {
  (void)arg;
  pieces++;
  more = piece->more;
  if (piece->status < 200 || piece->status > 599 || piece->content_type == NULL ||
      (piece->body_len > 0 && piece->body == NULL)) {
    abort();
  }
}

static gw_mgmt *door(void) {
  static gw_mgmt *m;
  if (m == NULL) {
    gw_mgmt_conf =
        (gw_mgmt_config){.public_url = "http://127.0.0.1",
                         .seal_public_key = "4f1c2d0e7b3a59687766554433221100ffeeddccbbaa99887766554433221109",
                         .idempotency_secret = "a secret of the fuzzer's own"};
    if (!eco_ok(gw_mgmt_new_with(NULL, answer_from_input, &m))) {
      abort();
    }
  }
  return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  char *fields[FIELDS] = {0};
  memcpy(text, data, size);
  text[size] = '\0';
  char *at = text;
  for (int i = 0; i < FIELDS; i++) {
    fields[i] = at;
    char *end = memchr(at, '\n', (size_t)(text + size - at));
    at = end == NULL ? text + size : end + 1;
    if (end != NULL) {
      *end = '\0';
    }
  }
  reply = (const uint8_t *)at;
  reply_len = (size_t)(text + size - at);
  pieces = 0;
  const gw_mgmt_request request = {
      .method = fields[0],
      .path = fields[1],
      .query = fields[2],
      .accept = fields[3],
      .body = (const uint8_t *)fields[4],
      .body_len = strlen(fields[4]),
      .content_type = "application/json",
      .idempotency_key = "",
      .request_id = "req",
      .trace_id = "",
      .caller = {.account_id = "acc",
                 .key_id = "key",
                 .member_id = "",
                 .operator_id = "",
                 .role = strncmp(fields[1], "/admin", 6) == 0 ? ECOLINK__V1__ROLE__ROLE_OPERATOR
                                                              : ECOLINK__V1__ROLE__ROLE_OWNER}};
  eco_log_init("fuzz", ECO_LOG_JSON, (eco_log_level)(ECO_LOG_ERROR + 1));
  gw_mgmt_call *call = gw_mgmt_start(door(), &request, on_piece, NULL);
  while (more && pieces < PIECES_MAX) {
    gw_mgmt_next(call);
  }
  if (pieces == 0) {
    abort();
  }
  gw_mgmt_release(call);
  free(text);
  return 0;
}
