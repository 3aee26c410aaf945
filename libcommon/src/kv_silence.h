// How soon after a full read of a bucket the silence of its feed is believed. Heartbeats that stay away are all that
// tells of a bucket that was lost and made anew, and are late on an overloaded bus, too, which readers that then read
// everything again and again would keep overloaded. Pure.
#ifndef ECOLINK_KV_SILENCE_H
#define ECOLINK_KV_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

enum { KV_SILENCE_FIRST_MS = 8000, KV_SILENCE_MOST_MS = 30000 };

// The wait after the read that has just ended: none, unless the feed before it had been silent and this read brought no
// news, so that it was a false alarm; then twice the wait before, from the first to the most.
int64_t kv_silence_wait_ms(int64_t before_ms, bool was_silent, bool news);

#endif
