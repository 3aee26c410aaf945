// The REST table against itself and against the messages that it names. With --print, the table as text.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

#include "mgmt.h"
#include "rest_table.h"

#define EACH_ROW(row) for (const rest_row *row = rest_table; row->method != NULL; row++)

static void test_every_row_names_an_rpc_and_its_own_messages(void **state) {
  (void)state;
  EACH_ROW(row) {
    const char *dot = strchr(row->rpc, '.');
    assert_non_null(dot);
    char request[128];
    snprintf(request, sizeof request, "%sRequest", dot + 1);
    assert_string_equal(row->request->short_name, request);
    assert_non_null(row->reply);
    assert_true(row->status == 200 || row->status == 201);
    assert_int_not_equal(row->allow, 0);
    assert_true(row->allow < 64 && (row->allow & ECO_ALLOW_SERVICE) == 0);
  }
}

static void test_only_writes_take_a_body_and_only_admins_reach_admin_routes(void **state) {
  (void)state;
  EACH_ROW(row) {
    assert_true(!row->body || strcmp(row->method, "POST") == 0 || strcmp(row->method, "PUT") == 0);
    const bool admin = strncmp(row->path, "/admin/", 7) == 0;
    assert_true(!admin || row->allow == ECO_ALLOW_OPERATOR);
  }
}

static size_t segments(const char *path, char out[][64]) {
  size_t n = 0;
  for (const char *s = path; *s == '/'; n++) {
    const size_t len = strcspn(s + 1, "/");
    assert_true(n < 8 && len > 0 && len < 64);
    memcpy(out[n], s + 1, len);
    out[n][len] = '\0';
    s += 1 + len;
  }
  return n;
}

static void test_every_path_parameter_is_a_field_of_the_request(void **state) {
  (void)state;
  EACH_ROW(row) {
    char parts[8][64];
    size_t params = 0;
    const size_t count = segments(row->path, parts);
    for (size_t i = 0; i < count; i++) {
      if (parts[i][0] != '{') {
        assert_null(strpbrk(parts[i], "{}"));
        continue;
      }
      params++;
      parts[i][strlen(parts[i]) - 1] = '\0';
      if (!eco_pb_has_text_field(row->request, parts[i] + 1)) {
        fail_msg("%s %s: the request has no %s", row->method, row->path, parts[i] + 1);
      }
    }
    assert_true(params <= REST_PARAMS_MAX);
  }
}

static bool overlap(const rest_row *a, const rest_row *b) {
  char a_parts[8][64];
  char b_parts[8][64];
  const size_t count = segments(a->path, a_parts);
  if (strcmp(a->method, b->method) != 0 || segments(b->path, b_parts) != count) {
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    if (a_parts[i][0] != '{' && b_parts[i][0] != '{' && strcmp(a_parts[i], b_parts[i]) != 0) {
      return false;
    }
  }
  return true;
}

static void test_no_two_rows_overlap(void **state) {
  (void)state;
  EACH_ROW(a) {
    for (const rest_row *b = a + 1; b->method != NULL; b++) {
      if (overlap(a, b)) {
        fail_msg("%s %s and %s overlap", a->method, a->path, b->path);
      }
    }
  }
}

static bool in_calls(const char *rpc) {
  for (const char *const *c = gw_mgmt_calls; *c != NULL; c++) {
    if (strcmp(*c, rpc) == 0) {
      return true;
    }
  }
  return false;
}

static bool in_table(const char *rpc) {
  EACH_ROW(row) {
    if (strcmp(row->rpc, rpc) == 0) {
      return true;
    }
  }
  return strcmp(rpc, "scheduler.Quote") == 0;
}

static void test_the_list_of_calls_is_exactly_what_the_table_calls(void **state) {
  (void)state;
  EACH_ROW(row) {
    assert_true(in_calls(row->rpc));
  }
  for (const char *const *c = gw_mgmt_calls; *c != NULL; c++) {
    assert_true(in_table(*c));
    for (const char *const *d = c + 1; *d != NULL; d++) {
      assert_string_not_equal(*c, *d);
    }
  }
}

static bool has_object(const ProtobufCMessageDescriptor *type) {
  for (const eco_json_object *o = rest_objects; o->type != NULL; o++) {
    if (o->type == type) {
      return true;
    }
  }
  return protobuf_c_message_descriptor_get_field_by_name(type, "page") != NULL;
}

static void test_every_answer_says_what_object_it_is(void **state) {
  (void)state;
  EACH_ROW(row) {
    if (!has_object(row->reply)) {
      fail_msg("%s has no object name", row->reply->name);
    }
    const ProtobufCFieldDescriptor *data = protobuf_c_message_descriptor_get_field_by_name(row->reply, "data");
    assert_true(data == NULL || has_object(data->descriptor));
  }
}

