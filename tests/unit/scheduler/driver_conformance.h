// What every driver must do, told through driver_ops alone: the process driver runs this suite as a unit test, the
// Kubernetes driver against a real cluster (tests/kube/conformance.c).
//
// A driver's test program gives a `rig` and lists DRIVER_CONFORMANCE_TESTS among its tests. Included by one file per
// program.
#ifndef DRIVER_CONFORMANCE_H
#define DRIVER_CONFORMANCE_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// clang-format off
#include <cmocka.h>  // wants those above
// clang-format on

#include "driver.h"
#include "ecolink/clock.h"

typedef enum replica_behaviour {
  BEHAVE_SERVE,     // listens, ends on SIGTERM
  BEHAVE_STUBBORN,  // listens, ignores SIGTERM
  BEHAVE_EXIT,      // exits with status 3 at once
  BEHAVE_CHATTER,   // writes "line 1" to "line 500", then serves
} replica_behaviour;

typedef struct conformance_rig {
  driver *(*open)(void);  // again and again on the same state
  // Fills what makes a replica of this driver behave so; strings live until the program's end.
  void (*behave)(replica_spec *spec, replica_behaviour behaviour);
  // What differs between machines and clusters; 0: as a process on this machine.
  int wait_ms;        // patience with one step
  int backoff_ms;     // an exited replica is not started again sooner
  int replace_ms;     // a new generation takes its place within so long
  int kill_after_ms;  // a stubborn replica with a second of drain is killed between these
  int kill_before_ms;
  int many;      // replicas at once
  bool logs_go;  // with the replica: the host was given the last lines
} conformance_rig;

static conformance_rig rig;

enum { WAIT_MS = 20000 };
static const char REGION[] = "here";

static int or_usual(int given, int usual) {
  return given ? given : usual;
}
static int64_t next_instance = 1000;

static replica_spec spec_of(int64_t instance, int replica, int64_t generation, replica_behaviour behaviour) {
  static const char *const nothing[] = {NULL};
  static const driver_name_value no_env[] = {{NULL, NULL, false}};
  replica_spec spec = {.instance_id = instance,
                       .replica_id = replica,
                       .generation = generation,
                       .account_id = "acc_1",
                       .region = REGION,
                       .served_name = "my-model",
                       .engine = "",
                       .image = "",
                       .command = nothing,
                       .args = nothing,
                       .env = no_env,
                       .health_path = "/health",
                       .port = 8000,
                       .gpu_type = "sim",
                       .gpu_count = 1,
                       .model_repo = "",
                       .model_revision = "",
                       .model_path = "",
                       .hf_token = "",
                       .drain_s = 1};
  rig.behave(&spec, behaviour);
  return spec;
}

typedef struct looking_for {
  int64_t instance;
  int replica;
  replica_observation found;
  int seen;
} looking_for;

static void look_at(void *arg, const replica_observation *seen) {
  looking_for *l = arg;
  if (seen->instance_id == l->instance && seen->replica_id == l->replica) {
    l->found = *seen;
    l->seen++;
  }
}

static replica_observation observe_in(driver *d, const char *region, int64_t instance, int replica) {
  looking_for l = {.instance = instance, .replica = replica, .found = {.phase = REPLICA_ABSENT}};
  assert_true(eco_ok(d->ops->observe(d, region, look_at, &l)));
  assert_true(l.seen <= 1);
  return l.found;
}

static replica_observation observe_one(driver *d, int64_t instance, int replica) {
  return observe_in(d, REGION, instance, replica);
}

// Waits until the replica is in the phase (and, when `generation` is not 0, of that generation).
static replica_observation wait_for(driver *d, int64_t instance, int replica, replica_phase phase, int64_t generation) {
  for (int64_t until = eco_boottime_ms() + or_usual(rig.wait_ms, WAIT_MS);;) {
    replica_observation o = observe_one(d, instance, replica);
    if (o.phase == phase && (generation == 0 || phase == REPLICA_ABSENT || o.generation == generation)) {
      return o;
    }
    if (eco_boottime_ms() > until) {
      fail_msg("replica %" PRId64 "-%d is in phase %d (%s), not %d", instance, replica, o.phase, o.detail, phase);
    }
    (void)usleep(5000);
  }
}

static void apply_ok(driver *d, const replica_spec *spec) {
  eco_status st = d->ops->apply(d, spec);
  if (!eco_ok(st)) {
    fail_msg("apply: %s", st.message);
  }
}

static void remove_and_wait(driver *d, int64_t instance, int replica) {
  assert_true(eco_ok(d->ops->remove(d, REGION, instance, replica, 1)));
  (void)wait_for(d, instance, replica, REPLICA_ABSENT, 0);
  assert_true(eco_ok(d->ops->forget(d, REGION, instance, replica)));
}

