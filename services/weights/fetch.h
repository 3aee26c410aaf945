// The Hub over HTTP, by libcurl: the list of files, and one file at a time with resumption.
#ifndef WEIGHTS_FETCH_H
#define WEIGHTS_FETCH_H

#include "cache.h"

typedef struct weights_hub {
  const char *url;    // "https://huggingface.co"
  const char *token;  // "" for what is public
  const char *repo;
  const char *revision;
} weights_hub;

// Lists the repository at the revision. UNAUTHORIZED, FORBIDDEN, NOT_FOUND are final; others are worth another try.
ECO_CHECKED eco_status weights_list(const weights_hub *hub, eco_arena *arena, weights_plan *out);

typedef void (*weights_progress_fn)(void *arg, int64_t bytes);  // how much of the file is there now
// Brings one file, from where it stopped before, verifies and keeps it. The cache is locked.
ECO_CHECKED eco_status weights_fetch(const weights_hub *hub, const weights_cache *cache, const char *commit,
                                     const weights_file *file, weights_progress_fn fn, void *arg);

#endif
