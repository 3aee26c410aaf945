// The double-entry ledger's rules: which entries a business event is made of, and the hash chain over a customer's
// rows.
//
// Pure: no I/O, any thread. A posting is one ledger transaction: its entries sum to zero. Customer entries change the
// available balance and carry sequence, balance after, and a hash over the row and the hash before it; platform entries
// are plain amounts, and a platform account's balance is their sum.
//
//   event           customer rows, in order            against
//   hold            hold -H                            held +H
//   settlement      hold_release +c                    held -c
//                   gpu_usage -c                       revenue +c
//                   refund +(H-c)                      held -(H-c)
//   closed hold     refund +H                          held -H
//   top-up          topup +a                           funding -a
//   correction      admin_correction +-a               corrections -+a
//
// Rows of zero are not written.
#ifndef BILLING_LEDGER_H
#define BILLING_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_HELD "platform:held"
#define LEDGER_REVENUE "platform:revenue"
#define LEDGER_FUNDING "platform:funding"
#define LEDGER_BONUS "platform:bonus"
#define LEDGER_UNCOLLECTED "platform:uncollected"
#define LEDGER_CORRECTIONS "platform:corrections"

enum { LEDGER_HASH_LEN = 32, LEDGER_ROWS_MAX = 3, LEDGER_TYPE_MAX = 24 };

// Customer row types, as the ledger shows them.
typedef enum ledger_type {
  LEDGER_TOPUP = 1,  // numbered as proto's TransactionType
  LEDGER_AUTO_RECHARGE,
  LEDGER_GPU_USAGE,
  LEDGER_REFUND,
  LEDGER_STORAGE_BILLING,
  LEDGER_BONUS_CREDIT,
  LEDGER_ADMIN_CORRECTION,
  LEDGER_API_USAGE,
  LEDGER_HOLD,
  LEDGER_HOLD_RELEASE,
} ledger_type;

// A customer row and the platform account that takes its counterpart.
typedef struct ledger_row {
  ledger_type type;
  int64_t amount_micros;  // signed: effect on the available balance
  const char *against;    // LEDGER_*
} ledger_row;

typedef struct ledger_posting {
  ledger_row rows[LEDGER_ROWS_MAX];
  size_t count;
} ledger_posting;

// What the hash of a customer row covers.
typedef struct ledger_entry {
  const char *account_id;
  int64_t sequence;
  const char *id;   // txn_...
  const char *key;  // the transaction's unique key
  const char *type;
  int64_t amount_micros;
  int64_t balance_after_micros;
  int64_t instance_id;  // 0: none
  int64_t created_at_us;
  const char *description;
  uint8_t hash[LEDGER_HASH_LEN];
} ledger_entry;

ledger_posting ledger_hold(int64_t hold_micros);
// charge + refund = hold; each >= 0.
ledger_posting ledger_settlement(int64_t charge_micros, int64_t refund_micros);
ledger_posting ledger_close(int64_t hold_micros);
ledger_posting ledger_topup(int64_t amount_micros);
ledger_posting ledger_correction(int64_t amount_micros);

// "hold", "gpu_usage", ...; "" for none.
const char *ledger_type_word(ledger_type type);
// 0 for an unknown word.
ledger_type ledger_type_from_word(const char *word);

// sha256(previous || canonical text of the row). Canonical text, each field on its own line, the description last
// because it alone may hold line breaks: ecolink-ledger-1, account, sequence, id, key, type, amount, balance after,
// instance (0: none), created at in microseconds, description. The chain of an account begins with 32 zero bytes. False
// when the row is larger than any that is written.
bool ledger_hash(const uint8_t previous[LEDGER_HASH_LEN], const ledger_entry *entry, uint8_t out[LEDGER_HASH_LEN])
    __attribute__((warn_unused_result));

// Recomputes sequence, balances and chain of an account's entries, from its first. Returns the index of the first entry
// that is wrong, or `count` when all is well.
size_t ledger_verify(const ledger_entry *entries, size_t count);

#endif
