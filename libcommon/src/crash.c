// Crash points: the list that the linker gathers, and the one that kills.
#include "ecolink/crash.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The linker defines both for a section whose name is a C identifier; weak, because a binary without a single crash
// point has no such section.
extern const char *const __start_eco_crash_points[] __attribute__((weak, visibility("hidden")));
extern const char *const __stop_eco_crash_points[] __attribute__((weak, visibility("hidden")));

static bool named_before(const char *const *first, const char *const *at) {
  for (const char *const *p = first; p < at; p++) {
    if (strcmp(*p, *at) == 0) {
      return true;
    }
  }
  return false;
}

void eco_crash_points_each(void (*fn)(const char *name, void *arg), void *arg) {
  const char *const *first = __start_eco_crash_points;
  const char *const *last = __stop_eco_crash_points;
  if (first == NULL) {
    return;
  }
  for (const char *const *p = first; p < last; p++) {
    if (!named_before(first, p)) {
      fn(*p, arg);
    }
  }
}

#ifdef ECO_TEST_BUILD
enum { WANTED_MAX = 128 };

// What is wanted now: the variable's own text, or what the file that it names after '@' holds. Empty: nothing.
static void read_wanted(char out[WANTED_MAX]) {
  out[0] = '\0';
  const char *wanted = getenv("ECOLINK_CRASH_POINT");
  if (wanted == NULL) {
    return;
  }
  if (wanted[0] != '@') {
    snprintf(out, WANTED_MAX, "%s", wanted);
    return;
  }
  int fd = open(wanted + 1, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, out, WANTED_MAX - 1) : 0;
  out[n > 0 ? n : 0] = '\0';
  out[strcspn(out, "\n")] = '\0';
  if (fd >= 0) {
    (void)close(fd);
  }
}

// Passages are counted from the moment at which the wanted text was seen first.
static bool is_the_passage(const char *name) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static char last[WANTED_MAX];
  static long passages;
  char wanted[WANTED_MAX];
  read_wanted(wanted);
  size_t len = strlen(name);
  pthread_mutex_lock(&lock);
  if (strcmp(wanted, last) != 0) {
    memcpy(last, wanted, sizeof last);
    passages = 0;
  }
  bool here = strncmp(wanted, name, len) == 0 && (wanted[len] == '\0' || wanted[len] == ':');
  long at = here && wanted[len] == ':' ? strtol(wanted + len + 1, NULL, 10) : 1;
  bool now = here && ++passages == (at > 0 ? at : 1);
  pthread_mutex_unlock(&lock);
  return now;
}

void eco_crash_reached(const char *name) {
  if (is_the_passage(name)) {
    (void)kill(getpid(), SIGKILL);
    for (;;) {
      (void)pause();  // nothing of this thread may run while the signal is on its way
    }
  }
}
#else
void eco_crash_reached(const char *name) {
  (void)name;
}
#endif
