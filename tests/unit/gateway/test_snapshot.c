// The snapshot store against a plain model; readers beside a writer; the file.
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "snapshot.h"

enum { KEYS = 500, ROUTES = 500 };

static void hash_of(unsigned n, uint8_t out[32]) {
  memset(out, 0, 32);
  // Few distinct shards and slots, so that probing and its gaps are exercised.
  out[0] = (uint8_t)(n % 3);
  out[1] = (uint8_t)(n % 7);
  memcpy(out + 28, &n, sizeof n);
}

static void put_key(gw_store *st, unsigned n, int32_t limit) {
  uint8_t hash[32];
  char id[32];
  Ecolink__V1__KeyEntry e = ECOLINK__V1__KEY_ENTRY__INIT;
  snprintf(id, sizeof id, "key_%u", n);
  e.key_id = id;
  e.account_id = (char *)"acc";
  e.rate_limit_per_minute = limit;
  hash_of(n, hash);
  assert_true(gw_store_put_key(st, hash, &e, false));
}

static void put_route(gw_store *st, int64_t id, int32_t retry) {
  Ecolink__V1__RouteReplica r = ECOLINK__V1__ROUTE_REPLICA__INIT;
  Ecolink__V1__RouteReplica *list[] = {&r};
  Ecolink__V1__RouteEntry e = ECOLINK__V1__ROUTE_ENTRY__INIT;
  uint8_t packed[512];
  r.replica_id = 1;
  r.region = (char *)"a";
  r.host = (char *)"127.0.0.1";
  r.port = 80;
  r.token = (char *)"secret";
  e.instance_id = id;
  e.account_id = (char *)"acc";
  e.served_name = (char *)"m";
  e.retry_after_s = retry;
  e.n_replicas = 1;
  e.replicas = list;
  assert_true(gw_store_put_route(st, packed, ecolink__v1__route_entry__pack(&e, packed), false));
}

static void test_the_store_agrees_with_a_plain_table_after_any_changes(void **state) {
  (void)state;
  int32_t keys[KEYS] = {0};
  int32_t routes[ROUTES] = {0};
  gw_store *st = gw_store_new(1);
  srand(11);
  for (int round = 0; round < 20000; round++) {
    unsigned n = (unsigned)rand() % KEYS;
    uint8_t hash[32];
    int32_t value = rand() % 1000 + 1;
    switch (rand() % 5) {
      case 0:
        hash_of(n, hash);
        gw_store_remove_key(st, hash);
        keys[n] = 0;
        break;
      case 1:
        gw_store_remove_route(st, n + 1);
        routes[n] = 0;
        break;
      case 2:
        put_key(st, n, value);
        keys[n] = value;
        break;
      case 3:
        put_route(st, n + 1, value);
        routes[n] = value;
        break;
      default:
        gw_store_publish(st);
    }
    if (round % 500 == 0) {
      gw_store_publish(st);
      const gw_snapshot *s = gw_reader_begin(st, 0);
      size_t n_keys = 0;
      for (unsigned i = 0; i < KEYS; i++) {
        hash_of(i, hash);
        const gw_key *key = gw_snapshot_key(s, hash);
        const gw_route *route = gw_snapshot_route(s, i + 1);
        assert_int_equal(key ? key->rate_limit : 0, keys[i]);
        assert_int_equal(route ? route->retry_after_s : 0, routes[i]);
        n_keys += key != NULL;
      }
      assert_int_equal(s->n_keys, n_keys);
      gw_reader_end(st, 0);
    }
  }
  gw_store_free(st);
}

static void test_a_snapshot_stays_whole_while_it_is_held(void **state) {
  (void)state;
  gw_store *st = gw_store_new(2);
  put_route(st, 7, 1);
  gw_store_publish(st);
  const gw_route *old = gw_snapshot_route(gw_reader_begin(st, 0), 7);
  for (int32_t i = 2; i < 50; i++) {
    put_route(st, 7, i);
    gw_store_publish(st);
  }
  assert_int_equal(old->retry_after_s, 1);  // under a sanitizer: not freed
  assert_string_equal(old->replicas[0].token, "secret");
  assert_int_equal(gw_snapshot_route(gw_reader_begin(st, 1), 7)->retry_after_s, 49);
  gw_reader_end(st, 0);
  gw_reader_end(st, 1);
  gw_store_free(st);
}

typedef struct race {
  gw_store *st;
  unsigned index;
  _Atomic bool stop;
} race;

static void *reading(void *arg) {
  race *r = arg;
  while (!atomic_load(&r->stop)) {
    const gw_snapshot *s = gw_reader_begin(r->st, r->index);
    for (int64_t i = 1; i <= 20; i++) {
      const gw_route *route = gw_snapshot_route(s, i);
      if (route && (route->instance_id != i || strcmp(route->replicas[0].token, "secret") != 0)) {
        abort();
      }
    }
    gw_reader_end(r->st, r->index);
  }
  return NULL;
}

