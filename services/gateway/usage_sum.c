// Aggregation; see usage_sum.h.
#include "usage_sum.h"

#include <string.h>

#include "snapshot_shard.h"

enum { SLOTS = GW_USAGE_BATCH * 2 };

void gw_usage_sums_init(gw_usage_sums *s) {
  memset(s, 0, sizeof *s);
}

void gw_usage_sums_clear(gw_usage_sums *s) {
  for (size_t i = 0; i < s->n; i++) {
    s->used[i]->cell = NULL;
  }
  s->n = 0;
}

bool gw_usage_sums_add(gw_usage_sums *s, const gw_usage_record *r) {
  uint64_t hash =
      gw_mix64((uint64_t)(uintptr_t)r->cell ^ gw_mix64((uint64_t)r->instance_id ^ gw_mix64((uint64_t)r->minute_us)));
  size_t i = (size_t)(hash % SLOTS);
  while (s->slots[i].cell && (s->slots[i].cell != r->cell || s->slots[i].record.instance_id != r->instance_id ||
                              s->slots[i].record.minute_us != r->minute_us)) {
    i = (i + 1) % SLOTS;
  }
  gw_usage_sum *sum = &s->slots[i];
  if (!sum->cell) {
    if (s->n == GW_USAGE_BATCH) {
      return false;
    }
    s->used[s->n++] = sum;
    sum->cell = r->cell;
    ecolink__v1__usage_record__init(&sum->record);
    sum->record.account_id = (char *)r->cell->account_id;
    sum->record.key_id = (char *)r->cell->key_id;
    sum->record.instance_id = r->instance_id;
    sum->record.minute_us = r->minute_us;
  }
  sum->record.requests++;
  sum->record.errors += r->error;
  sum->record.prompt_tokens += r->prompt_tokens;
  sum->record.completion_tokens += r->completion_tokens;
  sum->record.bytes_in += r->bytes_in;
  sum->record.bytes_out += r->bytes_out;
  sum->record.time_to_first_byte_us_sum += r->first_byte_us;
  return true;
}

void gw_usage_sums_fill(gw_usage_sums *s, Ecolink__V1__UsageBatch *batch) {
  for (size_t i = 0; i < s->n; i++) {
    s->pointers[i] = &s->used[i]->record;
  }
  batch->n_records = s->n;
  batch->records = s->pointers;
}
