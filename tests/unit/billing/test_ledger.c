// Postings, their order and signs, and the hash chain.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
// cmocka wants the four above first
#include <cmocka.h>

#include "ecolink/id.h"
#include "ledger.h"

static void test_launch_books_one_hold_row(void **state) {
  (void)state;
  ledger_posting p = ledger_hold(76800000);
  assert_int_equal(p.count, 1);
  assert_int_equal(p.rows[0].type, LEDGER_HOLD);
  assert_int_equal(p.rows[0].amount_micros, -76800000);
  assert_string_equal(p.rows[0].against, LEDGER_HELD);
}

static void test_settlement_books_release_usage_refund_in_this_order(void **state) {
  (void)state;
  ledger_posting p = ledger_settlement(3200000, 73600000);
  assert_int_equal(p.count, 3);
  assert_int_equal(p.rows[0].type, LEDGER_HOLD_RELEASE);
  assert_int_equal(p.rows[0].amount_micros, 3200000);
  assert_string_equal(p.rows[0].against, LEDGER_HELD);
  assert_int_equal(p.rows[1].type, LEDGER_GPU_USAGE);
  assert_int_equal(p.rows[1].amount_micros, -3200000);
  assert_string_equal(p.rows[1].against, LEDGER_REVENUE);
  assert_int_equal(p.rows[2].type, LEDGER_REFUND);
  assert_int_equal(p.rows[2].amount_micros, 73600000);
  assert_string_equal(p.rows[2].against, LEDGER_HELD);
}

static void test_rows_of_zero_are_not_written(void **state) {
  (void)state;
  assert_int_equal(ledger_settlement(0, 76800000).count, 1);
  assert_int_equal(ledger_settlement(0, 76800000).rows[0].type, LEDGER_REFUND);
  assert_int_equal(ledger_settlement(76800000, 0).count, 2);
  assert_int_equal(ledger_settlement(0, 0).count, 0);
  assert_int_equal(ledger_hold(0).count, 0);
}

static void test_hold_and_settlement_together_cost_the_charge(void **state) {
  (void)state;
  for (int64_t charge = 0; charge <= 1000; charge++) {
    ledger_posting a = ledger_hold(1000);
    ledger_posting b = ledger_settlement(charge, 1000 - charge);
    int64_t customer = 0;
    int64_t held = 0;
    for (size_t i = 0; i < a.count; i++) {
      customer += a.rows[i].amount_micros;
      held -= a.rows[i].amount_micros;
    }
    for (size_t i = 0; i < b.count; i++) {
      customer += b.rows[i].amount_micros;
      held -= strcmp(b.rows[i].against, LEDGER_HELD) == 0 ? b.rows[i].amount_micros : 0;
    }
    assert_int_equal(customer, -charge);
    assert_int_equal(held, 0);
  }
}

static void test_correction_may_go_either_way(void **state) {
  (void)state;
  assert_int_equal(ledger_correction(-5).rows[0].amount_micros, -5);
  assert_int_equal(ledger_correction(5).rows[0].amount_micros, 5);
  assert_int_equal(ledger_topup(7).rows[0].type, LEDGER_TOPUP);
}

static void test_type_words_go_both_ways(void **state) {
  (void)state;
  for (int t = LEDGER_TOPUP; t <= LEDGER_HOLD_RELEASE; t++) {
    assert_int_equal(ledger_type_from_word(ledger_type_word((ledger_type)t)), t);
  }
  assert_string_equal(ledger_type_word((ledger_type)0), "");
  assert_string_equal(ledger_type_word((ledger_type)99), "");
  assert_int_equal(ledger_type_from_word("gift"), 0);
}

enum { CHAIN = 20 };

static void make_chain(ledger_entry *entries, char ids[CHAIN][16]) {
  uint8_t head[LEDGER_HASH_LEN] = {0};
  int64_t balance = 0;
  for (int i = 0; i < CHAIN; i++) {
    int64_t amount = i % 3 == 1 ? -40 * i : 100 * (i + 1);
    balance += amount;
    ids[i][0] = (char)('a' + i);
    ids[i][1] = '\0';
    entries[i] = (ledger_entry){.account_id = "acc_1",
                                .sequence = i + 1,
                                .id = ids[i],
                                .key = "topup:1",
                                .type = "topup",
                                .amount_micros = amount,
                                .balance_after_micros = balance,
                                .instance_id = i,
                                .created_at_us = 1000 + i,
                                .description = "line one\nline two"};
    assert_true(ledger_hash(head, &entries[i], entries[i].hash));
    memcpy(head, entries[i].hash, sizeof head);
  }
}

