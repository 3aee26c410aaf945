// Fields of models by source: every combination of given and missing fields.

#include "models.h"

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

static char NAME[] = "my-llama";
static char REPO[] = "org/name";
static char REVISION[] = "v1";
static char FILESYSTEM[] = "fs_x";
static char PATH[] = "models/x";
static uint8_t BOX[] = {1, 2, 3};

enum { WITH_REPO = 1, WITH_REVISION = 2, WITH_FILESYSTEM = 4, WITH_PATH = 8, WITH_TOKEN = 16, COMBINATIONS = 32 };

static void make_request(Ecolink__V1__CreateModelRequest *r, Ecolink__V1__Sealed *token, int source, int with) {
  ecolink__v1__create_model_request__init(r);
  ecolink__v1__sealed__init(token);
  token->box = (ProtobufCBinaryData){.data = BOX, .len = sizeof BOX};
  r->name = NAME;
  r->source = (Ecolink__V1__ModelSource)source;
  r->category = ECOLINK__V1__MODEL_CATEGORY__MODEL_CATEGORY_CHAT;
  r->repo = with & WITH_REPO ? REPO : r->repo;
  r->revision = with & WITH_REVISION ? REVISION : r->revision;
  r->filesystem_id = with & WITH_FILESYSTEM ? FILESYSTEM : r->filesystem_id;
  r->path = with & WITH_PATH ? PATH : r->path;
  r->hf_token = with & WITH_TOKEN ? token : NULL;
}

// Needed and allowed fields of each source, by product section 2.
static const struct {
  int source, needed, allowed;
} SOURCES[] = {
    {ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE, WITH_REPO, WITH_REPO | WITH_REVISION | WITH_TOKEN},
    {ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM, WITH_FILESYSTEM | WITH_PATH,
     WITH_FILESYSTEM | WITH_PATH},
    {ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_CONTAINER, 0, 0},
};

static void test_each_source_takes_its_own_fields_and_no_others(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof SOURCES / sizeof SOURCES[0]; s++) {
    for (int with = 0; with < COMBINATIONS; with++) {
      Ecolink__V1__CreateModelRequest r;
      Ecolink__V1__Sealed token;
      make_request(&r, &token, SOURCES[s].source, with);
      bool expected = (with & SOURCES[s].needed) == SOURCES[s].needed && (with & ~SOURCES[s].allowed) == 0;
      eco_status st = registry_model_check(&r);
      if (eco_ok(st) != expected) {
        fail_msg("source %d with fields %d: %s", SOURCES[s].source, with, st.message);
      }
      if (!expected) {
        assert_int_equal(st.code, ECO_INVALID_REQUEST);
        assert_true(strcmp(st.param, "repo") == 0 || strcmp(st.param, "revision") == 0 ||
                    strcmp(st.param, "filesystem_id") == 0 || strcmp(st.param, "path") == 0 ||
                    strcmp(st.param, "hf_token") == 0);
      }
    }
  }
}

static void test_unknown_sources_and_categories_are_refused(void **state) {
  (void)state;
  for (int value = -1; value < 12; value++) {
    Ecolink__V1__CreateModelRequest r;
    Ecolink__V1__Sealed token;
    make_request(&r, &token, value, WITH_REPO);
    eco_status st = registry_model_check(&r);
    assert_int_equal(eco_ok(st), value == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE);
    make_request(&r, &token, ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE, WITH_REPO);
    r.category = (Ecolink__V1__ModelCategory)value;
    st = registry_model_check(&r);
    assert_int_equal(eco_ok(st), value >= 1 && value <= 6);
    if (!eco_ok(st)) {
      assert_string_equal(st.param, "category");
    }
  }
}

static void test_bad_values_name_their_field(void **state) {
  (void)state;
  char bad[] = "no good:";
  Ecolink__V1__CreateModelRequest r;
  Ecolink__V1__Sealed token;
  make_request(&r, &token, ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE, WITH_REPO | WITH_TOKEN);
  r.name = bad;
  assert_string_equal(registry_model_check(&r).param, "name");
  r.name = NAME;
  r.repo = bad;
  assert_string_equal(registry_model_check(&r).param, "repo");
  r.repo = REPO;
  r.revision = bad;
  assert_string_equal(registry_model_check(&r).param, "revision");
  r.revision = REVISION;
  token.box.len = 0;
  assert_string_equal(registry_model_check(&r).param, "hf_token");
  token.box.len = 5000;
  assert_string_equal(registry_model_check(&r).param, "hf_token");
}

static void test_the_default_revision_is_main(void **state) {
  (void)state;
  assert_string_equal(registry_revision_or_default(""), "main");
  assert_string_equal(registry_revision_or_default("v2"), "v2");
}

static void test_a_catalogue_entry_needs_a_repository(void **state) {
  (void)state;
  char bell[] = "ring\a";
  Ecolink__V1__PutPlatformModelRequest r;
  ecolink__v1__put_platform_model_request__init(&r);
  r.name = NAME;
  r.category = ECOLINK__V1__MODEL_CATEGORY__MODEL_CATEGORY_EMBEDDING;
  assert_string_equal(registry_platform_model_check(&r).param, "repo");
  r.repo = REPO;
  assert_true(eco_ok(registry_platform_model_check(&r)));
  r.description = bell;
  assert_string_equal(registry_platform_model_check(&r).param, "description");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_source_takes_its_own_fields_and_no_others),
      cmocka_unit_test(test_unknown_sources_and_categories_are_refused),
      cmocka_unit_test(test_bad_values_name_their_field),
      cmocka_unit_test(test_the_default_revision_is_main),
      cmocka_unit_test(test_a_catalogue_entry_needs_a_repository),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
