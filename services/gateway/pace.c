// Waiting on the monotonic clock; see pace.h.
#include "pace.h"

#include <time.h>

void gw_pace_init(gw_pace *pace) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&pace->wake, &attr);
  pthread_condattr_destroy(&attr);
  pthread_mutex_init(&pace->lock, NULL);
  pace->ended = false;
}

void gw_pace_free(gw_pace *pace) {
  pthread_mutex_destroy(&pace->lock);
  pthread_cond_destroy(&pace->wake);
}

bool gw_pace_wait(gw_pace *pace, int ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += ms * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000L;
  until.tv_nsec %= 1000000000L;
  pthread_mutex_lock(&pace->lock);
  while (!pace->ended && pthread_cond_timedwait(&pace->wake, &pace->lock, &until) == 0) {
  }
  bool ended = pace->ended;
  pthread_mutex_unlock(&pace->lock);
  return !ended;
}

void gw_pace_end(gw_pace *pace) {
  pthread_mutex_lock(&pace->lock);
  pace->ended = true;
  pthread_cond_signal(&pace->wake);
  pthread_mutex_unlock(&pace->lock);
}
