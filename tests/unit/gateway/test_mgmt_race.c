// Calls of the management API from many threads: answers arrive while calls are released and asked for more. Meant for
// TSan too.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include <sched.h>
#include <stdlib.h>

#include "ecolink/v1/scheduler.pb-c.h"
#include "mgmt_internal.h"

enum { THREADS = 3, CALLS = 3000, QUEUE = 64 };

typedef struct asked {
  eco_rpc_done_fn done;
  void *arg;
} asked;

// What was asked waits here for a thread that answers.
static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  asked items[QUEUE];
  size_t count;
  bool closing;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void queue_rpc(eco_service *svc, const char *method, const Ecolink__V1__RequestContext *context,
                      const uint8_t *request, size_t request_len, int timeout_ms, eco_rpc_done_fn done, void *arg) {
  (void)svc;
  (void)method;
  (void)context;
  (void)request;
  (void)request_len;
  (void)timeout_ms;
  pthread_mutex_lock(&queue.lock);
  while (queue.count == QUEUE) {
    pthread_cond_wait(&queue.changed, &queue.lock);
  }
  queue.items[queue.count++] = (asked){done, arg};
  pthread_cond_broadcast(&queue.changed);
  pthread_mutex_unlock(&queue.lock);
}

static void *answer_thread(void *arg) {
  (void)arg;
  uint8_t packed[64];
  Ecolink__V1__InstanceLogs logs = ECOLINK__V1__INSTANCE_LOGS__INIT;
  logs.next_cursor = (char *)"c";
  const size_t len = ecolink__v1__instance_logs__pack(&logs, packed);
  for (;;) {
    pthread_mutex_lock(&queue.lock);
    while (queue.count == 0 && !queue.closing) {
      pthread_cond_wait(&queue.changed, &queue.lock);
    }
    if (queue.count == 0) {
      pthread_mutex_unlock(&queue.lock);
      return NULL;
    }
    const asked a = queue.items[--queue.count];
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    a.done(a.arg, eco_success(), packed, len);
  }
}

typedef struct watcher {
  atomic_int pieces;
  atomic_bool released;
  atomic_int late;  // pieces that came after release
} watcher;

static void on_piece(void *arg, const gw_mgmt_piece *piece) {
  watcher *w = arg;
  (void)piece;
  if (atomic_load(&w->released)) {
    atomic_fetch_add(&w->late, 1);
  }
  atomic_fetch_add(&w->pieces, 1);
}

static void follow_for_a_while(gw_mgmt *m, watcher *w, int next_pieces) {
  const gw_mgmt_request request = {.method = "GET",
                                   .path = "/inference-instances/7/logs",
                                   .query = "follow=true",
                                   .body = (const uint8_t *)"",
                                   .content_type = "",
                                   .accept = "",
                                   .idempotency_key = "",
                                   .request_id = "req",
                                   .trace_id = "",
                                   .caller = {.account_id = "acc",
                                              .key_id = "key",
                                              .member_id = "",
                                              .operator_id = "",
                                              .role = ECOLINK__V1__ROLE__ROLE_OWNER}};
  gw_mgmt_call *call = gw_mgmt_start(m, &request, on_piece, w);
  for (int i = 0; i < next_pieces; i++) {
    while (atomic_load(&w->pieces) <= i) {
      sched_yield();
    }
    gw_mgmt_next(call);
  }
  gw_mgmt_release(call);
  atomic_store(&w->released, true);
}

static void test_no_piece_comes_after_release_whatever_the_threads_do(void **state) {
  (void)state;
  static watcher watchers[CALLS];
  static const char HEX[] = "4f1c2d0e7b3a59687766554433221100ffeeddccbbaa99887766554433221109";
  gw_mgmt_conf =
      (gw_mgmt_config){.public_url = "http://x", .seal_public_key = HEX, .idempotency_secret = "sixteen or more!"};
  gw_mgmt *m = NULL;
  assert_true(eco_ok(gw_mgmt_new_with(NULL, queue_rpc, &m)));
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, answer_thread, NULL), 0);
  }
  for (int i = 0; i < CALLS; i++) {
    follow_for_a_while(m, &watchers[i], i % 4);
  }
  gw_mgmt_free(m);  // calls under way keep it
  pthread_mutex_lock(&queue.lock);
  queue.closing = true;
  pthread_cond_broadcast(&queue.changed);
  pthread_mutex_unlock(&queue.lock);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  for (int i = 0; i < CALLS; i++) {
    assert_int_equal(atomic_load(&watchers[i].late), 0);
    assert_true(atomic_load(&watchers[i].pieces) <= i % 4 + 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_piece_comes_after_release_whatever_the_threads_do),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
