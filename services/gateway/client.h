// A client connection: parses one request at a time, keeps what was sent ahead, ends in order. Loop thread only.
#ifndef GATEWAY_CLIENT_H
#define GATEWAY_CLIENT_H

#include <llhttp.h>

#include "address_limit.h"
#include "io.h"
#include "request.h"

typedef enum gw_client_mode {
  GW_CLIENT_OPEN,
  GW_CLIENT_LINGER,  // answered early: reads and drops, so that the answer is not lost to a reset
  GW_CLIENT_TUNNEL,
} gw_client_mode;

struct gw_client {
  gw_io io;  // first
  llhttp_t parser;
  gw_req *req;
  gw_block *ahead;  // bytes after the present request
  gw_client *prev;
  gw_client *next;
  gw_list *list;
  gw_client_mode mode;
  bool eof;
  bool trusted;
  uint64_t lingered;
  uint64_t since_ms;  // of the present wait: idle, head, or body
  char peer[46];
  gw_address address;  // of the peer
};

void gw_client_accept(gw_loop *loop, int fd, const struct sockaddr *peer);
void gw_client_drop(gw_client *c);                   // at once; cancels its request
void gw_client_finish(gw_client *c);                 // without a request: as soon as its last answer has gone out
void gw_client_request_done(gw_client *c);           // the answer is queued whole: next request, or lingering close
void gw_client_truncate(gw_client *c);               // the answer cannot be completed: ends without its proper end
void gw_client_tick(gw_client *c, uint64_t now_ms);  // janitor
void gw_client_progress(gw_client *c);               // after anything that may let the request go on

#endif
