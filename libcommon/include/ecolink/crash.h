// Crash points: places after each commit, publish, acknowledgement and external call where a test kills the process.
//
// In test builds ECOLINK_CRASH_POINT=<name>[:<n>] makes the n-th passage (default the first) end in SIGKILL.
// ECOLINK_CRASH_POINT=@<file> looks into the file at each passage instead, so that a test arms a running process;
// passages count from there. A release build compiles them to nothing. `--list-crash-points` prints those that the
// service can reach.
#ifndef ECOLINK_CRASH_H
#define ECOLINK_CRASH_H

#include <stddef.h>

void eco_crash_reached(const char *name);
// Calls fn for each crash point of this binary, each name once.
void eco_crash_points_each(void (*fn)(const char *name, void *arg), void *arg);

#ifdef ECO_TEST_BUILD
#define ECO_CRASH_POINT(name)                                                                             \
  do {                                                                                                    \
    static const char *const eco_crash_name_ __attribute__((used, section("eco_crash_points"))) = (name); \
    eco_crash_reached(eco_crash_name_);                                                                   \
  } while (0)
#else
#define ECO_CRASH_POINT(name) ((void)0)
#endif

#endif
