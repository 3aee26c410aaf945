// The reconciler's judgement: single situations, and invariants over generated lives.
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "reconcile_rules.h"
#include "transition.h"

static const int64_t US = 1000000;

typedef struct scene {
  instance_row inst;
  replica_facts facts[SCHED_REPLICAS_MAX];
  reconcile_plan plan;
  int64_t now, watermark;
} scene;

static scene scene_of(instance_status status, int replicas) {
  scene s = {.now = 1000 * US, .watermark = 990 * US};
  s.inst = (instance_row){.id = 7,
                          .status = status,
                          .total_replicas = replicas,
                          .replica_count = replicas,
                          .startup_deadline_s = 900,
                          .generation = 1,
                          .startup_began_us = 900 * US,
                          .progress_at_us = 900 * US,
                          .served_name = "m"};
  for (int i = 0; i < replicas; i++) {
    s.inst.replicas[i] = (replica_row){.id = i + 1,
                                       .status = RS_PENDING,
                                       .generation = 1,
                                       .rolled = 1,
                                       .reserved = true,
                                       .attempt_began_us = 900 * US};
    snprintf(s.inst.replicas[i].region, SCHED_REGION_MAX, "r%d", i + 1);
    s.facts[i].here = true;
    s.facts[i].memory.applied = true;
  }
  return s;
}

static void seen(scene *s, int i, replica_phase phase, const char *run, probe_result probe) {
  replica_facts *f = &s->facts[i];
  f->seen = (replica_observation){.instance_id = 7, .replica_id = i + 1, .generation = 1, .phase = phase, .port = 99};
  snprintf(f->seen.run_id, sizeof(f->seen.run_id), "%s", run);
  snprintf(f->seen.host, sizeof(f->seen.host), "h");
  f->probe = probe;
}

static void judge(scene *s) {
  reconcile_judge(&s->inst, s->facts, s->now - US / 10, s->watermark, s->now, &s->plan);
}

static int count(const scene *s, effect_kind kind) {
  int n = 0;
  for (int i = 0; i < s->plan.effect_count; i++) {
    n += s->plan.effects[i].kind == kind;
  }
  return n;
}

static bool noted(const scene *s, const char *type) {
  for (int i = 0; i < s->plan.effect_count; i++) {
    if (s->plan.effects[i].kind == EFFECT_EVENT && !strcmp(s->plan.effects[i].type, type)) {
      return true;
    }
  }
  return false;
}

static scene running(int replicas) {
  scene s = scene_of(ST_PROVISIONING, replicas);
  for (int i = 0; i < replicas; i++) {
    seen(&s, i, REPLICA_ALIVE, "run", PROBE_OK);
  }
  judge(&s);
  assert_int_equal(s.inst.status, ST_RUNNING);
  assert_int_equal(count(&s, EFFECT_INTERVAL_OPEN), replicas);
  s.now += US;
  return s;
}

static void test_what_is_absent_is_applied_and_what_is_there_is_left_alone(void **state) {
  (void)state;
  scene s = scene_of(ST_PROVISIONING, 2);
  seen(&s, 1, REPLICA_STARTING, "", PROBE_NONE);
  judge(&s);
  assert_int_equal(s.plan.actions[0], DO_APPLY);
  assert_int_equal(s.plan.actions[1], DO_NOTHING);
}

static void test_an_adopted_replica_is_given_its_specification_again(void **state) {
  (void)state;
  scene s = running(1);
  s.facts[0].memory = (replica_memory){0};
  judge(&s);
  assert_int_equal(s.plan.actions[0], DO_APPLY);
}

static void test_a_launch_without_an_answer_is_not_touched(void **state) {
  (void)state;
  scene s = scene_of(ST_PENDING, 2);
  judge(&s);
  assert_int_equal(s.plan.actions[0], DO_NOTHING);
  assert_false(reconcile_changed(&s.inst, &s.plan));
}

static void test_one_ready_replica_makes_it_run_and_the_other_is_named_in_the_detail(void **state) {
  (void)state;
  scene s = scene_of(ST_PROVISIONING, 2);
  seen(&s, 0, REPLICA_ALIVE, "a", PROBE_OK);
  judge(&s);
  assert_int_equal(s.inst.status, ST_RUNNING);
  assert_non_null(strstr(s.inst.detail, "1 of 2"));
  assert_true(noted(&s, "instance.running"));
}

