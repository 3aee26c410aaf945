// Small constructors for protobuf messages whose memory is the arena's.
#ifndef BILLING_PBUTIL_H
#define BILLING_PBUTIL_H

#include "ecolink/arena.h"
#include "ecolink/v1/common.pb-c.h"

static inline Ecolink__V1__Money *pb_money(eco_arena *arena, int64_t micros) {
  Ecolink__V1__Money *m = eco_alloc(arena, sizeof *m);
  ecolink__v1__money__init(m);
  m->micros = micros;
  return m;
}

static inline Ecolink__V1__Timestamp *pb_time(eco_arena *arena, int64_t us) {
  Ecolink__V1__Timestamp *t = eco_alloc(arena, sizeof *t);
  ecolink__v1__timestamp__init(t);
  t->micros = us;
  return t;
}

// `next_cursor` may be NULL: there is no further page.
static inline Ecolink__V1__PageInfo *pb_page(eco_arena *arena, const char *next_cursor) {
  Ecolink__V1__PageInfo *p = eco_alloc(arena, sizeof *p);
  ecolink__v1__page_info__init(p);
  p->has_more = next_cursor != NULL;
  p->next_cursor = eco_strdup(arena, next_cursor);
  return p;
}

#endif
