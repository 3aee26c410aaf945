// What /proc says about processor time and memory, of processes that may have several threads.
#ifndef RIG_PROCFS_H
#define RIG_PROCFS_H

#include <stdint.h>
#include <sys/types.h>

uint64_t rig_cpu_ns(const pid_t *pids, unsigned n);       // used so far, by all their threads that live
uint64_t rig_resident_kb(const pid_t *pids, unsigned n);  // their sum
uint64_t rig_own_cpu_ns(void);
// Share of a core's time that was not idle between two readings.
typedef struct rig_core {
  uint64_t idle;
  uint64_t all;
} rig_core;
rig_core rig_core_read(int core);
double rig_core_busy(rig_core before, rig_core after);

#endif
