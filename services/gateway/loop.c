// The loop: turns, janitor, drain; see loop.h.
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "config.h"
#include "ecolink/error_json.h"
#include "ecolink/log.h"
#include "upstream.h"

void gw_list_add(gw_list *list, gw_client *c) {
  c->list = list;
  c->next = NULL;
  c->prev = list->tail;
  if (list->tail) {
    list->tail->next = c;
  } else {
    list->head = c;
  }
  list->tail = c;
}

void gw_list_remove(gw_list *list, gw_client *c) {
  if (c->prev) {
    c->prev->next = c->next;
  } else {
    list->head = c->next;
  }
  if (c->next) {
    c->next->prev = c->prev;
  } else {
    list->tail = c->prev;
  }
  c->list = NULL;
}

const gw_snapshot *gw_loop_snapshot(gw_loop *loop) {
  if (!loop->snapshot) {
    loop->snapshot = gw_reader_begin(loop->store, loop->index);
  }
  return loop->snapshot;
}

// xoroshiro128+: for load balancing only.
uint64_t gw_loop_random(gw_loop *loop) {
  uint64_t a = loop->random[0];
  uint64_t b = loop->random[1];
  uint64_t result = a + b;
  b ^= a;
  loop->random[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
  loop->random[1] = (b << 37) | (b >> 27);
  return result;
}

// Those of the last turn: what pauses meanwhile is the next one's. Each may close any other, which is still there then.
static void continue_paused(gw_loop *loop) {
  gw_io *io = loop->later;
  loop->later = NULL;
  while (io) {
    gw_io *next = io->later_next;
    const bool event = io->later_event;
    io->later = false;
    io->later_event = false;
    gw_io_continue(io);
    if (event && !io->closing) {
      io->fns->resumed(io);
    }
    io = next;
  }
}

static bool watch(gw_loop *loop, int fd, void *as) {
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = as};
  return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

static void unwatch_listeners(gw_loop *loop) {
  for (unsigned i = 0; i < loop->n_listeners; i++) {
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, loop->listeners[i], NULL);
  }
}