static void test_intact_chain_is_verified(void **state) {
  (void)state;
  ledger_entry entries[CHAIN];
  char ids[CHAIN][16];
  make_chain(entries, ids);
  assert_int_equal(ledger_verify(entries, CHAIN), CHAIN);
  assert_int_equal(ledger_verify(entries, 0), 0);
}

static void test_any_changed_field_breaks_the_chain_at_its_row(void **state) {
  (void)state;
  for (int field = 0; field < 11; field++) {
    ledger_entry entries[CHAIN];
    char ids[CHAIN][16];
    make_chain(entries, ids);
    ledger_entry *e = &entries[7];
    switch (field) {
      case 0:
        e->account_id = "acc_2";
        break;
      case 1:
        e->sequence = 9;
        break;
      case 2:
        e->id = "zz";
        break;
      case 3:
        e->key = "topup:2";
        break;
      case 4:
        e->type = "bonus";
        break;
      case 5:
        e->amount_micros++;
        break;
      case 6:
        e->balance_after_micros++;
        break;
      case 7:
        e->instance_id++;
        break;
      case 8:
        e->created_at_us++;
        break;
      case 9:
        e->description = "line one\nline 2";
        break;
      default:
        e->hash[31] ^= 1;
        break;
    }
    assert_int_equal(ledger_verify(entries, CHAIN), 7);
  }
}

static void test_removed_or_swapped_rows_break_the_chain(void **state) {
  (void)state;
  ledger_entry entries[CHAIN];
  char ids[CHAIN][16];
  make_chain(entries, ids);
  memmove(&entries[4], &entries[5], (CHAIN - 5) * sizeof *entries);
  assert_int_equal(ledger_verify(entries, CHAIN - 1), 4);
  make_chain(entries, ids);
  ledger_entry kept = entries[2];
  entries[2] = entries[3];
  entries[3] = kept;
  assert_int_equal(ledger_verify(entries, CHAIN), 2);
}

static void test_hash_is_sha256_over_previous_and_canonical_lines(void **state) {
  (void)state;
  static const char text[] = "ecolink-ledger-1\nacc_1\n1\ntxn_1\ntopup:1\ntopup\n5\n5\n0\n1000\nTop-up";
  uint8_t whole[LEDGER_HASH_LEN + sizeof text - 1] = {0};
  memcpy(whole + LEDGER_HASH_LEN, text, sizeof text - 1);
  uint8_t expected[LEDGER_HASH_LEN];
  eco_sha256(whole, sizeof whole, expected);
  ledger_entry e = {.account_id = "acc_1",
                    .sequence = 1,
                    .id = "txn_1",
                    .key = "topup:1",
                    .type = "topup",
                    .amount_micros = 5,
                    .balance_after_micros = 5,
                    .created_at_us = 1000,
                    .description = "Top-up"};
  uint8_t head[LEDGER_HASH_LEN] = {0};
  uint8_t hash[LEDGER_HASH_LEN];
  assert_true(ledger_hash(head, &e, hash));
  assert_memory_equal(hash, expected, sizeof hash);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_launch_books_one_hold_row),
      cmocka_unit_test(test_settlement_books_release_usage_refund_in_this_order),
      cmocka_unit_test(test_rows_of_zero_are_not_written),
      cmocka_unit_test(test_hold_and_settlement_together_cost_the_charge),
      cmocka_unit_test(test_correction_may_go_either_way),
      cmocka_unit_test(test_type_words_go_both_ways),
      cmocka_unit_test(test_intact_chain_is_verified),
      cmocka_unit_test(test_any_changed_field_breaks_the_chain_at_its_row),
      cmocka_unit_test(test_removed_or_swapped_rows_break_the_chain),
      cmocka_unit_test(test_hash_is_sha256_over_previous_and_canonical_lines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
