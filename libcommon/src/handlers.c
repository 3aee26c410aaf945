// A service's tables as JSON, for tests of its rights and for documents: what is added to a table is covered by both.
#include <stdio.h>

#include "kit.h"

static void roles(unsigned allow) {
  static const struct {
    unsigned bit;
    const char *word;
  } WORDS[] = {{ECO_ALLOW_OWNER, "owner"},       {ECO_ALLOW_MEMBER, "member"}, {ECO_ALLOW_INFERENCE, "inference"},
               {ECO_ALLOW_OPERATOR, "operator"}, {ECO_ALLOW_PUBLIC, "none"},   {ECO_ALLOW_SERVICE, "service"}};
  const char *comma = "";
  for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
    if (allow & WORDS[i].bit) {
      printf("%s\"%s\"", comma, WORDS[i].word);
      comma = ", ";
    }
  }
}

static void rpcs(const eco_rpc_def *table, const char **comma) {
  for (const eco_rpc_def *r = table; r != NULL && r->method != NULL; r++) {
    printf("%s\n    {\"method\": \"%s\", \"request\": \"%s\", \"reply\": \"%s\", \"allow\": [", *comma, r->method,
           r->request->short_name, r->reply->short_name);
    roles(r->allow);
    printf("]}");
    *comma = ",";
  }
}

static void names(const char *what, const char *const *list) {
  const char *comma = "";
  printf(",\n  \"%s\": [", what);
  for (; list != NULL && *list != NULL; list++) {
    printf("%s\"%s\"", comma, *list);
    comma = ", ";
  }
  printf("]");
}

void kit_print_handlers(const eco_service_def *def) {
  const char *comma = "";
  printf("{\n  \"service\": \"%s\",\n  \"database\": %s,\n  \"rpcs\": [", def->name,
         def->migrations != NULL ? "true" : "false");
  rpcs(def->rpcs, &comma);
  if (def->rpcs != NULL || def->snapshots != NULL) {
    rpcs(kit_rpcs, &comma);
  }
  printf("],\n  \"consumers\": [");
  comma = "";
  for (const eco_consumer_def *c = def->consumers; c != NULL && c->owner != NULL; c++) {
    char name[KIT_NAME_MAX];
    kit_consumer_name(def, c, name);
    printf("%s\n    {\"name\": \"%s\", \"owner\": \"%s\", \"entity\": \"%s\", \"snapshot\": %s}", comma, name, c->owner,
           c->entity, c->snapshot ? "true" : "false");
    comma = ",";
  }
  printf("],\n  \"buckets\": [");
  comma = "";
  for (const eco_kv_def *k = def->kv; k != NULL && k->bucket != NULL; k++) {
    printf("%s\"%s\"", comma, k->bucket);
    comma = ", ";
  }
  printf("]");
  names("calls", def->calls);
  names("publishes", def->publishes);
  names("reads", def->reads_kv);
  printf("\n}\n");
}
