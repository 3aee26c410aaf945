// Names of replicas: what is told of an address, when, and what a name server that does not answer holds up.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "ecolink/clock.h"
#include "ecolink/pace.h"
#include "name_table.h"
#include "snapshot.h"

// ---- a name server ----
// "slow..." does not answer while it hangs; "none..." has no address; others have 127.0.0.<answer>. Threads of an
// earlier test may still ask: "counted" alone counts.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved;
static bool hangs;
static unsigned answer = 1;
static unsigned asked;
static atomic_uint told;

static unsigned hanging;

// In the resolver's place, for the store as well.
bool gw_lookup(const char *host, gw_sockaddr *out) {
  pthread_mutex_lock(&lock);
  asked += strcmp(host, "counted") == 0;
  const unsigned mine = answer;  // what it was when the question came
  hanging++;
  while (hangs && strncmp(host, "slow", 4) == 0) {
    pthread_cond_wait(&moved, &lock);
  }
  hanging--;
  memset(out, 0, sizeof *out);
  out->in.sin_family = AF_INET;
  out->in.sin_addr.s_addr = htonl(0x7f000000 | mine);
  pthread_mutex_unlock(&lock);
  return strncmp(host, "none", 4) != 0;
}

static void set(bool hang, unsigned address) {
  pthread_mutex_lock(&lock);
  hangs = hang;
  answer = address;
  pthread_cond_broadcast(&moved);
  pthread_mutex_unlock(&lock);
}

static unsigned lookups(void) {
  pthread_mutex_lock(&lock);
  const unsigned n = asked;
  pthread_mutex_unlock(&lock);
  return n;
}

static void tell(void *arg) {
  (void)arg;
  atomic_fetch_add(&told, 1);
}

static gw_names *started(void) {
  set(false, 1);
  atomic_store(&told, 0);
  gw_names *names = gw_names_new(gw_lookup);
  gw_names_start(names, tell, NULL);
  return names;
}

static unsigned last_byte(gw_name *name, bool wait) {
  gw_sockaddr address;
  return gw_name_address(name, wait, &address) ? ntohl(address.in.sin_addr.s_addr) & 0xff : 0;
}

// Looks every ten milliseconds, for five seconds at most.
static bool waits_for(bool (*condition)(void *arg), void *arg) {
  eco_pace pace;
  eco_pace_init(&pace);
  for (int i = 0; i < 500 && !condition(arg); i++) {
    (void)eco_pace_wait(&pace, 10);
  }
  eco_pace_free(&pace);
  return condition(arg);
}

typedef struct expected {
  gw_name *name;
  unsigned address;
} expected;

static bool has_come(void *arg) {
  const expected *e = arg;
  return last_byte(e->name, false) == e->address;
}

static bool comes_to(gw_name *name, unsigned wanted) {
  return waits_for(has_come, &(expected){name, wanted});
}

static bool hangs_now(void *arg) {
  (void)arg;
  pthread_mutex_lock(&lock);
  const bool any = hanging > 0;
  pthread_mutex_unlock(&lock);
  return any;
}

static bool was_told(void *arg) {
  (void)arg;
  return atomic_load(&told) > 0;
}

static void end(gw_names *names) {
  set(false, answer);
  gw_names_stop(names);
  gw_names_free(names);
}

// ---- tests ----

static void test_a_new_name_has_its_address_at_once_and_one_record(void **state) {
  (void)state;
  gw_names *names = started();
  gw_name *a = gw_name_take(names, "one");
  assert_int_equal(last_byte(a, true), 1);
  assert_ptr_equal(gw_name_take(names, "one"), a);
  assert_ptr_equal(gw_name_hold(a), a);
  gw_name *other = gw_name_take(names, "two");
  assert_ptr_not_equal(other, a);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(last_byte(a, true), 1);
    gw_name_release(a);
  }
  gw_name_release(other);
  end(names);
}

static void test_before_the_start_nothing_is_looked_up_and_nobody_waits(void **state) {
  (void)state;
  set(false, 1);
  gw_names *names = gw_names_new(gw_lookup);
  gw_name *name = gw_name_take(names, "counted");
  assert_int_equal(last_byte(name, true), 0);
  assert_int_equal(lookups(), 0);
  gw_names_start(names, tell, NULL);
  assert_true(comes_to(name, 1));
  assert_true(lookups() > 0);
  gw_name_release(name);
  end(names);
}

static void test_a_silent_server_is_waited_for_once(void **state) {
  (void)state;
  gw_names *names = started();
  set(true, 1);
  gw_name *slow[50];
  char host[32];
  const int64_t began = eco_boottime_ms();
  for (int i = 0; i < 50; i++) {
    (void)snprintf(host, sizeof host, "slow-%d", i);
    slow[i] = gw_name_take(names, host);
    assert_int_equal(last_byte(slow[i], true), 0);
  }
  assert_true(eco_boottime_ms() - began < 4000);  // one tenth of a second and not fifty
  set(false, 1);
  for (int i = 0; i < 50; i++) {
    assert_true(comes_to(slow[i], 1));
    gw_name_release(slow[i]);
  }
  end(names);
}

