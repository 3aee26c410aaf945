// The only door to billing's tables. Everything runs in the transaction that is passed in; whoever changes money has
// locked the account first (store_account_lock), so that an account's changes happen one after the other.
//
// Strings and structures that come back live in ctx->arena.
#ifndef BILLING_STORE_H
#define BILLING_STORE_H

#include "cycle.h"
#include "ecolink/service.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "ledger.h"

// ---- accounts (store.c) ----
typedef struct store_account {
  const char *id;
  int64_t version;
  int64_t sequence;
  int64_t available_micros;
  int64_t held_micros;
  uint8_t chain_head[LEDGER_HASH_LEN];
  int notice_minutes;
} store_account;

// Creates an empty wallet when there is none. `name` may be NULL: unknown yet.
ECO_CHECKED eco_status store_account_ensure(eco_ctx *ctx, eco_tx *tx, const char *id, const char *name, bool *created);
ECO_CHECKED eco_status store_account_exists(eco_tx *tx, const char *id, bool *exists);
// Row lock until the transaction ends. NOT_FOUND when there is no such account.
ECO_CHECKED eco_status store_account_lock(eco_ctx *ctx, eco_tx *tx, const char *id, store_account *out);
ECO_CHECKED eco_status store_account_read(eco_ctx *ctx, eco_tx *tx, const char *id, store_account *out);
// Writes balance, sequence, chain and notice state back and raises the version.
ECO_CHECKED eco_status store_account_save(eco_tx *tx, store_account *account);
ECO_CHECKED eco_status store_account_save_notice(eco_tx *tx, const char *id, int notice_minutes);
// Accounts by id after `after_id`, at most `limit`.
ECO_CHECKED eco_status store_accounts_page(eco_ctx *ctx, eco_tx *tx, const char *after_id, int64_t limit,
                                           store_account **out, size_t *count);

// ---- ledger (store_ledger.c) ----
typedef struct store_booking {
  const char *key;  // unique: one business event is booked once
  const char *kind;
  const char *created_by;   // operator, or ""
  const char *description;  // of every customer row, unless `descriptions` has one
  const char *descriptions[LEDGER_ROWS_MAX];
  int64_t instance_id;  // 0: none
  ledger_posting posting;
} store_booking;

// Appends the booking and moves the locked account's balance, held sum, sequence and chain (saved by
// store_account_save). A posting without rows books nothing. *last may be NULL; it gets the last customer row.
ECO_CHECKED eco_status store_book(eco_ctx *ctx, eco_tx *tx, store_account *account, const store_booking *booking,
                                  Ecolink__V1__Transaction **last);

typedef struct store_ledger_query {
  const char *account_id;
  int64_t before_sequence;  // INT64_MAX: from the newest
  const char *type;         // "" all
  int64_t instance_id;      // 0: all
  int64_t limit;
} store_ledger_query;
ECO_CHECKED eco_status store_ledger_list(eco_ctx *ctx, eco_tx *tx, const store_ledger_query *query,
                                         Ecolink__V1__Transaction ***out, size_t *count);

ECO_CHECKED eco_status store_correction_insert(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__Correction *correction);
// Row lock; *out NULL when there is no such correction.
ECO_CHECKED eco_status store_correction_lock(eco_ctx *ctx, eco_tx *tx, const char *id, Ecolink__V1__Correction **out);
ECO_CHECKED eco_status store_correction_approve(eco_ctx *ctx, eco_tx *tx, const char *id, const char *approved_by);

// ---- instances and holds (store_hold.c) ----
// An open hold with its instance.
typedef struct store_hold {
  int64_t instance_id;
  int64_t cycle;
  const char *account_id;
  const char *model;
  int64_t hold_version;
  int instance_status;  // Ecolink__V1__InstanceStatus
  int ready_replicas;
  int64_t due_seen_us;
  int64_t metered_until_us;
  int64_t metered_seconds;
  cycle_hold rule;
} store_hold;

// What the launch fixed; kept by the first hold.
typedef struct store_terms {
  int64_t instance_id;
  const char *account_id;
  const char *model;
  cycle_terms terms;
} store_terms;

