// When a feed's silence is believed; see kv_silence.h.
#include "kv_silence.h"

int64_t kv_silence_wait_ms(int64_t before_ms, bool was_silent, bool news) {
  if (!was_silent || news) {
    return 0;
  }
  const int64_t next_ms = before_ms > 0 ? 2 * before_ms : KV_SILENCE_FIRST_MS;
  return next_ms < KV_SILENCE_MOST_MS ? next_ms : KV_SILENCE_MOST_MS;
}
