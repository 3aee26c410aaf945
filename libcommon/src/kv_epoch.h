// The epoch of a service's buckets. A version in a bucket is (epoch, version of the row), in this order, in one number.
// A restored backup takes rows back to versions that readers have already seen surpassed; under a higher epoch they are
// news again. Read and raised by the relay's thread alone.
#ifndef ECOLINK_KV_EPOCH_H
#define ECOLINK_KV_EPOCH_H

#include "kit.h"

enum { KV_EPOCH_SHIFT = 44 };  // rows may change 17 million million times

// The version as the bucket has it.
static inline int64_t kv_version(int64_t epoch, int64_t row_version) {
  return epoch * (INT64_C(1) << KV_EPOCH_SHIFT) + row_version;
}
static inline int64_t kv_epoch_of(int64_t version) {
  return version >> KV_EPOCH_SHIFT;
}

// Where this life of the database stands.
typedef struct kv_mark {
  int64_t epoch;
  int64_t outbox_seq;  // the last that the outbox has given out; never behind what has been published in this life
} kv_mark;

ECO_CHECKED eco_status kv_epoch_read(eco_tx *tx, kv_mark *out);
// To `epoch`, unless it is there already. Fails when the relay's lease of `lease_epoch` is lost.
ECO_CHECKED eco_status kv_epoch_raise(eco_service *svc, int64_t lease_epoch, int64_t epoch);

#endif
