// The pace of a thread that works every so often until it is told to end.
#ifndef GATEWAY_PACE_H
#define GATEWAY_PACE_H

#include <pthread.h>
#include <stdbool.h>

typedef struct gw_pace {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool ended;  // under lock
} gw_pace;

void gw_pace_init(gw_pace *pace);
void gw_pace_free(gw_pace *pace);
// The thread's own: waits for `ms`, less when it is told to end. False: it is.
bool gw_pace_wait(gw_pace *pace, int ms);
// Another thread's: tells it to end.
void gw_pace_end(gw_pace *pace);

#endif
