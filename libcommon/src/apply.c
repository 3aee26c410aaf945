// One event, applied in one transaction: inbox row, version, handler, outbox rows, commit. Order, duplication and loss
// do not matter: a duplicate meets its inbox row, an old state meets a higher version, a lost one comes with the next
// snapshot.
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "kit.h"

static const char SQL_INBOX[] =
    "INSERT INTO inbox (consumer, event_id, at_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
// Takes the entity's row lock as well, so that two copies of a service apply one after the other.
static const char SQL_VERSION[] =
    "INSERT INTO entity_versions AS v (consumer, entity_id, version) VALUES ($1, $2, $3)"
    " ON CONFLICT (consumer, entity_id) DO UPDATE SET version = excluded.version WHERE v.version < excluded.version";

void kit_consumer_name(const eco_service_def *def, const eco_consumer_def *c, char out[KIT_NAME_MAX]) {
  snprintf(out, KIT_NAME_MAX, "%s_%s_%s", def->name, c->owner, c->entity);
}

// *fresh: the event has not had its effect yet.
static eco_status claim(eco_ctx *ctx, const eco_consumer_def *c, const Ecolink__V1__Event *event, bool *fresh) {
  char consumer[KIT_NAME_MAX];
  eco_rows *rows;
  kit_consumer_name(ctx->service->def, c, consumer);
  *fresh = false;
  if (event->id[0] != '\0') {
    ECO_TRY(eco_tx_exec(ctx->tx, SQL_INBOX, &rows,
                        ECO_PARAMS(eco_p_str(consumer), eco_p_str(event->id), eco_p_i64(ctx->now_us))));
    if (eco_rows_affected(rows) == 0) {
      return eco_success();
    }
  }
  if (c->snapshot) {
    ECO_TRY(
        eco_tx_exec(ctx->tx, SQL_VERSION, &rows,
                    ECO_PARAMS(eco_p_str(consumer), eco_p_str(event->entity_id), eco_p_i64(event->entity_version))));
    if (eco_rows_affected(rows) == 0) {
      return eco_success();
    }
  }
  *fresh = true;
  return eco_success();
}

static eco_status apply_in_tx(eco_ctx *ctx, const eco_consumer_def *c, const Ecolink__V1__Event *event,
                              const char *verb) {
  bool fresh;
  ECO_TRY(claim(ctx, c, event, &fresh));
  if (!fresh) {
    return eco_success();
  }
  void *state = protobuf_c_message_unpack(c->state, eco_arena_pb(ctx->arena), event->state.len, event->state.data);
  if (state == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "the event's state cannot be read as %s", c->state->name);
  }
  return c->fn(ctx, verb, event->entity_id, state);
}

eco_status kit_apply(eco_service *svc, const eco_consumer_def *c, const Ecolink__V1__Event *event, const char *verb) {
  eco_ctx *ctx = eco_ctx_new(svc);
  ctx->request_id = event->request_id;
  ctx->trace_id = event->trace_id;
  eco_log_set_context(event->request_id, event->trace_id);
  eco_status st = eco_tx_begin(svc->db, &ctx->tx);
  if (eco_ok(st)) {
    st = apply_in_tx(ctx, c, event, verb);
    if (eco_ok(st)) {
      st = eco_tx_commit(ctx->tx);
    } else {
      eco_tx_rollback(ctx->tx);
    }
    ctx->tx = NULL;
  }
  if (eco_ok(st)) {
    ECO_CRASH_POINT("kit.event.applied");
  }
  eco_log_set_context(NULL, NULL);
  eco_ctx_free(ctx);
  return st;
}
