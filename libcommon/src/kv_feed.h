// A bucket's content as a stream of messages: the last one of each key first, then updates as they come.
//
// A plain push consumer instead of libnats' watcher: that one is an ordered consumer, which a thread of libnats' own
// makes anew after a reconnect, and destroying it meanwhile reads freed memory (jsSub_deleteConsumer, libnats 3.4). A
// feed that breaks is simply closed and opened again by its user.
#ifndef ECOLINK_KV_FEED_H
#define ECOLINK_KV_FEED_H

#include "kit.h"

typedef struct kv_feed {
  eco_service *svc;
  natsSubscription *sub;
  size_t key_offset;  // where the key begins in a subject
  bool empty;         // the bucket holds nothing: there is no last message to wait for
} kv_feed;

natsStatus kv_feed_open(eco_service *svc, const char *bucket, kv_feed *out);
void kv_feed_close(kv_feed *feed);  // deletes its consumer; fine when it never opened
// The key a message is about; borrowed from the message.
const char *kv_feed_key(const kv_feed *feed, const natsMsg *m);
// Whether the message is a delete or purge marker instead of a value.
bool kv_feed_is_delete(natsMsg *m);
// Whether the present content ends with this message.
bool kv_feed_is_last(natsMsg *m);

// When the server stored it: microseconds since the epoch; 0 when it does not say.
int64_t kv_feed_stored_us(natsMsg *m);

#endif
