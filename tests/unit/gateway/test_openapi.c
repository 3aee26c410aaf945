// docs/api/openapi.yaml against the code: paths and methods, query parameters, schemas, error codes.
//
// The document is read line by line, by its indentation (two blanks a level): enough for what is compared, and no YAML
// library.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include "../../../libcommon/src/json_pb_internal.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "rest_table.h"

enum { NAMES_MAX = 512, NAME_MAX_LEN = 160, LINE_MAX_LEN = 1024 };

typedef struct names {
  char at[NAMES_MAX][NAME_MAX_LEN];
  int count;
} names;

static names operations;  // "GET /models"
static names queries;     // "GET /models limit"
static names members;     // "Model.id"
static names codes;       // "404 not_found"
static names allowed;     // "GET /models owner"

static void add(names *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(names *list, const char *fmt, ...) {
  va_list ap;
  assert_true(list->count < NAMES_MAX);
  va_start(ap, fmt);
  vsnprintf(list->at[list->count++], NAME_MAX_LEN, fmt, ap);
  va_end(ap);
}

static bool has(const names *list, const char *name) {
  for (int i = 0; i < list->count; i++) {
    if (strcmp(list->at[i], name) == 0) {
      return true;
    }
  }
  return false;
}

// Every name of one list is in the other; `what` says who lacks it.
static void assert_within(const names *some, const names *all, const char *what) {
  for (int i = 0; i < some->count; i++) {
    if (!has(all, some->at[i])) {
      fail_msg("%s: %s", what, some->at[i]);
    }
  }
}

// ---- reading the document ----

typedef struct place {
  char section[NAME_MAX_LEN];  // at indentation 0
  char level1[NAME_MAX_LEN];   // at 2: a path, or a kind of component
  char level2[NAME_MAX_LEN];   // at 4: a method, or a component's name
  char level3[NAME_MAX_LEN];   // at 6
} place;

// "key:" or "key: value" at this indentation; the key without its colon.
static bool key_at(const char *line, size_t indent, char *out) {
  const char *end = strstr(line, ": ");
  const size_t len = strlen(line);
  end = end == NULL && len > 0 && line[len - 1] == ':' ? line + len - 1 : end;
  if (strspn(line, " ") != indent || line[indent] == '-' || line[indent] == '#' || end == NULL) {
    return false;
  }
  snprintf(out, NAME_MAX_LEN, "%.*s", (int)(end - line - (long)indent), line + indent);
  return true;
}

static void upper(const char *in, char *out, size_t size) {
  size_t i = 0;
  for (; in[i] != '\0' && i + 1 < size; i++) {
    out[i] = in[i] >= 'a' && in[i] <= 'z' ? (char)(in[i] - 'a' + 'A') : in[i];
  }
  out[i] = '\0';
}

// x-ecolink-allow: [owner, member]
static void read_allow(const char *method, const char *path, const char *line) {
  const char *list = strstr(line, "x-ecolink-allow: [");
  list = list == NULL ? "" : strchr(list, '[') + 1;
  for (size_t n = strcspn(list, ",]"); n > 0; n = strcspn(list, ",]")) {
    add(&allowed, "%s %s %.*s", method, path, (int)n, list);
    list += n + strspn(list + n, ",] ");
  }
}

static void read_path_line(const place *p, const char *line) {
  char method[16];
  char name[NAME_MAX_LEN];
  upper(p->level2, method, sizeof method);
  if (strspn(line, " ") == 4 && key_at(line, 4, name) && strcmp(name, "parameters") != 0) {
    add(&operations, "%s %s", method, p->level1);
  }
  read_allow(method, p->level1, line);
  if (strstr(line, "- $ref: '#/components/parameters/Cursor'") != NULL) {
    add(&queries, "%s %s cursor", method, p->level1);
  }
  const char *found = strstr(line, "- {name: ");
  if (found != NULL && strstr(line, ", in: query") != NULL) {
    snprintf(name, sizeof name, "%s", found + strlen("- {name: "));
    *strchr(name, ',') = '\0';
    add(&queries, "%s %s %s", method, p->level1, name);
  }
}

static void read_schema_line(const place *p, const char *line) {
  char name[NAME_MAX_LEN];
  char word[NAME_MAX_LEN];
  int http = 0;
  if (strcmp(p->level2, "ErrorCode") == 0 && sscanf(line, " - %128s # %d", word, &http) == 2) {
    add(&codes, "%d %s", http, word);
  }
  if (strcmp(p->level3, "properties") == 0 && key_at(line, 8, name)) {
    add(&members, "%s.%s", p->level2, name);
  }
}

static int read_document(void **state) {
  (void)state;
  // The document lies beside this file's tree, wherever that is.
  char path[1024];
  snprintf(path, sizeof path, "%s", __FILE__);
  char *tests = strstr(path, "tests/unit/gateway/");
  assert_non_null(tests);
  snprintf(tests, sizeof path - (size_t)(tests - path), "docs/api/openapi.yaml");
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  char line[LINE_MAX_LEN];
  place p = {0};
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    (void)(key_at(line, 0, p.section) || key_at(line, 2, p.level1) || key_at(line, 4, p.level2) ||
           key_at(line, 6, p.level3));
    if (strcmp(p.section, "paths") == 0) {
      read_path_line(&p, line);
    } else if (strcmp(p.section, "components") == 0 && strcmp(p.level1, "schemas") == 0) {
      read_schema_line(&p, line);
    }
  }
  fclose(file);
  return 0;
}

