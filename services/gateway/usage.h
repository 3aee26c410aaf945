// Metering: loops push fixed records into a ring each, the metering thread takes them out (meter.h). One
// producer (the loop), one consumer (that thread), no lock. A full ring drops and counts.
#ifndef GATEWAY_USAGE_H
#define GATEWAY_USAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gw_limits.h"
#include "snapshot.h"

typedef struct gw_usage_record {
  const gw_cell *cell;
  int64_t instance_id;
  int64_t minute_us;
  int64_t bytes_in;
  int64_t bytes_out;
  uint32_t prompt_tokens;
  uint32_t completion_tokens;
  uint32_t first_byte_us;
  uint32_t error;  // 0 or 1
  uint64_t reserved;
} gw_usage_record;
_Static_assert(sizeof(gw_usage_record) == 64, "one cache line");

typedef struct gw_usage_ring {
  _Alignas(64) _Atomic uint64_t head;  // written by the loop
  _Alignas(64) _Atomic uint64_t tail;  // written by the metering thread
  _Atomic uint64_t dropped;
  _Alignas(64) gw_usage_record records[GW_USAGE_RING];
} gw_usage_ring;

gw_usage_ring *gw_usage_ring_new(void);
void gw_usage_push(gw_usage_ring *ring, const gw_usage_record *record);
bool gw_usage_pop(gw_usage_ring *ring, gw_usage_record *out);

#endif
