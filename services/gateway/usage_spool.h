// The append-only, capped spool of usage batches: what keeps them while the bus is away and across a kill.
//
//   usage.spool:  [magic u32][length u32][check u32][packed UsageBatch] ...      usage.ack: bytes of it that the bus
//   has taken
// A batch is appended before it is published and acknowledged after; replaying one twice is harmless, since its event
// id (gateway, boot, sequence) travels with it. Once all is acknowledged the file is emptied. Not locked: meter.c is.
#ifndef GATEWAY_USAGE_SPOOL_H
#define GATEWAY_USAGE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/status.h"
#include "ecolink/v1/gateway.pb-c.h"

typedef struct gw_spool {
  int fd;
  int ack_fd;
  int64_t size;
  int64_t acked;
  int64_t max_bytes;
  int64_t dropped;  // records that the cap refused
} gw_spool;

// dir "": the spool lives in memory and dies with the process.
eco_status gw_spool_open(gw_spool *s, const char *dir, int64_t max_bytes);
void gw_spool_close(gw_spool *s);
// False: over the cap or the disk is full; its records are counted as dropped.
bool gw_spool_append(gw_spool *s, const Ecolink__V1__UsageBatch *batch);
// The oldest batch not yet acknowledged; the caller frees it. NULL: none. Damaged bytes are skipped to the end of the
// file.
Ecolink__V1__UsageBatch *gw_spool_next(gw_spool *s, int64_t *end);
void gw_spool_ack(gw_spool *s, int64_t end);
static inline int64_t gw_spool_pending(const gw_spool *s) {
  return s->size - s->acked;
}

#endif
