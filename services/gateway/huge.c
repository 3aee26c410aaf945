// Size classes carved from chunks of one huge page; see huge.h. Under AddressSanitizer everything is malloc's, so that
// it sees every misuse; this file's own test asks for carving all the same.
#include "huge.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__) && !defined(GW_HUGE_CARVED)
enum { CARVED = 0 };
#else
enum { CARVED = 1 };
#endif

// Classes: every multiple of a line up to SMALL_MAX, then eight to each doubling up to CARVED_MAX. What is larger has
// pages of its own.
enum {
  LINE = 64,
  PAGE = 4096,
  SMALL_MAX = 4096,
  SMALL_CLASSES = SMALL_MAX / LINE,
  DOUBLINGS = 7,
  STEPS = 8,
  CARVED_MAX = SMALL_MAX << DOUBLINGS,
  CHUNK = 2 * 1024 * 1024,
};

typedef struct spare {
  struct spare *next;
} spare;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // guards all below
static spare *spares[SMALL_CLASSES + DOUBLINGS * STEPS];
static char *chunk;  // the one that is being carved: [chunk, chunk_end) is left of it
static char *chunk_end;

static size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

// The class of n bytes, and what a member of it takes.
static unsigned class_of(size_t n, size_t *size) {
  if (n <= SMALL_MAX) {
    *size = n ? round_up(n, LINE) : LINE;
    return (unsigned)(*size / LINE) - 1;
  }
  unsigned i = SMALL_CLASSES;
  size_t base = SMALL_MAX;
  for (; n > 2 * base; base *= 2) {
    i += STEPS;
  }
  const size_t step = base / STEPS;
  const size_t steps = (n - base + step - 1) / step;
  *size = base + steps * step;
  return i + (unsigned)steps - 1;
}

// Whole pages, for large sizes on a huge page's boundary.
static char *map(size_t n) {
  const size_t spare_n = n >= CHUNK ? CHUNK : 0;
  char *p = mmap(NULL, n + spare_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    abort();
  }
  if (spare_n > 0) {
    const size_t before = (size_t)(-(uintptr_t)p % CHUNK);
    if (before > 0) {
      munmap(p, before);
    }
    munmap(p + before + n, spare_n - before);
    p += before;
    (void)madvise(p, n, MADV_HUGEPAGE);  // a wish: ordinary pages serve, too
  }
  return p;
}

static char *carve(size_t size) {
  if ((size_t)(chunk_end - chunk) < size) {
    chunk = map(CHUNK);  // what was left of the old one is lost: less than a member of this class
    chunk_end = chunk + CHUNK;
  }
  char *p = chunk;
  chunk += size;
  return p;
}

void *gw_huge_alloc(size_t n) {
  size_t size = 0;
  if (!CARVED) {
    void *p = aligned_alloc(LINE, round_up(n ? n : 1, LINE));
    return p ? memset(p, 0, n) : (abort(), NULL);
  }
  if (n > CARVED_MAX) {
    return map(round_up(n, PAGE));
  }
  const unsigned i = class_of(n, &size);
  (void)pthread_mutex_lock(&lock);
  spare *s = spares[i];
  if (s) {
    spares[i] = s->next;
  }
  void *p = s ? (void *)s : carve(size);
  (void)pthread_mutex_unlock(&lock);
  return s ? memset(p, 0, size) : p;  // the kernel's pages come zeroed
}

void gw_huge_free(void *p, size_t n) {
  size_t size = 0;
  if (!p) {
    return;
  }
  if (!CARVED) {
    free(p);
    return;
  }
  if (n > CARVED_MAX) {
    munmap(p, round_up(n, PAGE));
    return;
  }
  const unsigned i = class_of(n, &size);
  spare *s = p;
  (void)pthread_mutex_lock(&lock);
  s->next = spares[i];
  spares[i] = s;
  (void)pthread_mutex_unlock(&lock);
}