static void test_a_ready_replica_is_given_up_after_three_missed_probes_and_never_sooner(void **state) {
  (void)state;
  scene s = running(1);
  int64_t proved = s.facts[0].memory.last_ready_us;
  for (int miss = 1; miss <= SCHED_READY_FAILURES; miss++) {
    seen(&s, 0, REPLICA_ALIVE, "run", PROBE_FAILED);
    judge(&s);
    if (miss < SCHED_READY_FAILURES) {
      assert_true(s.inst.replicas[0].ready);
      assert_true(s.plan.undecided);  // the watermark waits
    }
    s.now += US;
  }
  assert_false(s.inst.replicas[0].ready);
  assert_int_equal(s.inst.status, ST_PROVISIONING);
  assert_true(noted(&s, "instance.recovering"));
  for (int i = 0; i < s.plan.effect_count; i++) {
    if (s.plan.effects[i].kind == EFFECT_INTERVAL_CLOSE) {
      assert_int_equal(s.plan.effects[i].at_us, proved);
    }
  }
  assert_int_equal(count(&s, EFFECT_INTERVAL_CLOSE), 1);
}

static void test_a_live_replica_that_has_not_answered_is_not_ready(void **state) {
  (void)state;
  const probe_result results[] = {PROBE_NONE, PROBE_FAILED};
  for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
    scene s = scene_of(ST_PROVISIONING, 1);
    seen(&s, 0, REPLICA_ALIVE, "run", results[i]);
    judge(&s);
    assert_false(s.inst.replicas[0].ready);
    assert_int_equal(s.inst.status, ST_PROVISIONING);
    assert_int_equal(count(&s, EFFECT_INTERVAL_OPEN), 0);
  }
}

static void test_a_new_run_is_not_ready_on_the_word_of_the_old_one(void **state) {
  (void)state;
  scene s = running(1);
  seen(&s, 0, REPLICA_ALIVE, "another", PROBE_FAILED);
  judge(&s);
  assert_false(s.inst.replicas[0].ready);
  assert_int_equal(count(&s, EFFECT_INTERVAL_CLOSE), 1);
}

static void test_a_run_replaced_between_two_passes_ends_one_interval_and_begins_another(void **state) {
  (void)state;
  scene s = running(1);
  seen(&s, 0, REPLICA_ALIVE, "another", PROBE_OK);
  judge(&s);
  assert_true(s.inst.replicas[0].ready);
  assert_int_equal(count(&s, EFFECT_INTERVAL_CLOSE), 1);
  assert_int_equal(count(&s, EFFECT_INTERVAL_OPEN), 1);
  assert_int_equal(count(&s, EFFECT_RUN_ENDED), 1);
}

static void test_a_stop_settles_the_uptime_before_it_asks_the_replica_to_end(void **state) {
  (void)state;
  scene s = running(1);
  transition_apply(&s.inst, EV_STOP, TR_USER_REQUESTED, s.now - US / 20);  // after the observation began
  judge(&s);
  assert_int_equal(s.plan.actions[0], DO_NOTHING);
  s.now += US;
  judge(&s);
  assert_int_equal(count(&s, EFFECT_INTERVAL_CLOSE), 1);
  assert_int_equal(s.plan.effects[0].at_us, s.inst.charge_end_us);
  assert_int_equal(s.plan.actions[0], DO_REMOVE);
  seen(&s, 0, REPLICA_ABSENT, "", PROBE_NONE);
  judge(&s);
  assert_int_equal(s.inst.status, ST_STOPPED);
  assert_int_equal(count(&s, EFFECT_RELEASE), 1);
  judge(&s);
  assert_int_equal(count(&s, EFFECT_RELEASE), 0);  // once
}

static void test_a_region_that_was_not_observed_is_not_judged(void **state) {
  (void)state;
  scene s = running(2);
  s.facts[1].here = false;
  memset(&s.facts[1].seen, 0, sizeof(s.facts[1].seen));
  judge(&s);
  assert_true(s.inst.replicas[1].ready);
  assert_int_equal(s.plan.actions[1], DO_NOTHING);
}

