// Dead letters: messages that fail for a reason of their own (cannot be read, refused by a rule). They are set aside in
// the service's schema, counted, and repaired by the owner's next snapshot; ReplayDeadLetters applies them again.
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "kit.h"

static const char SQL_ADD[] =
    "INSERT INTO dead_letters (id, consumer, entity_id, subject, payload, error, at_us)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
static const char SQL_LIST[] =
    "SELECT id, consumer, payload FROM dead_letters WHERE $1 = '' OR id = $1 ORDER BY at_us LIMIT 1000";
static const char SQL_DROP[] = "DELETE FROM dead_letters WHERE id = $1";

eco_status kit_dead_letter(eco_service *svc, const eco_consumer_def *c, const char *subject, const char *entity_id,
                           const char *event_id, const void *payload, size_t len, const char *error) {
  char consumer[KIT_NAME_MAX];
  char made[ECO_ID_MAX];
  eco_id_new("dl", made);
  kit_consumer_name(svc->def, c, consumer);
  // The event's id is the letter's: a redelivery adds no second one.
  const char *id = event_id[0] != '\0' ? event_id : made;
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  eco_status st = eco_tx_exec(tx, SQL_ADD, NULL,
                              ECO_PARAMS(eco_p_str(id), eco_p_str(consumer), eco_p_str(entity_id), eco_p_str(subject),
                                         eco_p_bytes(payload, len), eco_p_str(error), eco_p_i64(eco_now_us())));
  // The version that was applied last stays: the owner's snapshot has a higher one, and nothing older may come instead.
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  ECO_TRY(eco_tx_commit(tx));
  eco_metric_add(eco_counter("ecolink_dead_letters_total", "Messages set aside", NULL), 1);
  eco_log(ECO_LOG_ERROR, "message set aside as a dead letter: replay it with ReplayDeadLetters", ECO_F_STR("id", id),
          ECO_F_STR("consumer", consumer), ECO_F_STR("entity", entity_id), ECO_F_STR("error", error));
  return eco_success();
}

static const eco_consumer_def *consumer_named(const eco_service_def *def, const char *name) {
  for (const eco_consumer_def *c = def->consumers; c != NULL && c->owner != NULL; c++) {
    char own[KIT_NAME_MAX];
    kit_consumer_name(def, c, own);
    if (strcmp(own, name) == 0) {
      return c;
    }
  }
  return NULL;
}

static eco_status drop(eco_service *svc, const char *id) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  eco_status st = eco_tx_exec(tx, SQL_DROP, NULL, ECO_PARAMS(eco_p_str(id)));
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  return eco_tx_commit(tx);
}

static eco_status replay_one(eco_ctx *ctx, const char *id, const char *consumer, const uint8_t *payload, size_t len) {
  const eco_consumer_def *c = consumer_named(ctx->service->def, consumer);
  Ecolink__V1__Event *event = ecolink__v1__event__unpack(eco_arena_pb(ctx->arena), len, payload);
  if (c == NULL || event == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "dead letter %s: no consumer %s, or it cannot be read", id, consumer);
  }
  const char *dot = strchr(event->type, '.');
  ECO_TRY(eco_context(kit_apply(ctx->service, c, event, dot != NULL ? dot + 1 : ""), "dead letter %s", id));
  ECO_CRASH_POINT("kit.dead_letter.applied");
  return drop(ctx->service, id);
}

typedef struct letter {
  const char *id;
  const char *consumer;
  uint8_t *payload;
  size_t len;
} letter;

static eco_status list_letters(eco_ctx *ctx, const char *id, letter **out, size_t *count) {
  eco_tx *tx = NULL;
  eco_rows *rows;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = eco_tx_exec(tx, SQL_LIST, &rows, ECO_PARAMS(eco_p_str(id)));
  *count = eco_ok(st) ? eco_rows_count(rows) : 0;
  *out = eco_alloc_array(ctx->arena, *count + 1, sizeof **out);
  for (size_t i = 0; i < *count; i++) {
    (*out)[i].id = eco_strdup(ctx->arena, eco_row_str(rows, i, 0));
    (*out)[i].consumer = eco_strdup(ctx->arena, eco_row_str(rows, i, 1));
    eco_row_bytes(rows, i, 2, ctx->arena, &(*out)[i].payload, &(*out)[i].len);
  }
  eco_tx_rollback(tx);
  return st;
}

eco_status kit_rpc_replay_dead_letters(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ReplayDeadLettersRequest *req = request;
  Ecolink__V1__ReplayDeadLettersResponse *resp = reply;
  letter *letters;
  size_t n;
  ECO_TRY(list_letters(ctx, req->id, &letters, &n));
  eco_status last = eco_success();
  for (size_t i = 0; i < n; i++) {
    eco_status st = replay_one(ctx, letters[i].id, letters[i].consumer, letters[i].payload, letters[i].len);
    if (eco_ok(st)) {
      resp->replayed++;
    } else if (eco_code_is_transient(st.code)) {
      return st;
    } else {
      last = st;  // it stays; those behind it have their turn all the same
    }
  }
  return last;
}
