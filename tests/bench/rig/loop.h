// The rig's one loop: edge-triggered epoll, a clock, and queues of things that are due after a constant delay. Load
// generator and backend both live in it, so that neither steals the other's time in the kernel's scheduler.
#ifndef RIG_LOOP_H
#define RIG_LOOP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RIG_READ_BUFFER = 256 * 1024 };

typedef struct rig_source rig_source;
struct rig_source {
  int fd;
  void (*ready)(rig_source *s, uint32_t events);
};

typedef struct rig_loop {
  int epoll;
  uint64_t now_ns;  // when this turn began; rig_now() is the exact time
  char *buffer;     // RIG_READ_BUFFER bytes that whoever reads may use until it returns
} rig_loop;

uint64_t rig_now(void);  // CLOCK_MONOTONIC
void rig_loop_init(rig_loop *l);
// Watches s->fd for everything, edge-triggered: once, no change later.
void rig_loop_add(rig_loop *l, rig_source *s);
// Waits until something is ready or the time has come, then calls every ready source.
void rig_loop_wait(rig_loop *l, uint64_t until_ns);

// ---- things due after a constant delay: first in, first out ----
typedef struct rig_due {
  uint64_t at_ns;
  void *what;
} rig_due;
typedef struct rig_fifo {
  rig_due *entries;
  size_t head;
  size_t n;
  size_t cap;  // a power of two
} rig_fifo;
void rig_fifo_push(rig_fifo *f, uint64_t at_ns, void *what);
void *rig_fifo_pop(rig_fifo *f, uint64_t now_ns, uint64_t *at_ns);  // NULL: nothing is due
uint64_t rig_fifo_next(const rig_fifo *f);                          // UINT64_MAX: empty

// ---- sockets ---- each ends the process with a message when it fails
int rig_listen(const struct sockaddr_in *at);
int rig_connect(const struct sockaddr_in *to);  // under way
struct sockaddr_in rig_address(const char *text);
_Noreturn __attribute__((format(printf, 1, 2))) void rig_die(const char *format, ...);

#endif
