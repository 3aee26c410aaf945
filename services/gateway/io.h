// A TCP connection of a loop, client's or engine's: reading into the loop's one buffer, and an output queue flushed
// once per turn.
//
//   gw_io_write --> queue of blocks --(check phase)--> send --(what the kernel did not take)--> the next EPOLLOUT
//   gw_io_offer: the same for few bytes; of many the kernel takes what it can from where they are, the rest stays there
//
// The socket is watched once, edge-triggered, both ways (epoll(7)): an event says that something has changed,
// `readable` and `writable` remember it until the kernel says otherwise. Nothing is told to the kernel when reading
// pauses. Failures never come out of gw_io_write itself: they are delivered by `fail` in the check phase, so a caller
// is never destroyed under its own feet. A closed connection's memory lives to the end of the turn.
#ifndef GATEWAY_IO_H
#define GATEWAY_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "pool.h"

typedef struct gw_loop gw_loop;
typedef struct gw_io gw_io;

typedef struct gw_io_fns {
  void (*connected)(gw_io *io);                      // after gw_io_connect
  void (*data)(gw_io *io, const char *p, size_t n);  // borrowed during the call
  void (*eof)(gw_io *io);
  void (*fail)(gw_io *io, int error);  // connect, read or write error, a negative errno; the io must be closed
  void (*drained)(gw_io *io);          // the queue fell below GW_OUT_LOW after having been congested
  void (*resumed)(gw_io *io);          // asked for by gw_io_later
  void (*closed)(gw_io *io);           // free the object
  uv_buf_t (*room)(gw_io *io);         // where to read to; NULL, or of length 0: the loop's buffer
} gw_io_fns;

// What every event touches stands first, on one cache line.
struct gw_io {
  int fd;         // -1: none
  uint32_t turn;  // of `reads`
  uint8_t reads;
  bool open;  // connected: may be written to
  bool want_read;
  bool readable;  // bytes, or the end, may be there
  bool ended;     // the peer has finished or reset: reading goes on to the end
  bool writable;
  bool congested;
  bool closing;
  gw_loop *loop;
  const gw_io_fns *fns;
  gw_block *out_head;
  gw_block *out_tail;
  size_t out_bytes;
  gw_io *dirty_next;
  bool dirty;
  bool later;
  bool later_event;
  bool shut_after;  // half-close once the queue is empty
  bool shut;
  int error;
  uint64_t sent;  // bytes handed to the kernel
  uint64_t received;
  uint64_t progress_ms;  // last time the kernel took something, or the queue was empty
  gw_io *later_next;
  gw_io *closed_next;
};

void gw_io_init(gw_io *io, gw_loop *loop, const gw_io_fns *fns);  // the object may hold garbage before
// Takes over a connected socket, non-blocking; also when it fails (a negative errno).
int gw_io_open(gw_io *io, int fd);
// Begins to connect: `connected` or `fail` says how it went. Fails with a negative errno.
int gw_io_connect(gw_io *io, const struct sockaddr *to);
void gw_io_event(gw_io *io, uint32_t events);  // called by the loop: what epoll says
void gw_io_continue(gw_io *io);                // called by the loop: reads on where a turn ended
void gw_io_read(gw_io *io, bool on);
// Copies (small) or tries to send at once (large, with an empty queue), then queues the rest.
void gw_io_writev(gw_io *io, const uv_buf_t *iov, unsigned n);
void gw_io_write(gw_io *io, const void *p, size_t n);
// For bytes that stay with the caller until they are taken: returns how many were, sent or queued. When not all were,
// `congested` is set, and `drained` says when to offer the rest.
size_t gw_io_offer(gw_io *io, const uv_buf_t *iov, unsigned n);
void gw_io_fail_later(gw_io *io, int error);  // delivered in the check phase
void gw_io_flush(gw_io *io);                  // called by the loop in its check phase
void gw_io_shut(gw_io *io);                   // half-close after what is queued
void gw_io_later(gw_io *io);                  // fns->resumed in the next turn
void gw_io_close(gw_io *io);                  // once; drops what is queued; `closed` comes at the end of the turn
void gw_io_free_closed(gw_loop *loop);        // called by the loop

#endif
