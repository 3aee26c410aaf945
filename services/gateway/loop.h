// One event loop on one thread: its listeners, pools, snapshot reader, replicas and janitor. Nothing in a gw_loop is
// touched by another thread but what `shared` holds.
//
// A turn: wait (epoll) -> events (connections paused in the last turn, then those that something happened to: read,
// parse, queue output) -> libuv, if it has something -> check (flush every connection with output, let go of the
// snapshot and of closed connections). The snapshot is picked up at most once per turn, by gw_loop_snapshot, and
// borrowed until the turn ends.
//
// Connections are watched by an epoll of the loop's own, edge-triggered, since libuv's level-triggered streams cost two
// polls an event and a cache line or four (docs/gateway-performance.md); timers and other threads' wake-ups are
// libuv's, whose descriptor is one of those that are watched.
#ifndef GATEWAY_LOOP_H
#define GATEWAY_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "ecolink/buf.h"
#include "io.h"
#include "metrics.h"
#include "mgmt.h"
#include "pool.h"
#include "refusals.h"
#include "replica.h"
#include "snapshot.h"
#include "usage.h"

typedef struct gw_client gw_client;
typedef struct gw_upstream gw_upstream;
struct gw_piece;

typedef struct gw_list {  // doubly linked, of clients
  gw_client *head;
  gw_client *tail;
} gw_list;

struct gw_loop {
  int epoll;
  int listeners[GW_LOOPS_MAX];  // one; more after a hand-over from a gateway with more loops
  unsigned n_listeners;
  bool deaf;  // they are not watched until the next janitor: no descriptors were left
  uv_loop_t uv;
  uv_timer_t janitor;
  uv_async_t wake;
  unsigned index;
  uint32_t turn;
  gw_store *store;
  gw_mgmt *mgmt;
  const gw_snapshot *snapshot;  // of this turn; NULL: not picked up
  char *read_buffer;
  char *scratch;
  eco_buf text;  // for our own bodies: kept, so that an error costs no allocation
  gw_metrics *metrics;
  gw_pool pool;
  gw_slab clients;
  gw_slab requests;
  gw_slab upstreams;
  gw_io *dirty;
  gw_io *later;
  gw_io *closed;
  gw_list active;     // clients with a request, lingering or tunnelling
  gw_list quiet;      // idle ones, longest idle first
  gw_upstream *busy;  // upstreams that work for a request
  gw_replicas replicas;
  gw_refusals refusals;
  size_t n_clients;
  uint64_t held;  // bytes of request bodies
  uint64_t random[2];
  uint64_t now_ns;  // gw_loop_tick's
  uint64_t id_seed;
  uint64_t id_count;
  uint64_t second_ms;  // last once-a-second sweep
  bool draining;
  bool patient;       // draining, and kept connections are given time for the request that may be on its way
  uint64_t drain_ms;  // since when it drains
  bool killed;
  uint64_t kill_at_ms;
  gw_usage_ring *usage;
  struct {  // other threads: under `lock`, then uv_async_send(&wake)
    pthread_mutex_t lock;
    struct gw_piece *pieces;  // of management answers, oldest first
    struct gw_piece *pieces_tail;
    gw_failure_report *reports;
  } shared;
  _Atomic bool stop;
  _Atomic bool retire;
  pthread_t thread;
};

eco_status gw_loop_new(unsigned index, gw_store *store, gw_mgmt *mgmt, gw_loop **out);  // not running yet
// Has it accept from this socket (listeners.h), which becomes its own, at a failure too. Before it runs.
eco_status gw_loop_listen(gw_loop *loop, int fd);
eco_status gw_loop_start(gw_loop *loop);
// One turn, which waits for at most so many ms (-1: until something happens). gw_loop_start's thread makes them until
// the end; a test may make them by itself instead.
void gw_loop_turn(gw_loop *loop, int wait_ms);
// Both ask it to accept no more and to drain; any thread.
void gw_loop_stop(gw_loop *loop);    // idle connections are closed at once
void gw_loop_retire(gw_loop *loop);  // another process accepts: idle ones get GW_DRAIN_IDLE_MS
void gw_loop_join(gw_loop *loop);    // waits for its end
void gw_loop_free(gw_loop *loop);

static inline uint64_t gw_loop_now(const gw_loop *loop) {
  return uv_now(&loop->uv);
}
// The exact clock is read once per event (bytes that came, a connection made, the check phase) and kept for its
// handlers.
static inline void gw_loop_tick(gw_loop *loop) {
  loop->now_ns = uv_hrtime();
}
const gw_snapshot *gw_loop_snapshot(gw_loop *loop);
uint64_t gw_loop_random(gw_loop *loop);
// The failures since the last call, for the bus thread; the caller frees the list with gw_failure_reports_free.
gw_failure_report *gw_loop_take_reports(gw_loop *loop);

void gw_list_add(gw_list *list, gw_client *c);
void gw_list_remove(gw_list *list, gw_client *c);

#endif
