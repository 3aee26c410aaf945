// NATS permissions of a service's user, made from its tables: what no handler needs, the user may not do.
#include <stdio.h>
#include <string.h>

#include "kit.h"

typedef struct json_list {
  bool started;
} json_list;

static void item(json_list *l, const char *subject) {
  printf("%s\n      \"%s\"", l->started ? "," : "", subject);
  l->started = true;
}

#define ITEM(l, ...)                                       \
  do {                                                     \
    char item_subject_[KIT_SUBJECT_MAX];                   \
    snprintf(item_subject_, KIT_SUBJECT_MAX, __VA_ARGS__); \
    item((l), item_subject_);                              \
  } while (0)

static void bucket_rights(json_list *l, const char *bucket, bool owner) {
  ITEM(l, "$JS.API.STREAM.INFO.KV_%s", bucket);
  ITEM(l, "$JS.API.CONSUMER.CREATE.KV_%s", bucket);
  ITEM(l, "$JS.API.CONSUMER.CREATE.KV_%s.>", bucket);
  ITEM(l, "$JS.API.CONSUMER.DELETE.KV_%s.>", bucket);
  ITEM(l, "$JS.FC.KV_%s.>", bucket);
  if (owner) {
    ITEM(l, "$JS.API.STREAM.CREATE.KV_%s", bucket);
    ITEM(l, "$KV.%s.>", bucket);
  }
}

static void consumer_rights(json_list *l, const eco_service_def *def, const eco_consumer_def *c) {
  char name[KIT_NAME_MAX];
  kit_consumer_name(def, c, name);
  // The server holds the consumer's filter to the last part: no other events can be had through it.
  ITEM(l, "$JS.API.CONSUMER.CREATE." KIT_STREAM ".%s." KIT_EVENTS_OF, name, c->owner, c->entity);
  ITEM(l, "$JS.API.CONSUMER.INFO." KIT_STREAM ".%s", name);
  ITEM(l, "$JS.API.CONSUMER.MSG.NEXT." KIT_STREAM ".%s", name);
  ITEM(l, "$JS.ACK." KIT_STREAM ".%s.>", name);
  if (c->snapshot) {
    ITEM(l, "ecolink.rpc.%s.Snapshot", c->owner);
  }
}

// A service with a database publishes what its outbox holds; one without names its events.
static void event_rights(json_list *l, const eco_service_def *def) {
  if (def->migrations != NULL) {
    ITEM(l, "ecolink.evt.%s.>", def->name);
  }
  for (const char *const *p = def->publishes; p != NULL && *p != NULL; p++) {
    ITEM(l, "ecolink.evt.%s", *p);
  }
}

static void publish_rights(const eco_service_def *def) {
  json_list l = {false};
  event_rights(&l, def);
  item(&l, "$JS.API.STREAM.INFO." KIT_STREAM);
  item(&l, "$JS.API.STREAM.CREATE." KIT_STREAM);
  for (const char *const *call = def->calls; call != NULL && *call != NULL; call++) {
    ITEM(&l, "ecolink.rpc.%s", *call);
  }
  for (const eco_consumer_def *c = def->consumers; c != NULL && c->owner != NULL; c++) {
    consumer_rights(&l, def, c);
  }
  for (const eco_kv_def *k = def->kv; k != NULL && k->bucket != NULL; k++) {
    bucket_rights(&l, k->bucket, true);
  }
  for (const char *const *b = def->reads_kv; b != NULL && *b != NULL; b++) {
    bucket_rights(&l, *b, false);
  }
}

void kit_print_nats_permissions(const eco_service_def *def) {
  printf("{\n  \"publish\": {\n    \"allow\": [");
  publish_rights(def);
  printf("\n    ]\n  },\n  \"subscribe\": {\n    \"allow\": [");
  json_list l = {false};
  ITEM(&l, "_INBOX_%s.>", def->name);
  const bool serves = def->rpcs != NULL || def->snapshots != NULL;
  if (serves) {
    ITEM(&l, "ecolink.rpc.%s.*", def->name);
  }
  printf("\n    ]\n  }%s\n}\n", serves ? ",\n  \"allow_responses\": true" : "");
}
