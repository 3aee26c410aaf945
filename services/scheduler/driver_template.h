// {port}, {host} and {model} in commands and arguments: what a driver alone knows. Pure.
#ifndef SCHEDULER_DRIVER_TEMPLATE_H
#define SCHEDULER_DRIVER_TEMPLATE_H

#include "ecolink/arena.h"

enum { DRIVER_ARG_BYTES_MAX = 64 * 1024 };  // one argument after replacement

typedef struct driver_vars {
  const char *port;
  const char *host;
  const char *model;
} driver_vars;
// Anything else in braces stays as it is. The result is in the arena; NULL when it would pass DRIVER_ARG_BYTES_MAX.
char *driver_template(eco_arena *arena, const char *text, const driver_vars *vars);

#endif
