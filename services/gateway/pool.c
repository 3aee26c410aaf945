// Blocks, slabs and chains; see pool.h. Under AddressSanitizer nothing is pooled, so that it sees every misuse.
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "huge.h"

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

// In small blocks.
static size_t size_of(const gw_block *b) {
  return (sizeof *b + b->cap) / GW_BLOCK_SIZE;
}

static gw_block *take(gw_pool *pool, gw_free_blocks *list, uint32_t cap) {
  gw_block *b = list->first;
  if (b) {
    list->first = b->next;
    list->n--;
  } else {
    b = must(malloc(sizeof *b + cap));
  }
  *b = (gw_block){.cap = cap};
  pool->n_used += size_of(b);
  return b;
}

gw_block *gw_block_get(gw_pool *pool) {
  return take(pool, &pool->blocks, GW_BLOCK_DATA);
}

gw_block *gw_block_get_large(gw_pool *pool) {
  return take(pool, &pool->large, GW_LARGE_DATA);
}

void gw_block_put(gw_pool *pool, gw_block *b) {
  if (!b) {
    return;
  }
  bool large = b->cap == GW_LARGE_DATA;
  gw_free_blocks *list = large ? &pool->large : &pool->blocks;
  pool->n_used -= size_of(b);
  if (!POOLED || list->n >= (size_t)(large ? GW_POOL_KEEP_LARGE : GW_POOL_KEEP)) {
    free(b);
    return;
  }
  b->next = list->first;
  list->first = b;
  list->n++;
}

static void drain(gw_free_blocks *list) {
  while (list->first) {
    gw_block *next = list->first->next;
    free(list->first);
    list->first = next;
  }
  list->n = 0;
}

void gw_pool_drain(gw_pool *pool) {
  drain(&pool->blocks);
  drain(&pool->large);
}

void *gw_slab_get(gw_slab *slab) {
  void *p = slab->free;
  if (p) {
    memcpy(&slab->free, p, sizeof slab->free);
  } else {
    p = gw_huge_alloc(slab->size);
  }
  slab->n_used++;
  return p;
}

void gw_slab_put(gw_slab *slab, void *p) {
  slab->n_used--;
  if (!POOLED) {
    gw_huge_free(p, slab->size);
    return;
  }
  memcpy(p, &slab->free, sizeof slab->free);
  slab->free = p;
}

void gw_slab_drain(gw_slab *slab) {
  while (slab->free) {
    void *p = slab->free;
    memcpy(&slab->free, p, sizeof slab->free);
    gw_huge_free(p, slab->size);
  }
}

static void append(gw_chain *c, gw_block *b) {
  if (c->tail) {
    c->tail->next = b;
  } else {
    c->head = b;
  }
  c->tail = b;
}

uv_buf_t gw_chain_room(gw_pool *pool, gw_chain *c) {
  if (!c->tail || c->tail->len == c->tail->cap) {
    append(c, gw_block_get_large(pool));
  }
  return uv_buf_init((char *)c->tail->data + c->tail->len, c->tail->cap - c->tail->len);
}

void gw_chain_add(gw_pool *pool, gw_chain *c, const void *p, size_t n) {
  const uint8_t *from = p;
  c->end += n;
  if (c->tail && from == c->tail->data + c->tail->len) {
    c->tail->len += (uint32_t)n;  // never more than the room that was given
    return;
  }
  while (n > 0) {
    if (!c->tail || c->tail->len == c->tail->cap) {
      append(c, gw_block_get(pool));
    }
    size_t room = c->tail->cap - c->tail->len;
    size_t take_now = n < room ? n : room;
    memcpy(c->tail->data + c->tail->len, from, take_now);
    c->tail->len += (uint32_t)take_now;
    from += take_now;
    n -= take_now;
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