static void test_a_start_tells_how_long_it_may_take_from_what_it_took_before(void **state) {
  (void)state;
  static const struct {
    int estimate_s;
    int passed_s;
    const char *words;
  } rows[] = {{0, 10, NULL},
              {300, 0, "(about 5 min to go)"},
              {300, 61, "(about 4 min to go)"},
              {300, 239, "(about 2 min to go)"},
              {300, 250, "(less than a minute to go)"},
              {300, 301, "(it takes longer than before)"}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    scene s = scene_of(ST_PROVISIONING, 1);
    s.inst.startup_estimate_s = rows[i].estimate_s;
    s.now = s.inst.startup_began_us + rows[i].passed_s * US;
    seen(&s, 0, REPLICA_STARTING, "", PROBE_NONE);
    snprintf(s.facts[0].seen.detail, REPLICA_DETAIL_MAX, "pulling image");
    judge(&s);
    assert_non_null(strstr(s.inst.detail, "pulling image"));
    if (rows[i].words ? !strstr(s.inst.detail, rows[i].words) : strchr(s.inst.detail, '(') != NULL) {
      fail_msg("%d s of %d s: \"%s\"", rows[i].passed_s, rows[i].estimate_s, s.inst.detail);
    }
  }
}

static void test_a_start_without_progress_fails_at_its_deadline_and_progress_buys_time(void **state) {
  (void)state;
  scene s = scene_of(ST_PROVISIONING, 1);
  seen(&s, 0, REPLICA_STARTING, "", PROBE_NONE);
  snprintf(s.facts[0].seen.detail, REPLICA_DETAIL_MAX, "downloading weights 1 %%");
  judge(&s);
  int64_t progressed = s.now;
  s.now += 899 * US;
  snprintf(s.facts[0].seen.detail, REPLICA_DETAIL_MAX, "downloading weights 2 %%");
  judge(&s);
  assert_int_equal(s.inst.status, ST_PROVISIONING);
  assert_true(s.inst.progress_at_us > progressed);
  s.now += 900 * US;
  judge(&s);
  assert_int_equal(s.inst.status, ST_PROVISIONING);
  s.now += US;
  judge(&s);
  assert_int_equal(s.inst.status, ST_FAILED);
  assert_int_equal(s.inst.reason, TR_STARTUP_FAILED);
  assert_int_equal(s.inst.charge_end_us, s.now);
}

static void test_endless_progress_ends_after_four_hours(void **state) {
  (void)state;
  scene s = scene_of(ST_PROVISIONING, 1);
  for (int i = 0; s.inst.status == ST_PROVISIONING && i < 1000; i++) {
    seen(&s, 0, REPLICA_STARTING, "", PROBE_NONE);
    snprintf(s.facts[0].seen.detail, REPLICA_DETAIL_MAX, "downloading byte %d", i);
    judge(&s);
    s.now += 60 * US;
  }
  assert_int_equal(s.inst.status, ST_FAILED);
  assert_true(s.now - s.inst.startup_began_us <= SCHED_STARTUP_TOTAL_US + 121 * US);
}

static void exits(scene *s, int i, int n, int64_t newest, int64_t apart) {
  seen(s, i, REPLICA_EXITED, "", PROBE_NONE);
  for (int k = 0; k < n; k++) {
    s->facts[i].seen.exits_us[k] = newest - k * apart;
  }
}

static void test_five_exits_within_ten_minutes_are_a_crash_loop_of_the_replica(void **state) {
  (void)state;
  scene s = scene_of(ST_PROVISIONING, 1);
  replica_row *r = &s.inst.replicas[0];
  r->attempt_began_us = 0;
  exits(&s, 0, 5, 990 * US, 150 * US);
  assert_true(replica_crash_loops(r, s.facts[0].seen.exits_us));
  exits(&s, 0, 5, 990 * US, 151 * US);
  assert_false(replica_crash_loops(r, s.facts[0].seen.exits_us));
  exits(&s, 0, 4, 990 * US, US);
  assert_false(replica_crash_loops(r, s.facts[0].seen.exits_us));
  exits(&s, 0, 5, 990 * US, US);
  r->steady_at_us = 987 * US;  // a steady run lies in between
  assert_false(replica_crash_loops(r, s.facts[0].seen.exits_us));
  r->steady_at_us = 0;
  r->attempt_began_us = 988 * US;  // an operator's restart lies in between
  assert_false(replica_crash_loops(r, s.facts[0].seen.exits_us));
}

static void test_the_instance_fails_only_when_every_replica_crash_loops(void **state) {
  (void)state;
  scene s = scene_of(ST_PROVISIONING, 2);
  exits(&s, 0, 5, 990 * US, US);
  seen(&s, 1, REPLICA_ALIVE, "b", PROBE_OK);
  judge(&s);
  assert_int_equal(s.inst.status, ST_RUNNING);
  assert_true(s.inst.replicas[0].crash_looping);
  exits(&s, 1, 5, 999 * US, US);
  judge(&s);
  assert_int_equal(s.inst.status, ST_FAILED);
  assert_int_equal(s.inst.reason, TR_CRASH_LOOP);
}