// ---- the tests ----
static __attribute__((unused)) void test_an_applied_replica_becomes_alive_at_an_address(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  assert_int_not_equal(observe_one(d, id, 1).phase, REPLICA_ABSENT);  // accepted means seen
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_true(o.host[0] != '\0' && o.port > 0 && o.run_id[0] != '\0');
  assert_int_equal(o.restarts, 0);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static __attribute__((unused)) void test_applying_again_changes_nothing(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation first = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  for (int i = 0; i < 20; i++) {
    apply_ok(d, &spec);
    replica_observation again = wait_for(d, id, 1, REPLICA_ALIVE, 1);
    assert_string_equal(again.run_id, first.run_id);
    assert_int_equal(again.port, first.port);
  }
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static __attribute__((unused)) void test_a_higher_generation_replaces_the_replica(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation first = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  spec.generation = 2;
  apply_ok(d, &spec);
  replica_observation second = wait_for(d, id, 1, REPLICA_ALIVE, 2);
  assert_string_not_equal(first.run_id, second.run_id);
  assert_int_equal(second.exits_us[0], 0);  // it did as told: no crash
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static __attribute__((unused)) void test_a_lower_generation_replaces_nothing(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 5, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation first = wait_for(d, id, 1, REPLICA_ALIVE, 5);
  spec.generation = 4;
  apply_ok(d, &spec);
  (void)usleep(100000);
  assert_string_equal(wait_for(d, id, 1, REPLICA_ALIVE, 5).run_id, first.run_id);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static __attribute__((unused)) void test_an_exited_replica_waits_and_starts_again(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_EXIT);
  int64_t began = eco_boottime_ms();  // before its first exit: whoever looks late may find two of them
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_EXITED, 1);
  assert_true(o.exits_us[0] > 0);
  assert_non_null(strstr(o.detail, "exited with status 3"));
  assert_non_null(strstr(o.detail, "restarting"));
  while (observe_one(d, id, 1).exits_us[1] == 0) {
    assert_true(eco_boottime_ms() - began < or_usual(rig.wait_ms, WAIT_MS));
    (void)usleep(5000);
  }
  assert_true(eco_boottime_ms() - began > or_usual(rig.backoff_ms, 800));  // the first back-off is a second
  o = wait_for(d, id, 1, REPLICA_EXITED, 1);
  int exits = 0;  // on a busy machine there may be more of them by now
  while (exits < REPLICA_EXITS_KEPT && o.exits_us[exits]) {
    exits++;
  }
  assert_true(exits >= 2);
  assert_int_equal(o.restarts, exits - 1);
  assert_true(o.exits_us[0] > o.exits_us[1]);
  // A new generation is not made to wait for the old one's back-off.
  spec = spec_of(id, 1, 2, BEHAVE_SERVE);
  began = eco_boottime_ms();
  apply_ok(d, &spec);
  (void)wait_for(d, id, 1, REPLICA_ALIVE, 2);
  assert_true(eco_boottime_ms() - began < or_usual(rig.replace_ms, 1900));
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static __attribute__((unused)) void test_a_replica_that_does_not_end_is_killed_after_its_drain(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_STUBBORN);
  apply_ok(d, &spec);
  (void)wait_for(d, id, 1, REPLICA_ALIVE, 1);
  int64_t began = eco_boottime_ms();
  assert_true(eco_ok(d->ops->remove(d, REGION, id, 1, 1)));
  assert_int_equal(observe_one(d, id, 1).phase, REPLICA_STOPPING);
  (void)wait_for(d, id, 1, REPLICA_ABSENT, 0);
  assert_in_range(eco_boottime_ms() - began, or_usual(rig.kill_after_ms, 950), or_usual(rig.kill_before_ms, 4000));
  assert_true(eco_ok(d->ops->forget(d, REGION, id, 1)));
  d->ops->close(d);
}

static __attribute__((unused)) void test_removing_what_is_absent_succeeds(void **state) {
  (void)state;
  driver *d = rig.open();
  assert_true(eco_ok(d->ops->remove(d, REGION, 999999, 1, 1)));
  assert_true(eco_ok(d->ops->forget(d, REGION, 999999, 1)));
  d->ops->close(d);
}

static __attribute__((unused)) void test_a_replica_belongs_to_its_region_alone(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_int_equal(observe_in(d, "elsewhere", id, 1).phase, REPLICA_ABSENT);
  assert_true(eco_ok(d->ops->remove(d, "elsewhere", id, 1, 1)));
  (void)usleep(100000);
  assert_string_equal(wait_for(d, id, 1, REPLICA_ALIVE, 1).run_id, o.run_id);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static __attribute__((unused)) void test_replicas_outlive_the_driver_and_are_found_again(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  replica_spec one = spec_of(id, 1, 3, BEHAVE_SERVE);
  replica_spec two = spec_of(id, 2, 3, BEHAVE_SERVE);
  apply_ok(d, &one);
  apply_ok(d, &two);
  replica_observation first = wait_for(d, id, 1, REPLICA_ALIVE, 3);
  replica_observation second = wait_for(d, id, 2, REPLICA_ALIVE, 3);
  assert_true(first.port != second.port || strcmp(first.host, second.host) != 0);
  for (int i = 0; i < 3; i++) {
    d->ops->close(d);
    d = rig.open();
    replica_observation again = wait_for(d, id, 1, REPLICA_ALIVE, 3);
    assert_string_equal(again.run_id, first.run_id);
    assert_int_equal(again.port, first.port);
    assert_string_equal(wait_for(d, id, 2, REPLICA_ALIVE, 3).run_id, second.run_id);
  }
  apply_ok(d, &one);
  assert_string_equal(wait_for(d, id, 1, REPLICA_ALIVE, 3).run_id, first.run_id);
  remove_and_wait(d, id, 1);
  remove_and_wait(d, id, 2);
  d->ops->close(d);
}

typedef struct log_lines {
  int count;
  char first[64];
  char last[64];
} log_lines;

static void collect_line(void *arg, const char *line, size_t len) {
  log_lines *l = arg;
  char *into = l->count++ == 0 ? l->first : l->last;
  (void)snprintf(into, sizeof(l->last), "%.*s", (int)(len < 63 ? len : 63), line);
  if (l->count == 1) {
    memcpy(l->last, l->first, sizeof(l->last));
  }
}

static log_lines read_logs(driver *d, int64_t id, int64_t offset, int max, int64_t *next) {
  log_lines l = {.count = 0};
  eco_status st = d->ops->logs(d, REGION, id, 1, offset, max, collect_line, &l, next);
  if (!eco_ok(st)) {
    fail_msg("logs: %s", st.message);
  }
  return l;
}

static __attribute__((unused)) void test_logs_are_read_by_position_and_from_the_end(void **state) {
  (void)state;
  driver *d = rig.open();
  int64_t id = next_instance++;
  int64_t next = 0;
  assert_int_equal(read_logs(d, id, 0, 10, &next).count, 0);  // nothing yet is no failure
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_CHATTER);
  apply_ok(d, &spec);
  (void)wait_for(d, id, 1, REPLICA_ALIVE, 1);
  log_lines all = read_logs(d, id, 0, 1000, &next);
  assert_int_equal(all.count, 500);
  assert_string_equal(all.first, "line 1");
  assert_string_equal(all.last, "line 500");
  assert_int_equal(read_logs(d, id, next, 1000, &next).count, 0);
  int64_t at = 0;
  int total = 0;
  for (log_lines page; (page = read_logs(d, id, at, 7, &at)).count > 0;) {
    char expected[32];
    (void)snprintf(expected, sizeof(expected), "line %d", total + 1);
    assert_string_equal(page.first, expected);
    total += page.count;
  }
  assert_int_equal(total, 500);
  log_lines tail = read_logs(d, id, -1, 3, &next);
  assert_int_equal(tail.count, 3);
  assert_string_equal(tail.first, "line 498");
  // Kept after the end, until they are forgotten.
  assert_true(eco_ok(d->ops->remove(d, REGION, id, 1, 1)));
  (void)wait_for(d, id, 1, REPLICA_ABSENT, 0);
  if (!rig.logs_go) {
    assert_int_equal(read_logs(d, id, 0, 1000, &next).count, 500);
  }
  assert_true(eco_ok(d->ops->forget(d, REGION, id, 1)));
  assert_int_equal(read_logs(d, id, 0, 1000, &next).count, 0);
  d->ops->close(d);
}

static __attribute__((unused)) void test_many_replicas_come_and_go_at_once(void **state) {
  (void)state;
  int many = or_usual(rig.many, 24);
  driver *d = rig.open();
  int64_t first = next_instance;
  next_instance += many;
  for (int i = 0; i < many; i++) {
    replica_spec spec = spec_of(first + i, 1, 1, BEHAVE_SERVE);
    apply_ok(d, &spec);
  }
  for (int i = 0; i < many; i++) {
    (void)wait_for(d, first + i, 1, REPLICA_ALIVE, 1);
  }
  for (int i = 0; i < many; i++) {
    assert_true(eco_ok(d->ops->remove(d, REGION, first + i, 1, 5)));
  }
  for (int i = 0; i < many; i++) {
    (void)wait_for(d, first + i, 1, REPLICA_ABSENT, 0);
    assert_true(eco_ok(d->ops->forget(d, REGION, first + i, 1)));
  }
  d->ops->close(d);
}

#define DRIVER_CONFORMANCE_TESTS                                                    \
  cmocka_unit_test(test_an_applied_replica_becomes_alive_at_an_address),            \
      cmocka_unit_test(test_applying_again_changes_nothing),                        \
      cmocka_unit_test(test_a_higher_generation_replaces_the_replica),              \
      cmocka_unit_test(test_a_lower_generation_replaces_nothing),                   \
      cmocka_unit_test(test_an_exited_replica_waits_and_starts_again),              \
      cmocka_unit_test(test_a_replica_that_does_not_end_is_killed_after_its_drain), \
      cmocka_unit_test(test_removing_what_is_absent_succeeds),                      \
      cmocka_unit_test(test_a_replica_belongs_to_its_region_alone),                 \
      cmocka_unit_test(test_replicas_outlive_the_driver_and_are_found_again),       \
      cmocka_unit_test(test_logs_are_read_by_position_and_from_the_end),            \
      cmocka_unit_test(test_many_replicas_come_and_go_at_once)

#endif
