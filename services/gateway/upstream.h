// A connection to a replica: works for one request at a time, then waits among the replica's idle ones. Loop thread
// only.
#ifndef GATEWAY_UPSTREAM_H
#define GATEWAY_UPSTREAM_H

#include <llhttp.h>

#include "io.h"
#include "request.h"

struct gw_upstream {
  gw_io io;  // first
  llhttp_t parser;
  gw_replica *replica;
  gw_req *req;        // NULL: idle
  gw_upstream *prev;  // in loop->busy
  gw_upstream *next;  // in loop->busy or replica->idle
  gw_block *head_block;
  bool reused;
  uint64_t sent_base;  // io.sent and io.received when this request began
  uint64_t received_base;
  bool tunnel;
  bool head_done;  // of the final answer
  bool complete;
  bool eof;
  bool retry;         // the head asked for another attempt
  unsigned failures;  // parser callbacks that passed a limit
  uint64_t deadline_ms;
  gw_failure deadline_kind;
  uint64_t idle_since_ms;
  uint64_t last_data_ms;
  gw_head head;
};

// Takes an idle connection (unless fresh) or opens one, and binds it to r. NULL only when none can be created.
gw_upstream *gw_upstream_take(gw_loop *loop, gw_replica *replica, gw_req *r, bool fresh);
// Unbinds it from its request; kept for reuse or closed.
void gw_upstream_release(gw_upstream *up, bool reusable);
void gw_upstream_tick(gw_upstream *up, uint64_t now_ms);
void gw_upstreams_close_idle(gw_replica *r);
void gw_upstreams_expire_idle(gw_replica *r, uint64_t now_ms);

#endif
