// Reading /proc; see procfs.h.
#include "procfs.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "loop.h"

// schedstat's first number is in nanoseconds; stat's ticks of 10 ms would be too coarse.
static uint64_t task_ns(const char *path) {
  uint64_t ns = 0;
  FILE *f = fopen(path, "re");
  if (f) {
    if (fscanf(f, "%" SCNu64, &ns) != 1) {
      ns = 0;
    }
    fclose(f);
  }
  return ns;
}

uint64_t rig_cpu_ns(const pid_t *pids, unsigned n) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < n; i++) {
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pids[i]);
    DIR *tasks = opendir(path);
    if (!tasks) {
      rig_die("rig: process %d is gone", (int)pids[i]);
    }
    for (struct dirent *e = readdir(tasks); e; e = readdir(tasks)) {
      if (e->d_name[0] != '.') {
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pids[i], e->d_name);
        sum += task_ns(path);
      }
    }
    closedir(tasks);
  }
  return sum;
}

uint64_t rig_resident_kb(const pid_t *pids, unsigned n) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < n; i++) {
    char line[256];
    uint64_t kb = 0;
    snprintf(line, sizeof line, "/proc/%d/status", (int)pids[i]);
    FILE *f = fopen(line, "re");
    while (f && fgets(line, sizeof line, f)) {
      if (sscanf(line, "VmRSS: %" SCNu64, &kb) == 1) {
        sum += kb;
      }
    }
    if (f) {
      fclose(f);
    }
  }
  return sum;
}

uint64_t rig_own_cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

rig_core rig_core_read(int core) {
  char line[512];
  char name[32];
  rig_core out = {0};
  snprintf(name, sizeof name, "cpu%d ", core);
  FILE *f = fopen("/proc/stat", "re");
  while (f && fgets(line, sizeof line, f)) {
    uint64_t v[8] = {0};
    if (strncmp(line, name, strlen(name)) == 0 &&
        sscanf(line + strlen(name),
               "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &v[0],
               &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8) {
      for (unsigned i = 0; i < 8; i++) {
        out.all += v[i];
      }
      out.idle = v[3] + v[4];
    }
  }
  if (f) {
    fclose(f);
  }
  return out;
}

double rig_core_busy(rig_core before, rig_core after) {
  uint64_t all = after.all - before.all;
  return all ? 100.0 * (1 - (double)(after.idle - before.idle) / (double)all) : 0;
}