// At most so many per turn: those who are served already come first.
static void accept_clients(gw_loop *loop, int listener) {
  for (unsigned i = 0; i < GW_ACCEPTS_PER_TURN; i++) {
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    const int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      gw_client_accept(loop, fd, (struct sockaddr *)&peer);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // They stay in the queue; asked again at once, the kernel would say the same for ever.
      unwatch_listeners(loop);
      loop->deaf = true;
      return;
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

static void listen_again(gw_loop *loop) {
  for (unsigned i = 0; loop->deaf && i < loop->n_listeners; i++) {
    if (!watch(loop, loop->listeners[i], &loop->listeners[i]) && errno != EEXIST) {
      return;
    }
  }
  loop->deaf = false;
}

static void flush_dirty(gw_loop *loop) {
  while (loop->dirty) {
    gw_io *io = loop->dirty;
    loop->dirty = io->dirty_next;
    io->dirty = false;
    gw_io_flush(io);
  }
}

static void kill_all(gw_loop *loop) {
  while (loop->active.head) {
    gw_client_drop(loop->active.head);
  }
  while (loop->quiet.head) {
    gw_client_drop(loop->quiet.head);
  }
}

static void finish_drain(gw_loop *loop) {
  loop->killed = true;
  for (size_t i = 0; i < GW_REPLICA_BUCKETS; i++) {
    for (gw_replica *r = loop->replicas.buckets[i]; r; r = r->next) {
      assert(r->outstanding == 0);
      gw_upstreams_close_idle(r);
    }
  }
  uv_close((uv_handle_t *)&loop->janitor, NULL);
  uv_close((uv_handle_t *)&loop->wake, NULL);
}

// Its client may be sending the next request right now: it is answered, and told that it is the last one.
static bool may_still_ask(const gw_loop *loop, const gw_client *c) {
  uint64_t since_ms = c->since_ms > loop->drain_ms ? c->since_ms : loop->drain_ms;
  return loop->patient && gw_loop_now(loop) - since_ms < GW_DRAIN_IDLE_MS;
}

static void drain_step(gw_loop *loop) {
  if (!loop->draining || loop->killed) {
    return;
  }
  while (loop->quiet.head && !may_still_ask(loop, loop->quiet.head)) {  // longest idle first
    gw_client_finish(loop->quiet.head);
  }
  if (gw_loop_now(loop) >= loop->kill_at_ms) {
    kill_all(loop);
  }
  if (loop->n_clients == 0) {
    finish_drain(loop);
  }
}

// What /metrics reads while the loop runs on.
static void set_gauges(gw_loop *loop) {
  gw_metrics_set(&loop->metrics->held_bytes, loop->held);
  gw_metrics_set(&loop->metrics->blocks_used, loop->pool.n_used);
  gw_metrics_set(&loop->metrics->blocks_free,
                 loop->pool.blocks.n + loop->pool.large.n * (GW_LARGE_BLOCK / GW_BLOCK_SIZE));
}

static void check(gw_loop *loop) {
  gw_loop_tick(loop);
  flush_dirty(loop);
  drain_step(loop);
  set_gauges(loop);
  if (loop->snapshot) {
    gw_reader_end(loop->store, loop->index);
    loop->snapshot = NULL;
  }
  gw_io_free_closed(loop);
}

// How long there is nothing to do, as far as is known.
static int idle_ms(gw_loop *loop) {
  return loop->later || loop->dirty ? 0 : uv_backend_timeout(&loop->uv);
}

// Something happened to a connection, or somebody has come. True: libuv has something to do.
static bool take_event(gw_loop *loop, const struct epoll_event *e) {
  if (e->data.ptr == &loop->uv) {
    return true;
  }
  // Listeners are watched as the places in which their numbers stand, connections as themselves.
  const uintptr_t at = (uintptr_t)e->data.ptr - (uintptr_t)loop->listeners;
  if (at >= sizeof loop->listeners) {
    gw_io_event(e->data.ptr, e->events);
  } else if (loop->n_listeners > 0) {
    accept_clients(loop, *(const int *)e->data.ptr);
  }
  return false;
}

// What has happened by now, and, while much happens, what happens meanwhile: the more output leaves together, the less
// often its readers have to be woken.
static bool take_events(gw_loop *loop, int wait_ms) {
  struct epoll_event events[GW_EVENTS_MAX];
  bool uv = false;
  int n = epoll_wait(loop->epoll, events, GW_EVENTS_MAX, wait_ms);
  loop->turn++;
  uv_update_time(&loop->uv);
  gw_loop_tick(loop);
  continue_paused(loop);
  for (int taken = 0; n > 0;) {
    for (int i = 0; i < n; i++) {
      uv = take_event(loop, &events[i]) || uv;
    }
    taken += n;
    n = n >= GW_EVENTS_MANY && taken < GW_EVENTS_MAX ? epoll_wait(loop->epoll, events, GW_EVENTS_MAX, 0) : 0;
  }
  return uv;
}

void gw_loop_turn(gw_loop *loop, int wait_ms) {
  const int idle = idle_ms(loop);
  const bool uv = take_events(loop, idle >= 0 && (wait_ms < 0 || idle < wait_ms) ? idle : wait_ms);
  if (uv || uv_backend_timeout(&loop->uv) == 0) {
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
  }
  check(loop);
}

static void begin_drain(gw_loop *loop, bool patient) {
  loop->draining = true;
  loop->patient = patient;
  loop->drain_ms = gw_loop_now(loop);
  loop->kill_at_ms = loop->drain_ms + (uint64_t)gw_cfg.drain_requests_s * 1000;
  // A close does not end the watch of a socket that another process has, too.
  unwatch_listeners(loop);
  while (loop->n_listeners > 0) {
    (void)close(loop->listeners[--loop->n_listeners]);
  }
}

static void wake_cb(uv_async_t *h) {
  gw_loop *loop = h->data;
  gw_loop_tick(loop);
  bool retire = atomic_load(&loop->retire);
  if ((retire || atomic_load(&loop->stop)) && !loop->draining) {
    begin_drain(loop, retire);
  }
  gw_bridge_deliver(loop);
}

// What is counted up is counted down: with nobody at work every count is back where it began.
static void assert_idle(const gw_loop *loop) {
  assert(loop->held == 0 && loop->requests.n_used == 0);
  assert(gw_metrics_is(&loop->metrics->in_flight, 0) && gw_metrics_is(&loop->metrics->streams, 0));
  (void)loop;
}

// The line behind the lines of a second.
static void log_refusals(gw_loop *loop) {
  for (int code = ECO_OK + 1; code < ECO_CODE_COUNT; code++) {
    uint32_t more = gw_refusals_end(&loop->refusals, (eco_code)code);
    if (more > 0) {
      eco_log(ECO_LOG_INFO, "more requests refused", ECO_F_STR("code", eco_code_word((eco_code)code)),
              ECO_F_I64("count", more));
    }
  }
}

static void janitor_cb(uv_timer_t *h) {
  gw_loop *loop = h->data;
  gw_loop_tick(loop);
  listen_again(loop);
  uint64_t now = gw_loop_now(loop);
  for (gw_client *c = loop->active.head, *next = NULL; c; c = next) {
    next = c->next;
    gw_client_tick(c, now);
  }
  while (loop->quiet.head && now - loop->quiet.head->since_ms > (uint64_t)gw_cfg.client_idle_timeout_ms) {
    gw_client_tick(loop->quiet.head, now);
  }
  for (gw_upstream *up = loop->busy; up;) {
    // A failed attempt may begin another (added at the head) and closes none but its own.
    gw_upstream *next = up->next;
    gw_upstream_tick(up, now);
    up = next;
  }
  if (!loop->active.head && !loop->busy) {
    assert_idle(loop);
  }
  if (now - loop->second_ms >= 1000) {
    loop->second_ms = now;
    gw_replicas_sweep(loop);
    log_refusals(loop);
  }
}

// Timers and wake-ups are libuv's, on this thread: its descriptor is watched with the others.
static bool embed_uv(gw_loop *loop) {
  if (uv_loop_init(&loop->uv) != 0 || uv_timer_init(&loop->uv, &loop->janitor) != 0 ||
      uv_async_init(&loop->uv, &loop->wake, wake_cb) != 0) {
    return false;
  }
  loop->janitor.data = loop;
  loop->wake.data = loop;
  uv_timer_start(&loop->janitor, janitor_cb, GW_JANITOR_MS, GW_JANITOR_MS);
  (void)uv_run(&loop->uv, UV_RUN_NOWAIT);  // only then is what wakes it registered with its descriptor
  return watch(loop, uv_backend_fd(&loop->uv), &loop->uv);
}

eco_status gw_loop_new(unsigned index, gw_store *store, gw_mgmt *mgmt, gw_loop **out) {
  gw_loop *loop = aligned_alloc(64, (sizeof *loop + 63) / 64 * 64);
  if (!loop) {
    abort();
  }
  memset(loop, 0, sizeof *loop);
  loop->index = index;
  loop->store = store;
  loop->mgmt = mgmt;
  loop->clients.size = sizeof(gw_client);
  loop->requests.size = sizeof(gw_req);
  loop->upstreams.size = sizeof(gw_upstream);
  loop->metrics = gw_metrics_new();
  loop->read_buffer = malloc(GW_READ_BUFFER);
  loop->scratch = malloc(GW_SCRATCH);
  loop->usage = gw_usage_ring_new();
  if (!loop->read_buffer || !loop->scratch) {
    abort();
  }
  eco_buf_init(&loop->text, GW_MODELS_LIST_MAX);
  randombytes_buf(loop->random, sizeof loop->random);
  randombytes_buf(&loop->id_seed, sizeof loop->id_seed);
  pthread_mutex_init(&loop->shared.lock, NULL);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  *out = loop;
  if (loop->epoll < 0 || !embed_uv(loop)) {
    return eco_error(ECO_INTERNAL, "cannot make an event loop: %m");
  }
  return eco_success();
}

eco_status gw_loop_listen(gw_loop *loop, int fd) {
  assert(loop->n_listeners < GW_LOOPS_MAX);
  int *listener = &loop->listeners[loop->n_listeners++];
  *listener = fd;
  return listen(fd, GW_LISTEN_BACKLOG) == 0 && watch(loop, fd, listener)
             ? eco_success()
             : eco_error(ECO_INTERNAL, "cannot listen on %s: %m", gw_cfg.listen);
}

static void *loop_main(void *arg) {
  gw_loop *loop = arg;
  char name[16];
  (void)snprintf(name, sizeof name, "gw-loop-%u", loop->index);
  (void)pthread_setname_np(pthread_self(), name);
  while (!loop->killed) {
    gw_loop_turn(loop, -1);
  }
  (void)uv_run(&loop->uv, UV_RUN_DEFAULT);  // closes its handles
  log_refusals(loop);
  assert(loop->n_clients == 0 && !loop->active.head && !loop->busy);
  assert_idle(loop);
  return NULL;
}

eco_status gw_loop_start(gw_loop *loop) {
  int error = pthread_create(&loop->thread, NULL, loop_main, loop);
  return error ? eco_error(ECO_INTERNAL, "cannot start a loop: %s", strerror(error)) : eco_success();
}

void gw_loop_stop(gw_loop *loop) {
  atomic_store(&loop->stop, true);
  uv_async_send(&loop->wake);
}

void gw_loop_retire(gw_loop *loop) {
  atomic_store(&loop->retire, true);
  uv_async_send(&loop->wake);
}

void gw_loop_join(gw_loop *loop) {
  pthread_join(loop->thread, NULL);
}

gw_failure_report *gw_loop_take_reports(gw_loop *loop) {
  pthread_mutex_lock(&loop->shared.lock);
  gw_failure_report *list = loop->shared.reports;
  loop->shared.reports = NULL;
  pthread_mutex_unlock(&loop->shared.lock);
  return list;
}

void gw_loop_free(gw_loop *loop) {
  gw_bridge_deliver(loop);  // pieces that came after their clients had gone
  uv_loop_close(&loop->uv);
  (void)close(loop->epoll);
  gw_replicas_free(loop);
  gw_failure_reports_free(gw_loop_take_reports(loop));
  gw_pool_drain(&loop->pool);
  gw_slab_drain(&loop->clients);
  gw_slab_drain(&loop->requests);
  gw_slab_drain(&loop->upstreams);
  eco_buf_free(&loop->text);
  pthread_mutex_destroy(&loop->shared.lock);
  free(loop->usage);
  free(loop->read_buffer);
  free(loop->scratch);
  free(loop);
}
