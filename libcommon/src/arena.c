// Arena: a list of growing blocks, freed together.
//
// Under AddressSanitizer every allocation is a block of its own, so that overruns between neighbours are seen.
#include "ecolink/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  BLOCK_FIRST = 4096,
  BLOCK_LARGEST = 256 * 1024,
};
// No message needs a fraction of this: more is a loop that forgot its bound.
static const size_t ARENA_MAX = (size_t)512 * 1024 * 1024;

typedef struct block {
  struct block *next;
  size_t cap;
  size_t used;
  alignas(max_align_t) unsigned char data[];
} block;

struct eco_arena {
  block *blocks;  // the one allocated from is first
  size_t next_cap;
  size_t total;
  ProtobufCAllocator pb;
};

static _Noreturn void out_of_memory(size_t size) {
  fprintf(stderr, "arena: cannot allocate %zu bytes\n", size);
  abort();
}

static void *pb_alloc(void *data, size_t size) {
  return eco_alloc(data, size);
}

static void pb_free(void *data, void *pointer) {
  (void)data;
  (void)pointer;
}

eco_arena *eco_arena_new(void) {
  eco_arena *arena = calloc(1, sizeof(*arena));
  if (arena == NULL) {
    out_of_memory(sizeof(*arena));
  }
  arena->next_cap = BLOCK_FIRST;
  arena->pb = (ProtobufCAllocator){.alloc = pb_alloc, .free = pb_free, .allocator_data = arena};
  return arena;
}

void eco_arena_free(eco_arena *arena) {
  if (arena == NULL) {
    return;
  }
  for (block *b = arena->blocks; b != NULL;) {
    block *next = b->next;
    free(b);
    b = next;
  }
  free(arena);
}

static block *block_add(eco_arena *arena, size_t cap) {
  if (cap > ARENA_MAX - arena->total) {
    out_of_memory(cap);
  }
  block *b = calloc(1, sizeof(block) + cap);
  if (b == NULL) {
    out_of_memory(cap);
  }
  b->cap = cap;
  arena->total += cap;
  return b;
}

void *eco_alloc(eco_arena *arena, size_t size) {
  if (size > ARENA_MAX) {
    out_of_memory(size);
  }
#ifdef __SANITIZE_ADDRESS__
  block *own = block_add(arena, size > 0 ? size : 1);
  own->next = arena->blocks;
  arena->blocks = own;
  return own->data;
#else
  size_t need = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
  if (need == 0) {
    need = alignof(max_align_t);  // distinct addresses for empty objects
  }
  block *b = arena->blocks;
  if (b != NULL && need <= b->cap - b->used) {
    void *p = b->data + b->used;
    b->used += need;
    return p;
  }
  if (need > arena->next_cap / 2) {
    // Large objects get a block of their own behind the current one, which still has room.
    block *own = block_add(arena, need);
    own->used = need;
    if (b != NULL) {
      own->next = b->next;
      b->next = own;
    } else {
      arena->blocks = own;
    }
    return own->data;
  }
  block *fresh = block_add(arena, arena->next_cap);
  if (arena->next_cap < BLOCK_LARGEST) {
    arena->next_cap *= 2;
  }
  fresh->used = need;
  fresh->next = b;
  arena->blocks = fresh;
  return fresh->data;
#endif
}

void *eco_alloc_array(eco_arena *arena, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    out_of_memory(SIZE_MAX);
  }
  return eco_alloc(arena, bytes);
}

char *eco_strdup(eco_arena *arena, const char *s) {
  return eco_strndup(arena, s, s != NULL ? strlen(s) : 0);
}

char *eco_strndup(eco_arena *arena, const char *s, size_t n) {
  size_t len = s != NULL ? strnlen(s, n) : 0;
  char *copy = eco_alloc(arena, len + 1);
  if (len > 0) {
    memcpy(copy, s, len);
  }
  return copy;
}

void *eco_memdup(eco_arena *arena, const void *p, size_t n) {
  void *copy = eco_alloc(arena, n);
  if (n > 0) {
    memcpy(copy, p, n);
  }
  return copy;
}

char *eco_sprintf(eco_arena *arena, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *s = eco_vsprintf(arena, fmt, ap);
  va_end(ap);
  return s;
}

char *eco_vsprintf(eco_arena *arena, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n < 0) {
    va_end(again);
    return eco_strdup(arena, "");
  }
  char *s = eco_alloc(arena, (size_t)n + 1);
  (void)vsnprintf(s, (size_t)n + 1, fmt, again);
  va_end(again);
  return s;
}

ProtobufCAllocator *eco_arena_pb(eco_arena *arena) {
  return &arena->pb;
}