// ---- what the code says ----

#define EACH_ROW(row) for (const rest_row *row = rest_table; row->method != NULL; row++)

static bool is_data_plane(const char *operation) {
  const char *path = strchr(operation, ' ') + 1;
  return strncmp(path, "/v1/", 4) == 0 || strcmp(path, "/inference-instances/{id}/proxy/{path}") == 0;
}

static void test_every_row_is_documented_and_nothing_else(void **state) {
  (void)state;
  static names rows;
  EACH_ROW(row) {
    add(&rows, "%s %s", row->method, row->path);
  }
  assert_within(&rows, &operations, "not in the document");
  for (int i = 0; i < operations.count; i++) {
    if (!is_data_plane(operations.at[i]) && !has(&rows, operations.at[i])) {
      fail_msg("not in the table: %s", operations.at[i]);
    }
  }
}

static void test_the_data_planes_routes_are_documented(void **state) {
  (void)state;
  static const char *const ROUTES[] = {"POST /v1/chat/completions",
                                       "POST /v1/completions",
                                       "POST /v1/embeddings",
                                       "POST /v1/responses",
                                       "POST /v1/messages",
                                       "POST /v1/rerank",
                                       "POST /v1/moderations",
                                       "POST /v1/images/generations",
                                       "POST /v1/images/edits",
                                       "POST /v1/audio/speech",
                                       "POST /v1/audio/transcriptions",
                                       "POST /v1/video/generations",
                                       "GET /v1/video/generations/{id}",
                                       "GET /v1/models",
                                       "GET /v1/models/{model}",
                                       "GET /inference-instances/{id}/proxy/{path}",
                                       "POST /inference-instances/{id}/proxy/{path}",
                                       "PUT /inference-instances/{id}/proxy/{path}",
                                       "PATCH /inference-instances/{id}/proxy/{path}",
                                       "DELETE /inference-instances/{id}/proxy/{path}",
                                       "HEAD /inference-instances/{id}/proxy/{path}",
                                       "OPTIONS /inference-instances/{id}/proxy/{path}",
                                       "TRACE /inference-instances/{id}/proxy/{path}"};
  enum { ROUTE_COUNT = sizeof ROUTES / sizeof ROUTES[0] };
  int documented = 0;
  for (int i = 0; i < operations.count; i++) {
    documented += is_data_plane(operations.at[i]);
  }
  assert_int_equal(documented, ROUTE_COUNT);
  for (size_t i = 0; i < ROUTE_COUNT; i++) {
    assert_true(has(&operations, ROUTES[i]));
  }
}

static void expected_queries(const rest_row *row, names *out) {
  for (unsigned i = 0; !row->body && i < row->request->n_fields; i++) {
    const char *name = row->request->fields[i].name;
    char param[NAME_MAX_LEN];
    snprintf(param, sizeof param, "{%s}", name);
    if (eco_pb_has_text_field(row->request, name) && strstr(row->path, param) == NULL) {
      add(out, "%s %s %s", row->method, row->path, name);
    }
  }
  const char *extra = row->extra == REST_LAUNCH                                            ? "dry_run"
                      : row->extra == REST_FOLLOW_EVENTS || row->extra == REST_FOLLOW_LOGS ? "follow"
                      : row->extra == REST_CSV                                             ? "format"
                                                                                           : NULL;
  if (extra != NULL) {
    add(out, "%s %s %s", row->method, row->path, extra);
  }
}

static void test_every_query_parameter_is_documented_and_nothing_else(void **state) {
  (void)state;
  static names expected;
  EACH_ROW(row) {
    expected_queries(row, &expected);
  }
  assert_within(&expected, &queries, "not in the document");
  assert_within(&queries, &expected, "not taken by the row");
}

