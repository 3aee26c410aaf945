// What billing tells the others: events, KV entries and snapshots. All of it leaves by the outbox of the given
// transaction; whoever calls holds the account's lock.
#ifndef BILLING_PUBLISH_H
#define BILLING_PUBLISH_H

#include "ecolink/service.h"
#include "store.h"

// Saves the locked account and tells of its balance: event balance.changed and the KV entry `standing`.
ECO_CHECKED eco_status publish_balance(eco_ctx *ctx, eco_tx *tx, store_account *account);
// Event hold.<verb> with the instance's next hold version.
ECO_CHECKED eco_status publish_hold(eco_ctx *ctx, eco_tx *tx, const char *verb, const Ecolink__V1__HoldState *hold);
// Writes a notice and its event. instance_id 0: about the account.
ECO_CHECKED eco_status publish_notice(eco_ctx *ctx, eco_tx *tx, const char *account_id, const char *type,
                                      Ecolink__V1__NoticeSeverity severity, const char *message, int64_t instance_id);

eco_status publish_snapshot_hold(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status publish_snapshot_balance(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
eco_status publish_kv_standing(eco_ctx *ctx, eco_kv_sink *sink);
// Platform models have no prices yet: the bucket exists and is empty.
eco_status publish_kv_prices(eco_ctx *ctx, eco_kv_sink *sink);

#endif