static void test_what_led_to_an_address_of_before_goes_once_nobody_calls_that(void **state) {
  (void)state;
  scene s = running(1);
  s.facts[0].seen.need = DRIVER_NEEDS_TIDY;
  s.facts[0].seen.port = 100;
  judge(&s);
  assert_int_equal(s.inst.replicas[0].port, 100);
  assert_int_equal(s.plan.actions[0], DO_NOTHING);  // with this plan gateways learn of the new address
  s.now += US;
  judge(&s);
  assert_int_equal(s.plan.actions[0], DO_APPLY);
  s.facts[0].probe = PROBE_FAILED;
  s.facts[0].memory.failures = SCHED_READY_FAILURES;
  judge(&s);
  assert_false(s.inst.replicas[0].ready);
  assert_int_equal(s.plan.actions[0], DO_NOTHING);  // nobody has been told that it answers there
}

static void test_a_restart_takes_one_replica_at_a_time(void **state) {
  (void)state;
  scene s = running(2);
  transition_apply(&s.inst, EV_RESTART, TR_NONE, s.now);
  judge(&s);
  assert_int_equal(s.inst.replicas[0].generation, 2);
  assert_int_equal(s.inst.replicas[1].generation, 1);
  assert_int_equal(s.plan.actions[0], DO_APPLY);
  s.now += US;
  judge(&s);  // the first is not yet back
  assert_int_equal(s.inst.replicas[1].generation, 1);
  s.now += US;
  seen(&s, 0, REPLICA_ALIVE, "new", PROBE_OK);
  s.facts[0].seen.generation = 2;
  judge(&s);
  assert_true(s.inst.replicas[0].ready);
  assert_int_equal(s.inst.replicas[1].generation, 2);
  assert_false(s.inst.replicas[1].ready);
  assert_int_equal(s.inst.status, ST_RUNNING);
}

static void test_a_late_replica_beside_a_running_one_is_tried_again(void **state) {
  (void)state;
  scene s = running(2);
  seen(&s, 1, REPLICA_EXITED, "", PROBE_NONE);
  judge(&s);
  s.now += 899 * US;
  judge(&s);
  assert_int_equal(s.inst.replicas[1].attempts, 0);
  s.now += 2 * US;
  judge(&s);
  assert_int_equal(s.inst.replicas[1].attempts, 1);
  assert_int_equal(s.inst.replicas[1].generation, 2);
  assert_int_equal(s.inst.status, ST_RUNNING);
}

static void test_a_region_gets_three_attempts_before_another_is_tried(void **state) {
  (void)state;
  scene s = running(2);
  seen(&s, 1, REPLICA_EXITED, "", PROBE_NONE);
  judge(&s);
  for (int attempt = 1; attempt <= 6; attempt++) {
    s.now += 901 * US;
    s.facts[1].seen.generation = s.inst.replicas[1].generation;
    judge(&s);
    assert_int_equal(s.inst.replicas[1].attempts, attempt);
    assert_int_equal(s.plan.move[1], attempt == 3 || attempt == 6);
    assert_false(s.plan.move[0]);
  }
}

static void test_suspiciously_many_or_too_new_objects_are_not_pruned(void **state) {
  (void)state;
  assert_true(prune_allowed(5, 5, 10, 10));
  assert_false(prune_allowed(6, 6, 10, 10));
  assert_true(prune_allowed(10, 100, 10, 10));
  assert_false(prune_allowed(11, 100, 10, 10));
  assert_false(prune_allowed(1, 100, 11, 10));
}

