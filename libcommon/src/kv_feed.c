// A bucket's content as a stream of messages.
#include "kv_feed.h"

#include <stdio.h>

// A consumer that ended with its bucket is noticed by its silence alone: libnats tells after two to four of these.
static const int64_t FEED_HEARTBEAT_NS = 2000000000;

static natsStatus subscribe(eco_service *svc, const char *bucket, kv_feed *out) {
  char stream[KIT_NAME_MAX];
  char subject[KIT_NAME_MAX];
  snprintf(stream, sizeof stream, "KV_%s", bucket);
  out->key_offset = (size_t)snprintf(subject, sizeof subject, "$KV.%s.>", bucket) - 1;
  jsStreamInfo *info = NULL;
  natsStatus s = js_GetStreamInfo(&info, svc->js, stream, NULL, NULL);
  if (s != NATS_OK) {
    return s;
  }
  out->empty = info->State.Msgs == 0;
  jsStreamInfo_Destroy(info);
  jsSubOptions options;
  jsSubOptions_Init(&options);
  options.Stream = stream;
  options.ManualAck = true;
  options.Config.DeliverPolicy = js_DeliverLastPerSubject;
  options.Config.AckPolicy = js_AckNone;
  options.Config.Heartbeat = FEED_HEARTBEAT_NS;
  options.Config.FlowControl = true;
  return js_SubscribeSync(&out->sub, svc->js, subject, NULL, &options, NULL);
}

natsStatus kv_feed_open(eco_service *svc, const char *bucket, kv_feed *out) {
  *out = (kv_feed){.svc = svc};
  kit_bus_hold(svc);
  natsStatus s = subscribe(svc, bucket, out);
  kit_bus_release(svc);
  return s;
}

void kv_feed_close(kv_feed *feed) {
  kit_bus_unsubscribe(feed->svc, feed->sub);
  feed->sub = NULL;
}

const char *kv_feed_key(const kv_feed *feed, const natsMsg *m) {
  return natsMsg_GetSubject(m) + feed->key_offset;
}

bool kv_feed_is_delete(natsMsg *m) {
  const char *operation = NULL;  // set for deletes and purges alone
  return natsMsgHeader_Get(m, "KV-Operation", &operation) == NATS_OK;
}

bool kv_feed_is_last(natsMsg *m) {
  jsMsgMetaData *meta = NULL;
  if (natsMsg_GetMetaData(&meta, m) != NATS_OK) {
    return false;
  }
  bool last = meta->NumPending == 0;
  jsMsgMetaData_Destroy(meta);
  return last;
}

int64_t kv_feed_stored_us(natsMsg *m) {
  jsMsgMetaData *meta = NULL;
  if (natsMsg_GetMetaData(&meta, m) != NATS_OK) {
    return 0;
  }
  int64_t us = meta->Timestamp / 1000;
  jsMsgMetaData_Destroy(meta);
  return us;
}
