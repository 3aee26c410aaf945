// Waiting by the monotonic clock; see ecolink/pace.h.
#include "ecolink/pace.h"

#include <errno.h>
#include <sys/file.h>

#include "ecolink/clock.h"

enum { LOCK_LOOK_MS = 10 };

void eco_cond_init(pthread_cond_t *cond) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(cond, &attr);
  pthread_condattr_destroy(&attr);
}

struct timespec eco_deadline_in(int64_t ms) {
  struct timespec t;
  ms = ms > 0 ? ms : 0;
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_sec += (time_t)(ms / 1000);
  t.tv_nsec += (long)(ms % 1000) * 1000000L;
  t.tv_sec += t.tv_nsec / 1000000000L;
  t.tv_nsec %= 1000000000L;
  return t;
}

bool eco_file_lock(int fd, int64_t wait_ms) {
  const int64_t until_ms = eco_boottime_ms() + wait_ms;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR && (errno != EWOULDBLOCK || eco_boottime_ms() >= until_ms)) {
      return false;
    }
    const struct timespec look = {.tv_nsec = LOCK_LOOK_MS * 1000000L};
    (void)nanosleep(&look, NULL);
  }
  return true;
}

void eco_pace_init(eco_pace *pace) {
  eco_cond_init(&pace->wake);
  pthread_mutex_init(&pace->lock, NULL);
  atomic_init(&pace->ended, false);
}

void eco_pace_free(eco_pace *pace) {
  pthread_mutex_destroy(&pace->lock);
  pthread_cond_destroy(&pace->wake);
}

bool eco_pace_wait(eco_pace *pace, int64_t ms) {
  const struct timespec until = eco_deadline_in(ms);
  pthread_mutex_lock(&pace->lock);
  while (!atomic_load(&pace->ended) && pthread_cond_timedwait(&pace->wake, &pace->lock, &until) == 0) {
  }
  pthread_mutex_unlock(&pace->lock);
  return !atomic_load(&pace->ended);
}

bool eco_pace_ended(const eco_pace *pace) {
  return atomic_load(&pace->ended);
}

void eco_pace_end(eco_pace *pace) {
  pthread_mutex_lock(&pace->lock);
  atomic_store(&pace->ended, true);
  pthread_cond_broadcast(&pace->wake);
  pthread_mutex_unlock(&pace->lock);
}
