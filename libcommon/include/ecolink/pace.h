// Waiting by the monotonic clock: for a condition, for another process's lock of a file, and between the rounds of
// threads that work every so often until they are told to end.
#ifndef ECOLINK_PACE_H
#define ECOLINK_PACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

// A condition whose timed waits go by CLOCK_MONOTONIC, and a moment for them; ms < 0 counts as 0.
void eco_cond_init(pthread_cond_t *cond);
struct timespec eco_deadline_in(int64_t ms);

// Locks the file for this descriptor alone (flock(2)); what holds it elsewhere gets wait_ms to let go. False: errno is
// EWOULDBLOCK when it did not, or tells why the file cannot be locked. Ends with the descriptor or LOCK_UN.
bool eco_file_lock(int fd, int64_t wait_ms);

typedef struct eco_pace {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  atomic_bool ended;
} eco_pace;

void eco_pace_init(eco_pace *pace);
void eco_pace_free(eco_pace *pace);
// Waits for `ms`, less when the end is told. False: it is. Any number of threads.
bool eco_pace_wait(eco_pace *pace, int64_t ms);
// Whether the end has been told, and telling it. Any thread.
bool eco_pace_ended(const eco_pace *pace);
void eco_pace_end(eco_pace *pace);

#endif