// Makes the instance's row when the scheduler's event has not yet; FORBIDDEN when it belongs to another account.
ECO_CHECKED eco_status store_instance_ensure(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, const char *account_id);
ECO_CHECKED eco_status store_instance_set_terms(eco_ctx *ctx, eco_tx *tx, const store_terms *terms);
ECO_CHECKED eco_status store_instance_seen(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, const char *account_id,
                                           const char *model, int status, int ready_replicas);
// The state that HoldState shows; *out NULL when (instance, cycle) is unknown.
ECO_CHECKED eco_status store_hold_find(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, int64_t cycle,
                                       Ecolink__V1__HoldState **out);
// Adds a row and makes it the newest cycle. For a status that has ended (REFUSED, CLOSED) it ends at once.
ECO_CHECKED eco_status store_hold_insert(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__HoldState *hold);
// Ends an open hold, exactly once: INTERNAL when it is not open. The instance's charged time moves with a settlement
// (NULL: none).
ECO_CHECKED eco_status store_hold_end(eco_ctx *ctx, eco_tx *tx, const store_hold *hold, Ecolink__V1__HoldStatus status,
                                      const cycle_settlement *settlement);
// Raises the instance's hold version and returns it.
ECO_CHECKED eco_status store_hold_bump(eco_tx *tx, int64_t instance_id, int64_t cycle, int64_t *version_out);
ECO_CHECKED eco_status store_hold_due_seen(eco_ctx *ctx, eco_tx *tx, const store_hold *hold);
// Open holds of an account, by expiry and instance.
ECO_CHECKED eco_status store_holds_open(eco_ctx *ctx, eco_tx *tx, const char *account_id, store_hold **out,
                                        size_t *count);
// Open holds that need a look: due, of an instance that ends, partial with new credit, or not compared for reconcile_s.
// All of an account's together; of at most `accounts` accounts.
ECO_CHECKED eco_status store_holds_candidates(eco_ctx *ctx, eco_tx *tx, int64_t reconcile_s, int64_t accounts,
                                              store_hold **out, size_t *count);
// What a reading said, for estimates and reconciliation.
ECO_CHECKED eco_status store_instance_metered(eco_ctx *ctx, eco_tx *tx, int64_t instance_id, int status,
                                              int64_t until_us, int64_t seconds);
typedef struct store_hold_page_row {
  const char *entity_id;
  int64_t version;
  Ecolink__V1__HoldState *state;
} store_hold_page_row;
ECO_CHECKED eco_status store_holds_page(eco_ctx *ctx, eco_tx *tx, const char *after_id, int64_t limit,
                                        store_hold_page_row **out, size_t *count);

// ---- notices and usage (store_usage.c) ----
ECO_CHECKED eco_status store_notice_insert(eco_ctx *ctx, eco_tx *tx, const Ecolink__V1__Notice *notice);
// Newest first; *cursor_out is the number of the last one returned.
ECO_CHECKED eco_status store_notices_list(eco_ctx *ctx, eco_tx *tx, const char *account_id, int64_t before_number,
                                          int64_t limit, Ecolink__V1__Notice ***out, size_t *count, int64_t **numbers);
// Accounts with open holds or a low-balance episode under way.
ECO_CHECKED eco_status store_accounts_burning(eco_ctx *ctx, eco_tx *tx, const char ***out, size_t *count);
ECO_CHECKED eco_status store_usage_add(eco_tx *tx, const Ecolink__V1__UsageRecord *record, int64_t day);

typedef struct store_usage_query {
  const char *account_id;
  int64_t from_day, to_day;  // days since 1970-01-01, inclusive
  int64_t instance_id;       // 0: all
  // Position of the last row of the page before; after_day INT64_MAX: from the start.
  int64_t after_day, after_instance;
  const char *after_key;
  int64_t limit;
} store_usage_query;
ECO_CHECKED eco_status store_usage_list(eco_ctx *ctx, eco_tx *tx, const store_usage_query *query,
                                        Ecolink__V1__UsageRow ***out, size_t *count, int64_t **days);

#endif
