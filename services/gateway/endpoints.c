// The data plane's routes, and the printed list of the whole HTTP surface.
#include "endpoints.h"

#include <string.h>

#include "config.h"
#include "ecolink/status.h"
#include "mgmt.h"
#include "replica.h"
#include "rest_table.h"

// clang-format off
const gw_endpoint gw_endpoints[] = {
    {"POST", "/v1/chat/completions",       GW_TAKES_JSON,                 GW_CLASS_CHAT},
    {"POST", "/v1/completions",            GW_TAKES_JSON,                 GW_CLASS_CHAT},
    {"POST", "/v1/responses",              GW_TAKES_JSON,                 GW_CLASS_CHAT},
    {"POST", "/v1/messages",               GW_TAKES_JSON,                 GW_CLASS_CHAT},
    {"POST", "/v1/embeddings",             GW_TAKES_JSON,                 GW_CLASS_EMBED},
    {"POST", "/v1/moderations",            GW_TAKES_JSON,                 GW_CLASS_EMBED},
    {"POST", "/v1/rerank",                 GW_TAKES_JSON,                 GW_CLASS_EMBED},
    {"POST", "/v1/images/generations",     GW_TAKES_JSON,                 GW_CLASS_IMAGE},
    {"POST", "/v1/images/edits",           GW_TAKES_FORM | GW_TAKES_JSON, GW_CLASS_IMAGE},
    {"POST", "/v1/audio/speech",           GW_TAKES_JSON,                 GW_CLASS_AUDIO},
    {"POST", "/v1/audio/transcriptions",   GW_TAKES_FORM,                 GW_CLASS_AUDIO},
    {"POST", "/v1/video/generations",      GW_TAKES_FORM | GW_TAKES_JSON, GW_CLASS_OTHER},
    {"GET",  "/v1/video/generations/{id}", 0,                             GW_CLASS_OTHER},
    {"GET",  "/v1/models",                 0,                             GW_CLASS_OTHER},
    {"GET",  "/v1/models/{model}",         0,                             GW_CLASS_OTHER},
    {"*",    "/inference-instances/{id}/proxy/{path}", GW_TAKES_ANYTHING, GW_CLASS_OTHER},
    {0},
};
// clang-format on

static void put_media(FILE *out, unsigned takes) {
  fprintf(out, ",\"takes\":[%s%s%s%s]", takes & GW_TAKES_JSON ? "\"application/json\"" : "",
          (takes & GW_TAKES_JSON) && (takes & GW_TAKES_FORM) ? "," : "",
          takes & GW_TAKES_FORM ? "\"multipart/form-data\"" : "", takes & GW_TAKES_ANYTHING ? "\"*/*\"" : "");
}

static void put_roles(FILE *out, unsigned allow) {
  static const struct {
    unsigned bit;
    const char *word;
  } ROLES[] = {{ECO_ALLOW_PUBLIC, "none"},
               {ECO_ALLOW_OWNER, "owner"},
               {ECO_ALLOW_MEMBER, "member"},
               {ECO_ALLOW_INFERENCE, "inference"},
               {ECO_ALLOW_OPERATOR, "operator"}};
  const char *comma = "";
  fputs(",\"allow\":[", out);
  for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
    if (allow & ROLES[i].bit) {
      fprintf(out, "%s\"%s\"", comma, ROLES[i].word);
      comma = ",";
    }
  }
  fputs("]", out);
}

// Every text field of the request that the path does not fill, and what the row takes besides (mgmt_bind.c).
static void put_query(FILE *out, const rest_row *row) {
  const char *comma = "";
  fputs(",\"query\":[", out);
  for (unsigned i = 0; !row->body && i < row->request->n_fields; i++) {
    const char *name = row->request->fields[i].name;
    const char *in_path = strstr(row->path, name);
    if (eco_pb_has_text_field(row->request, name) && (in_path == NULL || in_path[-1] != '{')) {
      fprintf(out, "%s\"%s\"", comma, name);
      comma = ",";
    }
  }
  const char *extra = row->extra == REST_LAUNCH                                            ? "dry_run"
                      : row->extra == REST_FOLLOW_EVENTS || row->extra == REST_FOLLOW_LOGS ? "follow"
                      : row->extra == REST_CSV                                             ? "format"
                                                                                           : NULL;
  if (extra != NULL) {
    fprintf(out, "%s\"%s\"", comma, extra);
  }
  fputs("]", out);
}

int gw_routes_print(FILE *out) {
  const char *comma = "";
  fputs("{\"routes\":[", out);
  for (const rest_row *row = rest_table; row->method != NULL; row++, comma = ",") {
    fprintf(out, "%s\n{\"plane\":\"management\",\"method\":\"%s\",\"path\":\"%s\",\"rpc\":\"%s\",\"status\":%d", comma,
            row->method, row->path, row->rpc, row->status);
    fprintf(out, ",\"request\":\"%s\",\"reply\":\"%s\"", row->request->short_name, row->reply->short_name);
    put_media(out, row->body ? GW_TAKES_JSON : 0);
    put_roles(out, row->allow);
    put_query(out, row);
    fputs("}", out);
  }
  for (const gw_endpoint *e = gw_endpoints; e->method != NULL; e++) {
    fprintf(out, ",\n{\"plane\":\"data\",\"method\":\"%s\",\"path\":\"%s\"", e->method, e->path);
    put_media(out, e->takes);
    put_roles(out, ECO_ALLOW_TEAM | ECO_ALLOW_INFERENCE);
    fputs("}", out);
  }
  fputs("],\n\"errors\":[", out);
  for (int code = ECO_OK + 1; code < ECO_CODE_COUNT; code++) {
    fprintf(out, "%s\n{\"code\":\"%s\",\"status\":%d,\"type\":\"%s\"}", code == ECO_OK + 1 ? "" : ",",
            eco_code_word((eco_code)code), eco_code_http((eco_code)code), eco_code_type((eco_code)code));
  }
  fprintf(out, "],\n\"management_body_max\":%d}\n", MGMT_BODY_MAX);
  return fflush(out) == 0 && !ferror(out) ? 0 : 1;
}
