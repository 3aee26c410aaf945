// The append-only, capped spool of usage batches: what keeps them while the bus is away and across a kill.
//
//   usage.spool:  [magic u32][length u32][check u32][packed UsageBatch] ...
//   usage.ack:    [bytes of it that the bus has taken i64][how often it was emptied i64]
// A batch is appended before it is published and acknowledged after; replaying one twice is harmless, since its event
// id (gateway, boot, sequence) travels with it. Once all is acknowledged the file is emptied.
//
// Two processes may use one folder: a gateway that drains and its successor. Each call takes the file's lock and goes
// by what the files say then; what one appended, either may send. One that is stopped with the lock in its hands, or
// whose disk hangs, keeps the other waiting for a moment, not for good. Threads of one process lock themselves
// (meter.c).
#ifndef GATEWAY_USAGE_SPOOL_H
#define GATEWAY_USAGE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "ecolink/v1/gateway.pb-c.h"

typedef struct gw_spool {
  int fd;
  int ack_fd;
  int64_t size;  // this, acked and round: as the files said at the last call
  int64_t acked;
  uint64_t round;        // grows when the file is emptied
  uint64_t taken_round;  // in which gw_spool_next read
  int64_t max_bytes;
  int64_t dropped;  // records that the cap refused
} gw_spool;

// dir "": the spool lives in memory and dies with the process.
eco_status gw_spool_open(gw_spool *s, const char *dir, int64_t max_bytes);
void gw_spool_close(gw_spool *s);
typedef enum gw_spool_result {
  GW_SPOOL_KEPT,
  GW_SPOOL_BUSY,  // the other process does not let go of the lock: nothing has happened, try again
  GW_SPOOL_FULL,  // over the cap, or the disk is full: its records are counted as dropped
} gw_spool_result;
gw_spool_result gw_spool_append(gw_spool *s, const Ecolink__V1__UsageBatch *batch);
// The oldest batch not yet acknowledged; the caller frees it. NULL: none, or the spool is busy. Damaged bytes are
// skipped to the end of the file.
Ecolink__V1__UsageBatch *gw_spool_next(gw_spool *s, int64_t *end);
// `end`: as the last gw_spool_next told it. Nothing, when the other process has acknowledged it meanwhile, or the spool
// is busy: the batch will be sent again.
void gw_spool_ack(gw_spool *s, int64_t end);
static inline int64_t gw_spool_pending(const gw_spool *s) {
  return s->size - s->acked;
}

#endif