static void test_every_operation_names_the_keys_that_it_takes(void **state) {
  (void)state;
  static const struct {
    unsigned bit;
    const char *word;
  } ROLES[] = {{ECO_ALLOW_OWNER, "owner"},
               {ECO_ALLOW_MEMBER, "member"},
               {ECO_ALLOW_INFERENCE, "inference"},
               {ECO_ALLOW_OPERATOR, "operator"},
               {ECO_ALLOW_PUBLIC, "none"}};
  static names expected;
  for (size_t i = 0; i < sizeof ROLES / sizeof ROLES[0]; i++) {
    EACH_ROW(row) {
      if (row->allow & ROLES[i].bit) {
        add(&expected, "%s %s %s", row->method, row->path, ROLES[i].word);
      }
    }
    // Models and containers are called with any key of their account, and with no other.
    for (int k = 0; k < operations.count && (ROLES[i].bit & (ECO_ALLOW_TEAM | ECO_ALLOW_INFERENCE)); k++) {
      if (is_data_plane(operations.at[k])) {
        add(&expected, "%s %s", operations.at[k], ROLES[i].word);
      }
    }
  }
  assert_within(&expected, &allowed, "not in the document");
  assert_within(&allowed, &expected, "not so in the table");
}

static void add_member(names *out, const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                       bool input) {
  const char *schema = type->short_name;
  switch (eco_json_form_of(field)) {
    case ECO_FORM_HIDDEN:
      return;
    case ECO_FORM_SEALED:
      if (input) {
        add(out, "%s.%s", schema, field->name);
      }
      return;
    case ECO_FORM_MONEY:
      add(out, "%s.%s", schema, field->name);
      add(out, "%s.%s_micros", schema, field->name);
      return;
    case ECO_FORM_PAGE:
      add(out, "%s.has_more", schema);
      add(out, "%s.next_cursor", schema);
      return;
    default:
      add(out, "%s.%s", schema, field->name);
  }
}

static void add_message(names *out, const ProtobufCMessageDescriptor *type, bool input);

static void add_nested(names *out, const ProtobufCMessageDescriptor *type, bool input) {
  for (unsigned i = 0; i < type->n_fields; i++) {
    if (eco_json_form_of(&type->fields[i]) == ECO_FORM_MESSAGE) {
      add_message(out, type->fields[i].descriptor, input);
    }
  }
}

static void add_message(names *out, const ProtobufCMessageDescriptor *type, bool input) {
  char first[NAME_MAX_LEN];
  snprintf(first, sizeof first, "%s.%s", type->short_name, type->fields[0].name);
  if (has(out, first)) {
    return;
  }
  for (unsigned i = 0; i < type->n_fields; i++) {
    add_member(out, type, &type->fields[i], input);
  }
  bool object = strstr(type->short_name, "List") != NULL;
  for (const eco_json_object *o = rest_objects; o->type != NULL; o++) {
    object = object || o->type == type;
  }
  if (object && !input) {
    add(out, "%s.object", type->short_name);
  }
  if (strcmp(type->short_name, "Invite") == 0) {
    add(out, "Invite.accept_url");
  }
  add_nested(out, type, input);
}

// Schemas that no message stands behind: the error, and what the data plane speaks.
static bool is_free_schema(const char *member) {
  static const char *const FREE[] = {"Error.", "ModelCall.", "ModelForm.", "CallableModel.", "CallableModelList."};
  for (size_t i = 0; i < sizeof FREE / sizeof FREE[0]; i++) {
    if (strncmp(member, FREE[i], strlen(FREE[i])) == 0) {
      return true;
    }
  }
  return false;
}

static void test_every_schema_has_exactly_its_messages_members(void **state) {
  (void)state;
  static names expected;
  EACH_ROW(row) {
    if (row->body) {
      add_message(&expected, row->request, true);
    }
    add_message(&expected, row->reply, false);
  }
  add_message(&expected, &ecolink__v1__quote__descriptor, false);
  assert_within(&expected, &members, "not in the document");
  for (int i = 0; i < members.count; i++) {
    if (!is_free_schema(members.at[i]) && !has(&expected, members.at[i])) {
      fail_msg("in no message: %s", members.at[i]);
    }
  }
}

static void test_error_codes_are_those_of_the_table(void **state) {
  (void)state;
  static names expected;
#define X(name, http, word, type) add(&expected, "%d %s", http, word);
  ECO_ERROR_TABLE(X)
#undef X
  assert_within(&expected, &codes, "not in the document");
  assert_within(&codes, &expected, "not in the table");
  assert_int_equal(codes.count, expected.count);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_row_is_documented_and_nothing_else),
      cmocka_unit_test(test_the_data_planes_routes_are_documented),
      cmocka_unit_test(test_every_query_parameter_is_documented_and_nothing_else),
      cmocka_unit_test(test_every_operation_names_the_keys_that_it_takes),
      cmocka_unit_test(test_every_schema_has_exactly_its_messages_members),
      cmocka_unit_test(test_error_codes_are_those_of_the_table),
  };
  return cmocka_run_group_tests(tests, read_document, NULL);
}
