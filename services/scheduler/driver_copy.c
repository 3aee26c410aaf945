// Copying a specification.
#include "driver_copy.h"

static const char *const *copy_list(eco_arena *arena, const char *const *list) {
  size_t n = 0;
  while (list != NULL && list[n] != NULL) {
    n++;
  }
  const char **out = eco_alloc_array(arena, n + 1, sizeof(*out));
  for (size_t i = 0; i < n; i++) {
    out[i] = eco_strdup(arena, list[i]);
  }
  return out;
}

static const driver_name_value *copy_env(eco_arena *arena, const driver_name_value *env) {
  size_t n = 0;
  while (env != NULL && env[n].name != NULL) {
    n++;
  }
  driver_name_value *out = eco_alloc_array(arena, n + 1, sizeof(*out));
  for (size_t i = 0; i < n; i++) {
    out[i] = (driver_name_value){
        .name = eco_strdup(arena, env[i].name), .value = eco_strdup(arena, env[i].value), .secret = env[i].secret};
  }
  return out;
}

static const driver_mount *copy_mounts(eco_arena *arena, const driver_mount *mounts) {
  size_t n = 0;
  while (mounts != NULL && mounts[n].filesystem != NULL) {
    n++;
  }
  driver_mount *out = eco_alloc_array(arena, n + 1, sizeof(*out));
  for (size_t i = 0; i < n; i++) {
    out[i] = (driver_mount){eco_strdup(arena, mounts[i].filesystem), eco_strdup(arena, mounts[i].path)};
  }
  return out;
}

void driver_copy_spec(eco_arena *arena, const replica_spec *spec, replica_spec *out) {
  *out = *spec;
  out->account_id = eco_strdup(arena, spec->account_id);
  out->region = eco_strdup(arena, spec->region);
  out->served_name = eco_strdup(arena, spec->served_name);
  out->engine = eco_strdup(arena, spec->engine);
  out->image = eco_strdup(arena, spec->image);
  out->command = copy_list(arena, spec->command);
  out->args = copy_list(arena, spec->args);
  out->env = copy_env(arena, spec->env);
  out->health_path = eco_strdup(arena, spec->health_path);
  out->gpu_type = eco_strdup(arena, spec->gpu_type);
  out->model_repo = eco_strdup(arena, spec->model_repo);
  out->model_revision = eco_strdup(arena, spec->model_revision);
  out->model_path = eco_strdup(arena, spec->model_path);
  out->hf_token = eco_strdup(arena, spec->hf_token);
  out->mounts = copy_mounts(arena, spec->mounts);
}
