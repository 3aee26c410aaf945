// The moves of a hold: placed, settled, closed, refused. Each books its ledger rows, changes the hold and tells of it,
// inside the caller's transaction and under the account's lock; the caller publishes the balance once, at the end.
#ifndef BILLING_HOLDS_H
#define BILLING_HOLDS_H

#include "cycle.h"
#include "ecolink/service.h"
#include "store.h"

typedef struct holds_placement {
  int64_t instance_id;
  int64_t cycle;
  const char *model;
  int64_t started_at_us;
  cycle_next next;  // FULL or PARTIAL
} holds_placement;

ECO_CHECKED eco_status holds_place(eco_ctx *ctx, eco_tx *tx, store_account *account, const holds_placement *placement,
                                   Ecolink__V1__HoldState **out);
// Charges what the reading proves and gives the rest back. `tell`: publish the state (false when a next cycle follows
// at once).
ECO_CHECKED eco_status holds_settle(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_hold *hold,
                                    const cycle_reading *reading, int64_t ends_at_us, bool tell, cycle_settlement *out);
// Gives the hold back whole.
ECO_CHECKED eco_status holds_close(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_hold *hold);
// Marks that the cycle after `hold` has no credit: the instance stops, its owner is told.
ECO_CHECKED eco_status holds_refuse(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_hold *hold,
                                    int64_t at_us);
// A row that bars the hold of (instance, cycle) before it was placed.
ECO_CHECKED eco_status holds_bar(eco_ctx *ctx, eco_tx *tx, const char *account_id, int64_t instance_id, int64_t cycle,
                                 Ecolink__V1__HoldState **out);

#endif
