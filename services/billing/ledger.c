// Postings and the hash chain; see ledger.h for the table of entries.
#include "ledger.h"

#include <inttypes.h>
#include <string.h>

#include "ecolink/buf.h"
#include "ecolink/id.h"
#include "ecolink/money.h"

enum { CANONICAL_MAX = 4096 };

static const char *const type_words[] = {
    [LEDGER_TOPUP] = "topup",
    [LEDGER_AUTO_RECHARGE] = "auto_recharge",
    [LEDGER_GPU_USAGE] = "gpu_usage",
    [LEDGER_REFUND] = "refund",
    [LEDGER_STORAGE_BILLING] = "storage_billing",
    [LEDGER_BONUS_CREDIT] = "bonus",
    [LEDGER_ADMIN_CORRECTION] = "admin_correction",
    [LEDGER_API_USAGE] = "api_usage",
    [LEDGER_HOLD] = "hold",
    [LEDGER_HOLD_RELEASE] = "hold_release",
};
enum { TYPE_COUNT = sizeof type_words / sizeof *type_words };

const char *ledger_type_word(ledger_type type) {
  return (int)type > 0 && (int)type < TYPE_COUNT ? type_words[type] : "";
}

ledger_type ledger_type_from_word(const char *word) {
  for (int i = 1; i < TYPE_COUNT; i++) {
    if (strcmp(type_words[i], word) == 0) {
      return (ledger_type)i;
    }
  }
  return (ledger_type)0;
}

static void add_row(ledger_posting *p, ledger_type type, int64_t amount_micros, const char *against) {
  if (amount_micros != 0) {
    p->rows[p->count++] = (ledger_row){type, amount_micros, against};
  }
}

ledger_posting ledger_hold(int64_t hold_micros) {
  ledger_posting p = {.count = 0};
  add_row(&p, LEDGER_HOLD, -hold_micros, LEDGER_HELD);
  return p;
}

ledger_posting ledger_settlement(int64_t charge_micros, int64_t refund_micros) {
  ledger_posting p = {.count = 0};
  add_row(&p, LEDGER_HOLD_RELEASE, charge_micros, LEDGER_HELD);
  add_row(&p, LEDGER_GPU_USAGE, -charge_micros, LEDGER_REVENUE);
  add_row(&p, LEDGER_REFUND, refund_micros, LEDGER_HELD);
  return p;
}

ledger_posting ledger_close(int64_t hold_micros) {
  return ledger_settlement(0, hold_micros);
}

ledger_posting ledger_topup(int64_t amount_micros) {
  ledger_posting p = {.count = 0};
  add_row(&p, LEDGER_TOPUP, amount_micros, LEDGER_FUNDING);
  return p;
}

ledger_posting ledger_correction(int64_t amount_micros) {
  ledger_posting p = {.count = 0};
  add_row(&p, LEDGER_ADMIN_CORRECTION, amount_micros, LEDGER_CORRECTIONS);
  return p;
}

bool ledger_hash(const uint8_t previous[LEDGER_HASH_LEN], const ledger_entry *entry, uint8_t out[LEDGER_HASH_LEN]) {
  eco_buf text;
  eco_buf_init(&text, CANONICAL_MAX);
  bool fits =
      eco_buf_append(&text, previous, LEDGER_HASH_LEN) &&
      eco_buf_printf(
          &text, "ecolink-ledger-1\n%s\n%" PRId64 "\n%s\n%s\n%s\n%" PRId64 "\n%" PRId64 "\n%" PRId64 "\n%" PRId64 "\n",
          entry->account_id, entry->sequence, entry->id, entry->key, entry->type, entry->amount_micros,
          entry->balance_after_micros, entry->instance_id, entry->created_at_us) &&
      eco_buf_puts(&text, entry->description);
  if (fits) {
    eco_sha256(text.data, text.len, out);
  }
  eco_buf_free(&text);
  return fits;
}

size_t ledger_verify(const ledger_entry *entries, size_t count) {
  uint8_t head[LEDGER_HASH_LEN] = {0};
  int64_t balance = 0;
  for (size_t i = 0; i < count; i++) {
    const ledger_entry *e = &entries[i];
    uint8_t hash[LEDGER_HASH_LEN];
    if (e->sequence != (int64_t)i + 1 || !eco_money_add(balance, e->amount_micros, &balance) ||
        balance != e->balance_after_micros || !ledger_hash(head, e, hash) || memcmp(hash, e->hash, sizeof hash) != 0) {
      return i;
    }
    memcpy(head, hash, sizeof head);
  }
  return count;
}