static void test_readers_beside_a_writer_never_see_freed_memory(void **state) {
  (void)state;
  race r[2] = {{.st = gw_store_new(2), .index = 0}, {.index = 1}};
  pthread_t threads[2];
  r[1].st = r[0].st;
  for (int i = 0; i < 2; i++) {
    pthread_create(&threads[i], NULL, reading, &r[i]);
  }
  for (int i = 0; i < 20000; i++) {
    put_route(r[0].st, 1 + i % 20, i);
    if (i % 3 == 0) {
      gw_store_remove_route(r[0].st, 1 + (i / 3) % 20);
    }
    gw_store_publish(r[0].st);
  }
  for (int i = 0; i < 2; i++) {
    atomic_store(&r[i].stop, true);
    pthread_join(threads[i], NULL);
  }
  gw_store_free(r[0].st);
}

// What the file makes of the store: another one, in its place.
static gw_store *saved_and_loaded(gw_store *st, const char *path, size_t *keys, size_t *routes) {
  assert_true(eco_ok(gw_snapshot_save(st, 0, path)));
  gw_store_free(st);
  st = gw_store_new(1);
  assert_true(eco_ok(gw_snapshot_load(st, path, keys, routes)));
  return st;
}

// A gateway that drains and its successor save to one path; one that was killed in between has left a piece.
static void test_two_processes_save_one_after_the_other_and_a_killed_one_leaves_one_piece(void **state) {
  (void)state;
  char dir[] = "/tmp/gw-snapshot-XXXXXX";
  char path[64];
  char tmp[80];
  char lock[80];
  assert_non_null(mkdtemp(dir));
  (void)snprintf(path, sizeof path, "%s/snapshot", dir);
  (void)snprintf(tmp, sizeof tmp, "%s.tmp", path);
  (void)snprintf(lock, sizeof lock, "%s.lock", path);
  gw_store *st = gw_store_new(1);
  put_key(st, 1, 5);
  gw_store_publish(st);
  FILE *piece = fopen(tmp, "we");
  assert_true(piece && fputs("a piece that is longer than what is saved now", piece) > 0 && fclose(piece) == 0);
  int other = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  assert_true(other >= 0 && flock(other, LOCK_EX) == 0);
  assert_false(eco_ok(gw_snapshot_save(st, 0, path)));
  assert_int_equal(access(path, F_OK), -1);
  close(other);
  size_t keys = 0;
  size_t routes = 0;
  st = saved_and_loaded(st, path, &keys, &routes);
  assert_int_equal(keys, 1);
  gw_store_free(st);
  assert_true(unlink(path) == 0 && unlink(lock) == 0);
  assert_int_equal(rmdir(dir), 0);  // nothing else lies there
}

static void test_the_file_brings_back_what_was_saved_and_a_damaged_one_nothing(void **state) {
  (void)state;
  char path[] = "/tmp/gw-snapshot-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  gw_store *st = gw_store_new(1);
  for (unsigned i = 0; i < 100; i++) {
    put_key(st, i, 5);
    put_route(st, i + 1, 9);
  }
  gw_store_publish(st);
  size_t keys = 0;
  size_t routes = 0;
  st = saved_and_loaded(st, path, &keys, &routes);
  assert_int_equal(keys, 100);
  assert_int_equal(routes, 100);
  gw_store_drop_file_routes(st);
  gw_store_publish(st);
  const gw_snapshot *s = gw_reader_begin(st, 0);
  assert_true(s->n_keys == 100 && s->n_routes == 0);
  gw_reader_end(st, 0);
  gw_store_free(st);
  FILE *f = fopen(path, "r+e");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  for (long at = 0; at < size; at += 97) {
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 0x40, f);
    fflush(f);
    st = gw_store_new(1);
    assert_false(eco_ok(gw_snapshot_load(st, path, &keys, &routes)));
    assert_int_equal(keys + routes, 0);
    gw_store_free(st);
    fseek(f, at, SEEK_SET);
    fputc(c, f);
  }
  fclose(f);
  for (long cut = 0; cut < size; cut += 211) {
    assert_int_equal(truncate(path, size - cut - 1), 0);
    st = gw_store_new(1);
    assert_false(eco_ok(gw_snapshot_load(st, path, &keys, &routes)));
    gw_store_free(st);
    if (size - cut - 212 <= 0) {
      break;
    }
  }
  unlink(path);
  char lock[64];
  (void)snprintf(lock, sizeof lock, "%s.lock", path);
  unlink(lock);
}

static void test_malformed_routes_are_refused(void **state) {
  (void)state;
  gw_store *st = gw_store_new(1);
  uint8_t junk[64];
  srand(2);
  for (int round = 0; round < 5000; round++) {
    size_t n = (size_t)rand() % sizeof junk;
    for (size_t i = 0; i < n; i++) {
      junk[i] = (uint8_t)rand();
    }
    (void)gw_store_put_route(st, junk, n, false);
  }
  assert_false(gw_store_put_route(st, junk, 0, false));
  gw_store_publish(st);
  gw_store_free(st);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_store_agrees_with_a_plain_table_after_any_changes),
      cmocka_unit_test(test_a_snapshot_stays_whole_while_it_is_held),
      cmocka_unit_test(test_readers_beside_a_writer_never_see_freed_memory),
      cmocka_unit_test(test_two_processes_save_one_after_the_other_and_a_killed_one_leaves_one_piece),
      cmocka_unit_test(test_the_file_brings_back_what_was_saved_and_a_damaged_one_nothing),
      cmocka_unit_test(test_malformed_routes_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
