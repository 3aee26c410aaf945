// A driver's own copy of what it was asked to run: the caller's is borrowed.
#ifndef SCHEDULER_DRIVER_COPY_H
#define SCHEDULER_DRIVER_COPY_H

#include "driver.h"

// Everything of *out is in the arena. It holds opened secrets.
void driver_copy_spec(eco_arena *arena, const replica_spec *spec, replica_spec *out);

#endif
