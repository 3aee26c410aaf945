// Blocks, slabs and chains; see pool.h. Under AddressSanitizer nothing is pooled, so that it sees every misuse.
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
enum { POOLED = 0 };
#else
enum { POOLED = 1 };
#endif

static void *must(void *p) {
  if (!p) {
    abort();
  }
  return p;
}

gw_block *gw_block_get(gw_pool *pool) {
  gw_block *b = pool->free;
  if (b) {
    pool->free = b->next;
    pool->n_free--;
  } else {
    b = must(malloc(GW_BLOCK_SIZE));
  }
  pool->n_used++;
  b->next = NULL;
  b->off = 0;
  b->len = 0;
  return b;
}

void gw_block_put(gw_pool *pool, gw_block *b) {
  if (!b) {
    return;
  }
  pool->n_used--;
  if (!POOLED || pool->n_free >= GW_POOL_KEEP) {
    free(b);
    return;
  }
  b->next = pool->free;
  pool->free = b;
  pool->n_free++;
}

void gw_pool_drain(gw_pool *pool) {
  while (pool->free) {
    gw_block *next = pool->free->next;
    free(pool->free);
    pool->free = next;
  }
  pool->n_free = 0;
}

void *gw_slab_get(gw_slab *slab) {
  void *p = slab->free;
  if (p) {
    memcpy(&slab->free, p, sizeof slab->free);
  } else {
    p = must(malloc(slab->size));
  }
  slab->n_used++;
  return p;
}

void gw_slab_put(gw_slab *slab, void *p) {
  slab->n_used--;
  if (!POOLED) {
    free(p);
    return;
  }
  memcpy(p, &slab->free, sizeof slab->free);
  slab->free = p;
}

void gw_slab_drain(gw_slab *slab) {
  while (slab->free) {
    void *p = slab->free;
    memcpy(&slab->free, p, sizeof slab->free);
    free(p);
  }
}

void gw_chain_add(gw_pool *pool, gw_chain *c, const void *p, size_t n) {
  const uint8_t *from = p;
  c->end += n;
  while (n > 0) {
    if (!c->tail || c->tail->len == GW_BLOCK_DATA) {
      gw_block *b = gw_block_get(pool);
      if (c->tail) {
        c->tail->next = b;
      } else {
        c->head = b;
      }
      c->tail = b;
    }
    size_t room = GW_BLOCK_DATA - c->tail->len;
    size_t take = n < room ? n : room;
    memcpy(c->tail->data + c->tail->len, from, take);
    c->tail->len += (uint32_t)take;
    from += take;
    n -= take;
  }
}

void gw_chain_release(gw_pool *pool, gw_chain *c, uint64_t offset) {
  while (c->head && c->start + c->head->len <= offset) {
    gw_block *b = c->head;
    c->start += b->len;
    c->head = b->next;
    c->tail = c->head ? c->tail : NULL;
    gw_block_put(pool, b);
  }
}

void gw_chain_clear(gw_pool *pool, gw_chain *c) {
  while (c->head) {
    gw_block *b = c->head;
    c->head = b->next;
    gw_block_put(pool, b);
  }
  *c = (gw_chain){0};
}

unsigned gw_chain_iov(const gw_chain *c, uint64_t from, uint64_t to, uv_buf_t *iov, unsigned max, size_t *bytes) {
  uint64_t at = c->start;
  unsigned n = 0;
  *bytes = 0;
  for (gw_block *b = c->head; b && n < max && at < to; at += b->len, b = b->next) {
    uint64_t end = at + b->len < to ? at + b->len : to;
    if (end <= from || end <= at) {
      continue;
    }
    uint64_t begin = from > at ? from : at;
    iov[n++] = uv_buf_init((char *)b->data + (begin - at), (unsigned)(end - begin));
    *bytes += (size_t)(end - begin);
  }
  return n;
}
