// A TCP connection of a loop, client's or engine's: reading into the loop's one buffer, and an output queue flushed
// once per turn.
//
//   gw_io_write --> queue of blocks --(check phase)--> uv_try_write --(what the kernel did not take)--> uv_write
//   gw_io_offer: the same for few bytes; of many the kernel takes what it can from where they are, the rest stays there
// Failures never come out of gw_io_write itself: they are delivered by `fail` in the check phase, so a caller is never
// destroyed under its own feet.
#ifndef GATEWAY_IO_H
#define GATEWAY_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "pool.h"

typedef struct gw_loop gw_loop;
typedef struct gw_io gw_io;

typedef struct gw_io_fns {
  void (*data)(gw_io *io, const char *p, size_t n);  // borrowed during the call
  void (*eof)(gw_io *io);
  void (*fail)(gw_io *io, int error);  // read or write error; the io must be closed
  void (*drained)(gw_io *io);          // the queue fell below GW_OUT_LOW after having been congested
  void (*resumed)(gw_io *io);          // asked for by gw_io_later
  void (*closed)(gw_io *io);           // the handle is gone: free the object
  uv_buf_t (*room)(gw_io *io);         // where to read to; NULL, or of length 0: the loop's buffer
} gw_io_fns;

struct gw_io {
  uv_tcp_t tcp;
  gw_loop *loop;
  const gw_io_fns *fns;
  gw_block *out_head;
  gw_block *out_tail;
  size_t out_bytes;
  size_t wreq_bytes;  // of the uv_write under way
  uint64_t sent;      // bytes handed to the kernel
  uint64_t received;
  uint64_t progress_ms;  // last time the kernel took something, or the queue was empty
  gw_io *dirty_next;
  gw_io *later_next;
  uint32_t turn;
  uint8_t reads;  // in this turn
  bool open;      // may be written to (connected)
  bool want_read;
  bool reading;
  bool writing;  // a uv_write is under way
  bool congested;
  bool full;  // the kernel took less than it was given in this turn
  bool dirty;
  bool later;
  bool later_event;
  bool shut_after;  // half-close once the queue is empty
  bool shut;
  bool closing;
  int error;
};

void gw_io_init(gw_io *io, gw_loop *loop, const gw_io_fns *fns);  // uv_tcp_init; the object may hold garbage before
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
void gw_io_later(gw_io *io);                  // fns->resumed in the check phase
void gw_io_close(gw_io *io);                  // once; drops what is queued

#endif
