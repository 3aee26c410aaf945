// Crash points: the list that the linker gathers, and the one that kills.
#include "ecolink/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
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
void eco_crash_reached(const char *name) {
  static atomic_long passages;
  const char *wanted = getenv("ECOLINK_CRASH_POINT");
  if (wanted == NULL) {
    return;
  }
  size_t len = strlen(name);
  if (strncmp(wanted, name, len) != 0 || (wanted[len] != '\0' && wanted[len] != ':')) {
    return;
  }
  long at = wanted[len] == ':' ? strtol(wanted + len + 1, NULL, 10) : 1;
  if (atomic_fetch_add(&passages, 1) + 1 == (at > 0 ? at : 1)) {
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
