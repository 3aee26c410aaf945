// Per-loop memory: blocks of 16 KB, a few of 64 KB, and chains of them. No locks: a pool belongs to its loop's thread.
//
//   gw_chain: bytes [start, end) of a stream; head->data begins at offset `start`. Bytes before a position can be given
//   back.
#ifndef GATEWAY_POOL_H
#define GATEWAY_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "gw_limits.h"

typedef struct gw_block {
  struct gw_block *next;
  uint32_t off;  // bytes at the front that are used up
  uint32_t len;  // data[off .. len) is valid
  uint32_t cap;  // of data: GW_BLOCK_DATA, or GW_LARGE_DATA
  uint8_t data[];
} gw_block;
enum { GW_BLOCK_DATA = GW_BLOCK_SIZE - sizeof(gw_block), GW_LARGE_DATA = GW_LARGE_BLOCK - sizeof(gw_block) };

typedef struct gw_free_blocks {
  gw_block *first;
  size_t n;
} gw_free_blocks;

typedef struct gw_pool {
  gw_free_blocks blocks;
  gw_free_blocks large;
  size_t n_used;  // in small blocks: a large one counts four
} gw_pool;

gw_block *gw_block_get(gw_pool *pool);  // never NULL: without memory the process ends
gw_block *gw_block_get_large(gw_pool *pool);
void gw_block_put(gw_pool *pool, gw_block *b);
void gw_pool_drain(gw_pool *pool);

// Fixed-size objects (requests, connections), kept on a free list.
typedef struct gw_slab {
  void *free;
  size_t size;
  size_t n_used;
} gw_slab;
void *gw_slab_get(gw_slab *slab);  // not zeroed
void gw_slab_put(gw_slab *slab, void *p);
void gw_slab_drain(gw_slab *slab);

typedef struct gw_chain {
  gw_block *head;
  gw_block *tail;
  uint64_t start;
  uint64_t end;
} gw_chain;
static inline uint64_t gw_chain_held(const gw_chain *c) {
  return c->end - c->start;
}
// Bytes that were read into gw_chain_room are already there, and are not copied.
void gw_chain_add(gw_pool *pool, gw_chain *c, const void *p, size_t n);
// Room of a large block at the chain's end, to read into.
uv_buf_t gw_chain_room(gw_pool *pool, gw_chain *c);
// Gives back whole blocks that lie before `offset`.
void gw_chain_release(gw_pool *pool, gw_chain *c, uint64_t offset);
void gw_chain_clear(gw_pool *pool, gw_chain *c);  // empties and resets
// Buffers that cover [from, min(to, end)), at most max of them. Returns how many; *bytes gets their sum.
unsigned gw_chain_iov(const gw_chain *c, uint64_t from, uint64_t to, uv_buf_t *iov, unsigned max, size_t *bytes);

#endif