// Any sequence of observations: intervals open and close in pairs, ready means an open interval, nothing is released
// twice.
// With a clock that is set back now and then: what lies before the watermark may be charged already and does not
// change.
static void test_generated_lives_keep_the_books_in_order(void **state) {
  (void)state;
  uint32_t seed = 4711;
  for (int life = 0; life < 4000; life++) {
    scene s = scene_of(ST_PROVISIONING, 2);
    int open[2] = {0, 0};
    int64_t opened[2] = {0, 0};
    int released[2] = {0, 0};
    for (int step = 0; step < 60; step++) {
      for (int i = 0; i < 2; i++) {
        seed = seed * 1664525u + 1013904223u;
        int dice = (int)((seed >> 8) % 12);
        replica_phase phase = dice < 6 ? REPLICA_ALIVE : (dice < 8 ? REPLICA_EXITED : (replica_phase)(dice % 5));
        char run[8];
        snprintf(run, sizeof(run), "%d", (int)((seed >> 16) % 3));
        seen(&s, i, phase, phase == REPLICA_ALIVE || phase == REPLICA_STOPPING ? run : "",
             phase == REPLICA_ALIVE ? (seed & 0x40 ? PROBE_OK : PROBE_FAILED) : PROBE_NONE);
        s.facts[i].seen.generation = s.inst.replicas[i].generation;
        if ((seed >> 20) % 30 == 0) {
          s.facts[i].memory = (replica_memory){0};  // another observer
        }
      }
      if ((seed >> 4) % 50 == 0) {
        transition_apply(&s.inst, EV_STOP, TR_USER_REQUESTED, s.now - US / 2);
        transition_keep_proved(&s.inst, s.watermark);
      } else if ((seed >> 4) % 50 == 1) {
        transition_apply(&s.inst, EV_RESTART, TR_NONE, s.now - US / 2);
      }
      if ((seed >> 6) % 40 == 0) {
        s.now -= 30 * US;
      }
      int64_t charge_end = s.inst.charge_end_us;
      judge(&s);
      assert_true(charge_end || !s.inst.charge_end_us || s.inst.charge_end_us >= s.watermark);
      for (int e = 0; e < s.plan.effect_count; e++) {
        const effect *x = &s.plan.effects[e];
        int i = x->replica_id - 1;
        if (x->kind == EFFECT_INTERVAL_OPEN) {
          assert_int_equal(open[i]++, 0);
          opened[i] = x->at_us;
          assert_int_equal(charge_end, 0);
          assert_true(x->at_us >= s.watermark);
        } else if (x->kind == EFFECT_INTERVAL_CLOSE) {
          assert_int_equal(open[i]--, 1);
          if (x->at_us > opened[i]) {  // else it is empty
            assert_true(x->at_us <= s.now || x->at_us == s.watermark);
            assert_true(!charge_end || x->at_us <= charge_end);
            assert_true(x->at_us >= s.watermark || x->at_us == charge_end);
          }
        } else if (x->kind == EFFECT_RELEASE) {
          assert_int_equal(released[i]++, 0);
        }
      }
      for (int i = 0; i < 2; i++) {
        const replica_row *r = &s.inst.replicas[i];
        assert_int_equal(open[i], r->interval_started_us != 0);
        assert_true(!r->ready || open[i]);
        assert_true(!r->gone || !r->reserved);
      }
      if (!s.plan.undecided && s.now - US / 10 > s.watermark) {
        s.watermark = s.now - US / 10;
      }
      s.now += US;
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_absent_is_applied_and_what_is_there_is_left_alone),
      cmocka_unit_test(test_an_adopted_replica_is_given_its_specification_again),
      cmocka_unit_test(test_what_led_to_an_address_of_before_goes_once_nobody_calls_that),
      cmocka_unit_test(test_a_launch_without_an_answer_is_not_touched),
      cmocka_unit_test(test_one_ready_replica_makes_it_run_and_the_other_is_named_in_the_detail),
      cmocka_unit_test(test_a_ready_replica_is_given_up_after_three_missed_probes_and_never_sooner),
      cmocka_unit_test(test_a_live_replica_that_has_not_answered_is_not_ready),
      cmocka_unit_test(test_a_new_run_is_not_ready_on_the_word_of_the_old_one),
      cmocka_unit_test(test_a_run_replaced_between_two_passes_ends_one_interval_and_begins_another),
      cmocka_unit_test(test_a_stop_settles_the_uptime_before_it_asks_the_replica_to_end),
      cmocka_unit_test(test_a_region_that_was_not_observed_is_not_judged),
      cmocka_unit_test(test_a_start_tells_how_long_it_may_take_from_what_it_took_before),
      cmocka_unit_test(test_a_start_without_progress_fails_at_its_deadline_and_progress_buys_time),
      cmocka_unit_test(test_endless_progress_ends_after_four_hours),
      cmocka_unit_test(test_five_exits_within_ten_minutes_are_a_crash_loop_of_the_replica),
      cmocka_unit_test(test_the_instance_fails_only_when_every_replica_crash_loops),
      cmocka_unit_test(test_a_restart_takes_one_replica_at_a_time),
      cmocka_unit_test(test_a_late_replica_beside_a_running_one_is_tried_again),
      cmocka_unit_test(test_a_region_gets_three_attempts_before_another_is_tried),
      cmocka_unit_test(test_suspiciously_many_or_too_new_objects_are_not_pruned),
      cmocka_unit_test(test_generated_lives_keep_the_books_in_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
