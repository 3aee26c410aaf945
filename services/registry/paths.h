// Paths on shared filesystems: one normal form, and nothing that leaves its filesystem. Pure; any thread.
#ifndef REGISTRY_PATHS_H
#define REGISTRY_PATHS_H

#include <stdbool.h>

#include "registry_limits.h"

typedef enum registry_path_verdict {
  REGISTRY_PATH_OK,
  REGISTRY_PATH_EMPTY,
  REGISTRY_PATH_TOO_LONG,
  REGISTRY_PATH_BAD_BYTE,  // a control character
  REGISTRY_PATH_DOT_DOT,   // a `..` segment, wherever it would lead
  REGISTRY_PATH_ESCAPES,   // absolute and not under the mount path
  REGISTRY_PATH_RELATIVE,  // a mount path must be absolute
  REGISTRY_PATH_RESERVED,  // a mount path that would hide the container's own system
} registry_path_verdict;

// Absolute, without empty and `.` segments, without a trailing slash; not `/` and not a system directory.
registry_path_verdict registry_mount_normalise(const char *in, char out[REGISTRY_PATH_MAX + 1]);
// `mount` is in normal form. A relative path is taken from the mount. The result is absolute and lies under it (or is
// it).
registry_path_verdict registry_path_normalise(const char *mount, const char *in, char out[REGISTRY_PATH_MAX + 1]);
// Whether one of two normal mount paths is the other or lies under it: they cannot be mounted side by side.
bool registry_mounts_overlap(const char *a, const char *b);
// For people: what is wrong and what to do. "" for OK.
const char *registry_path_complaint(registry_path_verdict verdict);

#endif
