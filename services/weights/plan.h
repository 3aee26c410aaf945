// What of a repository has to be there: read out of the Hub's answer. Pure.
#ifndef WEIGHTS_PLAN_H
#define WEIGHTS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/status.h"

enum {
  WEIGHTS_FILES_MAX = 20000,  // the largest repositories hold some thousand shards
  WEIGHTS_PATH_MAX = 1024,
  WEIGHTS_HASH_MAX = 65,
};

typedef struct weights_file {
  const char *path;             // below the snapshot
  char blob[WEIGHTS_HASH_MAX];  // the blob's name in the cache: SHA-256 of a large file, git's own hash of a small one
  bool has_sha256;              // the name can be verified
  int64_t size;
} weights_file;

typedef struct weights_plan {
  char commit[WEIGHTS_HASH_MAX];
  weights_file *files;
  size_t count;
  int64_t bytes;  // of all files
} weights_plan;

// Reads GET /api/models/{repo}/revision/{revision}?blobs=true. Everything is in the arena. INVALID_REQUEST: the answer
// cannot be used, or names a file that would leave its place.
ECO_CHECKED eco_status weights_plan_read(const char *body, size_t len, eco_arena *arena, weights_plan *out);
// Whether a path stays below its folder: relative, no empty, "." or ".." part, nothing but printable ASCII.
bool weights_path_ok(const char *path);
// Whether engines need the file. Repositories carry the same weights in several formats; where safetensors are, the
// others are left where they are.
bool weights_is_wanted(const char *path, bool has_safetensors);
// "org/name" as a folder of the Hub's cache: "models--org--name".
bool weights_folder(const char *repo, char *out, size_t cap);

#endif
