// The volume: the Hub's own cache layout, so that every engine that knows the Hub finds what is there.
//
//   <cache>/models--org--name/
//     blobs/<hash>              a file's content; <hash>.incomplete while it arrives
//     snapshots/<commit>/<path> -> ../../blobs/<hash>
//     refs/<revision>           the commit
//     .ecolink-lock             held by who downloads: one at a time, whatever the number of pods
//     .ecolink-progress         "<bytes> <of bytes>", for those who wait
//     .ecolink-complete-<commit>
#ifndef WEIGHTS_CACHE_H
#define WEIGHTS_CACHE_H

#include "plan.h"

typedef struct weights_cache {
  char dir[WEIGHTS_PATH_MAX];  // of the repository
  int lock_fd;                 // -1: not locked
} weights_cache;

// Makes the folders. The lock is not taken yet.
ECO_CHECKED eco_status weights_cache_open(const char *cache, const char *repo, weights_cache *out);
// False: somebody else has it. It ends with the process, however that ends.
ECO_CHECKED eco_status weights_cache_lock(weights_cache *c, bool *taken);
void weights_cache_close(weights_cache *c);

// The commit that the revision meant when it was last downloaded whole; false: never.
bool weights_cache_has_revision(const weights_cache *c, const char *revision, char commit[WEIGHTS_HASH_MAX]);
bool weights_cache_is_complete(const weights_cache *c, const char *commit);
// Bytes of the file that are there; the whole size: it is complete.
int64_t weights_cache_have(const weights_cache *c, const weights_file *f);
void weights_cache_blob(const weights_cache *c, const weights_file *f, bool incomplete, char out[WEIGHTS_PATH_MAX]);
// Content that has arrived and was verified gets its name.
ECO_CHECKED eco_status weights_cache_keep(const weights_cache *c, const weights_file *f);
// Every file of the plan is there: links, the revision's commit, and the mark, in this order.
ECO_CHECKED eco_status weights_cache_complete(const weights_cache *c, const char *revision, const weights_plan *plan);

void weights_cache_tell(const weights_cache *c, int64_t done, int64_t total);
bool weights_cache_told(const weights_cache *c, int64_t *done, int64_t *total);

#endif