static void test_names_that_fail_again_and_again_stand_before_no_new_one(void **state) {
  (void)state;
  gw_names *names = started();
  gw_name *known = gw_name_take(names, "slow-but-answered-once");
  assert_int_equal(last_byte(known, true), 1);
  assert_true(waits_for(was_told, NULL));
  set(true, 2);
  assert_ptr_equal(gw_name_take(names, "slow-but-answered-once"), known);  // looked up anew, in vain for now
  assert_true(waits_for(hangs_now, NULL));
  atomic_store(&told, 0);
  for (int i = 0; i < 20; i++) {
    char host[32];
    (void)snprintf(host, sizeof host, "new-%d", i);
    gw_name *name = gw_name_take(names, host);
    assert_true(comes_to(name, 2));
    gw_name_release(name);
  }
  assert_int_equal(last_byte(known, true), 1);  // its address serves on
  assert_true(waits_for(was_told, NULL));       // while its lookup hangs
  // Asked for once more meanwhile: the answer that comes now may be of before.
  assert_ptr_equal(gw_name_take(names, "slow-but-answered-once"), known);
  set(false, 3);
  assert_true(comes_to(known, 3));
  for (int i = 0; i < 3; i++) {
    gw_name_release(known);
  }
  end(names);
}

static void test_another_address_is_told_and_a_failure_changes_nothing(void **state) {
  (void)state;
  gw_names *names = started();
  gw_name *none = gw_name_take(names, "none");
  gw_name *name = gw_name_take(names, "one");
  assert_int_equal(last_byte(none, true), 0);
  assert_int_equal(last_byte(name, true), 1);
  set(false, 7);
  assert_ptr_equal(gw_name_take(names, "one"), name);
  assert_true(comes_to(name, 7));
  assert_true(waits_for(was_told, NULL));
  assert_int_equal(last_byte(none, false), 0);
  gw_name_release(none);
  gw_name_release(name);
  gw_name_release(name);
  end(names);
}

static void test_an_end_waits_for_no_lookup(void **state) {
  (void)state;
  gw_names *names = started();
  set(true, 1);
  gw_name *name = gw_name_take(names, "slow");
  assert_int_equal(last_byte(name, true), 0);
  gw_name_release(name);
  gw_names_stop(names);
  gw_names_free(names);
  set(false, 1);  // its thread frees the rest
}

// ---- in the store ----

static void put_route(gw_store *st, const char *host) {
  Ecolink__V1__RouteReplica r = ECOLINK__V1__ROUTE_REPLICA__INIT;
  Ecolink__V1__RouteReplica *list[] = {&r, &r};
  Ecolink__V1__RouteEntry e = ECOLINK__V1__ROUTE_ENTRY__INIT;
  uint8_t packed[512];
  r.replica_id = 1;
  r.region = (char *)"a";
  r.host = (char *)host;
  r.port = 8000;
  r.token = (char *)"secret";
  e.instance_id = 7;
  e.account_id = (char *)"acc";
  e.served_name = (char *)"m";
  e.n_replicas = 2;
  e.replicas = list;
  assert_true(gw_store_put_route(st, packed, ecolink__v1__route_entry__pack(&e, packed), false));
  (void)gw_store_publish(st);
}

typedef struct routed {
  gw_store *st;
  unsigned address;  // 0: not resolved
  uint64_t serial;   // of the route that has it
} routed;

static bool is_routed(void *arg) {
  routed *want = arg;
  const gw_route *route = gw_snapshot_route(gw_reader_begin(want->st, 0), 7);
  bool as_wanted = route != NULL;
  for (size_t i = 0; route && i < route->n_replicas; i++) {
    const gw_route_replica *r = &route->replicas[i];
    as_wanted = as_wanted && r->resolved == (want->address != 0) && ntohs(r->addr.in.sin_port) == 8000 &&
                (!r->resolved || (ntohl(r->addr.in.sin_addr.s_addr) & 0xff) == want->address) &&
                strcmp(r->token, "secret") == 0 && strcmp(r->host, "named:8000") == 0;
  }
  want->serial = route ? route->serial : 0;
  gw_reader_end(want->st, 0);
  return as_wanted;
}

static void test_a_route_follows_its_name(void **state) {
  (void)state;
  set(false, 1);
  gw_store *st = gw_store_new(1);
  routed want = {.st = st, .address = 0};
  put_route(st, "named");
  assert_true(is_routed(&want));
  gw_store_start(st);
  want.address = 1;
  assert_true(waits_for(is_routed, &want));
  const uint64_t before = want.serial;
  set(false, 9);
  put_route(st, "named");  // asks anew
  want.address = 9;
  assert_true(waits_for(is_routed, &want));
  assert_true(want.serial > before);  // loops look at it again
  gw_store_remove_route(st, 7);
  (void)gw_store_publish(st);
  gw_store_stop(st);
  gw_store_free(st);
}

int main(void) {
  eco_cond_init(&moved);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_new_name_has_its_address_at_once_and_one_record),
      cmocka_unit_test(test_before_the_start_nothing_is_looked_up_and_nobody_waits),
      cmocka_unit_test(test_a_silent_server_is_waited_for_once),
      cmocka_unit_test(test_names_that_fail_again_and_again_stand_before_no_new_one),
      cmocka_unit_test(test_another_address_is_told_and_a_failure_changes_nothing),
      cmocka_unit_test(test_an_end_waits_for_no_lookup),
      cmocka_unit_test(test_a_route_follows_its_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