typedef struct lookup {
  const char *method;
  const char *path;
  const char *rpc;  // NULL: no row
  const char *allow;
  const char *capture;
} lookup;

static void test_paths_find_their_rows(void **state) {
  (void)state;
  static const lookup CASES[] = {
      {"GET", "/models", "registry.ListModels", "POST, GET", NULL},
      {"GET", "/models/mdl_1", "registry.GetModel", "GET, DELETE", "mdl_1"},
      {"GET", "/models/a%2Fb", "registry.GetModel", "GET, DELETE", "a%2Fb"},
      {"PATCH", "/models", NULL, "POST, GET", NULL},
      {"HEAD", "/models", NULL, "POST, GET", NULL},
      {"get", "/models", NULL, "POST, GET", NULL},
      {"GET", "/models/", NULL, "", NULL},
      {"GET", "/models/a/b", NULL, "", NULL},
      {"GET", "//models", NULL, "", NULL},
      {"GET", "/model", NULL, "", NULL},
      {"GET", "/", NULL, "", NULL},
      {"GET", "", NULL, "", NULL},
      {"GET", "models", NULL, "", NULL},
      {"GET", "/v1/models", NULL, "", NULL},
      {"POST", "/inference-instances/7/proxy", NULL, "", NULL},
      {"POST", "/inference-instances/7/stop", "scheduler.StopInstance", "POST", "7"},
      {"DELETE", "/inference-instances/7", "scheduler.StopInstance", "GET, DELETE", "7"},
      {"POST", "/invites/tok/accept", "registry.AcceptInvite", "POST", "tok"},
      {"POST", "/admin/accounts/acc_1/topups", "billing.TopUp", "POST", "acc_1"},
      {"PUT", "/admin/regions/local-a", "scheduler.PutRegion", "GET, PUT, DELETE", "local-a"},
      {"GET", "/platform/models", "registry.ListPlatformModels", "GET", NULL},
  };
  for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
    rest_match m;
    rest_find(CASES[i].method, CASES[i].path, strlen(CASES[i].path), &m);
    assert_string_equal(m.allow, CASES[i].allow);
    assert_int_equal(m.path_known, CASES[i].allow[0] != '\0');
    if (CASES[i].rpc == NULL) {
      assert_null(m.row);
      continue;
    }
    assert_non_null(m.row);
    assert_string_equal(m.row->rpc, CASES[i].rpc);
    assert_int_equal(m.capture_count, CASES[i].capture != NULL);
    if (CASES[i].capture != NULL) {
      assert_int_equal(m.captures[0].value_len, strlen(CASES[i].capture));
      assert_memory_equal(m.captures[0].value, CASES[i].capture, m.captures[0].value_len);
    }
  }
}

static void test_only_the_catalogue_and_accepting_an_invite_are_public(void **state) {
  (void)state;
  assert_true(gw_mgmt_public(NULL, "GET", "/platform/models", 16));
  assert_true(gw_mgmt_public(NULL, "POST", "/invites/t/accept", 17));
  assert_true(gw_mgmt_public(NULL, "POST", "/platform/models", 16));
  int open_rows = 0;
  EACH_ROW(row) {
    open_rows += (row->allow & ECO_ALLOW_PUBLIC) != 0;
  }
  assert_int_equal(open_rows, 2);
  assert_false(gw_mgmt_public(NULL, "GET", "/models", 7));
  assert_false(gw_mgmt_public(NULL, "PUT", "/models", 7));
  assert_false(gw_mgmt_public(NULL, "GET", "/nowhere", 8));
}

// One row a line, for tests that go through HTTP: method, path, RPC, "body" or "bare", success status, roles.
static int print_table(void) {
  EACH_ROW(row) {
    printf("%s %s %s %s %d%s%s%s%s%s\n", row->method, row->path, row->rpc, row->body ? "body" : "bare", row->status,
           row->allow & ECO_ALLOW_PUBLIC ? " public" : "", row->allow & ECO_ALLOW_OWNER ? " owner" : "",
           row->allow & ECO_ALLOW_MEMBER ? " member" : "", row->allow & ECO_ALLOW_INFERENCE ? " inference" : "",
           row->allow & ECO_ALLOW_OPERATOR ? " operator" : "");
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--print") == 0) {
    return print_table();
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_row_names_an_rpc_and_its_own_messages),
      cmocka_unit_test(test_only_writes_take_a_body_and_only_admins_reach_admin_routes),
      cmocka_unit_test(test_every_path_parameter_is_a_field_of_the_request),
      cmocka_unit_test(test_no_two_rows_overlap),
      cmocka_unit_test(test_the_list_of_calls_is_exactly_what_the_table_calls),
      cmocka_unit_test(test_every_answer_says_what_object_it_is),
      cmocka_unit_test(test_paths_find_their_rows),
      cmocka_unit_test(test_only_the_catalogue_and_accepting_an_invite_are_public),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
