// Replay of answers: a mutation with an idempotency key has one effect and one answer, however often it is asked.
// Scope: account, HTTP method, path and key; bodies are compared by keyed hash. Final answers are kept for a day,
// transient ones not at all; an answer that held a secret is replayed without it.
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/json_pb.h"
#include "ecolink/log.h"
#include "kit.h"

enum { IDEM_POLL_MS = 50, IDEM_WAIT_DEFAULT_MS = 5000 };

static const char SQL_CLAIM[] =
    "INSERT INTO idempotency (scope, body_hash, done, created_us) VALUES ($1, $2, false, $3)"
    " ON CONFLICT (scope) DO NOTHING";
static const char SQL_LOOK[] = "SELECT body_hash, done, code, message, param, reply FROM idempotency WHERE scope = $1";
static const char SQL_FINISH[] =
    "UPDATE idempotency SET done = true, code = $2, message = $3, param = $4, reply = $5 WHERE scope = $1";
static const char SQL_FORGET[] = "DELETE FROM idempotency WHERE scope = $1";

static eco_status mismatch(void) {
  return eco_error_param(ECO_IDEMPOTENCY_MISMATCH, "Idempotency-Key",
                         "this Idempotency-Key was used with another body: use a new key for a new request");
}

// Reads the record. *found: KIT_IDEM_REPLAY when it is there; *done tells whether its answer is.
static eco_status look(eco_ctx *ctx, eco_tx *tx, kit_idem_found *found, bool *done, kit_idem_answer *answer) {
  eco_rows *rows;
  *found = KIT_IDEM_NEW;
  *done = false;
  ECO_TRY(eco_tx_exec(tx, SQL_LOOK, &rows, ECO_PARAMS(eco_p_str(ctx->idem_scope))));
  if (eco_rows_count(rows) == 0) {
    return eco_success();
  }
  uint8_t *hash;
  size_t hash_len;
  eco_row_bytes(rows, 0, 0, ctx->arena, &hash, &hash_len);
  if (hash_len != ctx->idem_hash_len || memcmp(hash, ctx->idem_hash, hash_len) != 0) {
    return mismatch();
  }
  *found = KIT_IDEM_REPLAY;
  *done = eco_row_bool(rows, 0, 1);
  const char *code = eco_row_str(rows, 0, 2);
  answer->status = code[0] == '\0' ? eco_success()
                                   : eco_error_param(eco_code_from_word(code), eco_row_str(rows, 0, 4), "%s",
                                                     eco_row_str(rows, 0, 3));
  eco_row_bytes(rows, 0, 5, ctx->arena, &answer->reply, &answer->reply_len);
  return eco_success();
}

eco_status eco_idem_begin(eco_ctx *ctx, eco_tx *tx) {
  if (ctx->idem_scope[0] == '\0') {
    return eco_success();
  }
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(
      tx, SQL_CLAIM, &rows,
      ECO_PARAMS(eco_p_str(ctx->idem_scope), eco_p_bytes(ctx->idem_hash, ctx->idem_hash_len), eco_p_i64(ctx->now_us))));
  ctx->idem_taken = eco_rows_affected(rows) == 0;
  if (ctx->idem_taken) {
    return eco_error(ECO_IN_PROGRESS, "a request with this Idempotency-Key is still running: ask again for its answer");
  }
  return eco_success();
}

eco_status eco_idem_finish(eco_tx *tx, const char *scope, eco_status outcome, const ProtobufCMessage *reply) {
  if (scope == NULL || scope[0] == '\0') {
    return eco_success();
  }
  // A bug's answer is not kept either: once it is mended, the same key has to work.
  if (eco_code_is_transient(outcome.code) || outcome.code == ECO_INTERNAL) {
    return eco_tx_exec(tx, SQL_FORGET, NULL, ECO_PARAMS(eco_p_str(scope)));
  }
  eco_arena *arena = eco_arena_new();
  uint8_t *packed = NULL;
  size_t len = 0;
  if (eco_ok(outcome) && reply != NULL) {
    // Stripped on a copy: the caller still sends the original.
    size_t n = protobuf_c_message_get_packed_size(reply);
    uint8_t *whole = eco_alloc(arena, n + 1);
    protobuf_c_message_pack(reply, whole);
    ProtobufCMessage *copy = protobuf_c_message_unpack(reply->descriptor, eco_arena_pb(arena), n, whole);
    if (copy != NULL) {
      eco_pb_strip_secrets(copy);
      len = protobuf_c_message_get_packed_size(copy);
      packed = eco_alloc(arena, len + 1);
      protobuf_c_message_pack(copy, packed);
    }
  }
  eco_status st = eco_tx_exec(tx, SQL_FINISH, NULL,
                              ECO_PARAMS(eco_p_str(scope), eco_p_str(eco_code_word(outcome.code)),
                                         eco_p_str(eco_ok(outcome) ? "" : outcome.message),
                                         eco_p_str(eco_ok(outcome) ? "" : outcome.param), eco_p_bytes(packed, len)));
  eco_arena_free(arena);
  return st;
}

eco_status kit_idem_claim(eco_ctx *ctx, eco_tx *tx, kit_idem_found *found, kit_idem_answer *answer) {
  *found = KIT_IDEM_NEW;
  eco_rows *rows;
  // Waits here while another transaction with the same scope runs.
  ECO_TRY(eco_tx_exec(
      tx, SQL_CLAIM, &rows,
      ECO_PARAMS(eco_p_str(ctx->idem_scope), eco_p_bytes(ctx->idem_hash, ctx->idem_hash_len), eco_p_i64(ctx->now_us))));
  if (eco_rows_affected(rows) == 1) {
    return eco_success();
  }
  bool done;
  ECO_TRY(look(ctx, tx, found, &done, answer));
  if (*found == KIT_IDEM_REPLAY && !done) {
    return eco_error(ECO_IN_PROGRESS, "a request with this Idempotency-Key is still running: ask again for its answer");
  }
  return eco_success();
}

eco_status kit_idem_wait(eco_ctx *ctx, kit_idem_found *found, kit_idem_answer *answer) {
  int64_t until = ctx->deadline_ms > 0 ? ctx->deadline_ms : eco_boottime_ms() + IDEM_WAIT_DEFAULT_MS;
  for (;;) {
    eco_tx *tx = NULL;
    bool done;
    ECO_TRY(eco_tx_begin(ctx->db, &tx));
    eco_status st = look(ctx, tx, found, &done, answer);
    eco_tx_rollback(tx);
    ECO_TRY(st);
    if (*found == KIT_IDEM_NEW || done) {
      return eco_success();
    }
    if (eco_boottime_ms() + 2 * (int64_t)IDEM_POLL_MS >= until || kit_sleep(ctx->service, IDEM_POLL_MS)) {
      return eco_error(ECO_IN_PROGRESS,
                       "a request with this Idempotency-Key is still running: ask again for its answer");
    }
  }
}
