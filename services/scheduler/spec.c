// Building a replica's specification.
#include "spec.h"

#include <string.h>

#include "app.h"

static const char *const *null_terminated(eco_arena *arena, char *const *list, size_t n) {
  const char **out = eco_alloc_array(arena, n + 1, sizeof(*out));
  for (size_t i = 0; i < n; i++) {
    out[i] = list[i];
  }
  return out;
}

static eco_status open_sealed(eco_arena *arena, const Ecolink__V1__Sealed *sealed, bool open, const char *what,
                              const char **out) {
  *out = "";
  if (!sealed || sealed->box.len == 0 || !open) {
    return eco_success();
  }
  char *plain = NULL;
  size_t len = 0;
  ECO_TRY(eco_context(
      eco_unseal(&app.seal_public, &app.seal_secret, sealed->box.data, sealed->box.len, arena, &plain, &len), "%s",
      what));
  *out = plain;
  return eco_success();
}

static eco_status build_env(eco_arena *arena, const Ecolink__V1__LaunchRequest *r, const engine_preset *preset,
                            const Ecolink__V1__Model *model, const char *token, bool open_secrets,
                            const driver_name_value **out) {
  driver_name_value *env = eco_alloc_array(arena, r->n_env + r->n_secret_env + 3, sizeof(*env));
  size_t n = 0;
  for (size_t i = 0; i < r->n_env; i++) {
    env[n++] = (driver_name_value){r->env[i]->name, r->env[i]->value, false};
  }
  for (size_t i = 0; i < r->n_secret_env; i++) {
    const char *value = "";
    ECO_TRY(open_sealed(arena, r->secret_env[i]->value, open_secrets, r->secret_env[i]->name, &value));
    env[n++] = (driver_name_value){r->secret_env[i]->name, value, true};
  }
  bool named = false;
  for (size_t i = 0; preset && preset->repo_env && i < n; i++) {
    named = named || strcmp(env[i].name, preset->repo_env) == 0;
  }
  if (preset && preset->repo_env && *model->repo && !named) {
    env[n++] = (driver_name_value){preset->repo_env, model->repo, false};
  }
  if (preset && preset->token_env && *token) {
    env[n++] = (driver_name_value){preset->token_env, token, true};
  }
  *out = env;
  return eco_success();
}

static const driver_mount *build_mounts(eco_arena *arena, const Ecolink__V1__AcquireModelResponse *acquired) {
  driver_mount *mounts = eco_alloc_array(arena, acquired->n_filesystems + 1, sizeof(*mounts));
  for (size_t i = 0; i < acquired->n_filesystems; i++) {
    mounts[i] = (driver_mount){acquired->filesystems[i]->name, acquired->filesystems[i]->mount_path};
  }
  return mounts;
}

eco_status spec_build(eco_arena *arena, const Ecolink__V1__LaunchRequest *r,
                      const Ecolink__V1__AcquireModelResponse *acquired, const instance_row *inst,
                      const replica_row *replica, bool open_secrets, replica_spec *out) {
  launch_config config;
  ECO_TRY(launch_validate(r, inst->startup_deadline_s, inst->drain_s, &config));
  static const Ecolink__V1__Model no_model = ECOLINK__V1__MODEL__INIT;
  const Ecolink__V1__Model *model = acquired->model ? acquired->model : &no_model;
  bool on_filesystem = model->source == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM;
  *out =
      (replica_spec){.instance_id = inst->id,
                     .replica_id = replica->id,
                     .generation = replica->generation,
                     .account_id = inst->account_id,
                     .region = replica->region,
                     .served_name = inst->served_name,
                     .engine = config.engine,
                     .image = config.image,
                     .command = r->n_command == 0 && config.preset ? config.preset->command
                                                                   : null_terminated(arena, r->command, r->n_command),
                     .args = launch_arguments(config.preset, model, r, arena),
                     .token_flag = config.preset && *replica->token ? config.preset->token_flag : NULL,
                     .token_env = config.preset ? config.preset->token_env : NULL,
                     .health_path = config.health_path,
                     .port = config.port,
                     .gpu_type = inst->gpu_type,
                     .gpu_count = inst->gpu_count,
                     .model_repo = on_filesystem ? "" : model->repo,
                     .model_revision = on_filesystem ? "" : model->revision,
                     .hub_cache = config.preset && config.preset->hub_cache,
                     .model_path = on_filesystem ? model->path : "",
                     .mounts = build_mounts(arena, acquired),
                     .shared_memory_mb = config.shared_memory_mb,
                     .drain_s = inst->drain_s};
  ECO_TRY(build_env(arena, r, config.preset, model, replica->token, open_secrets, &out->env));
  return open_sealed(arena, model->hf_token, open_secrets, "the model's Hugging Face token", &out->hf_token);
}

eco_status spec_load(eco_tx *tx, eco_arena *arena, const instance_row *inst, const replica_row *replica,
                     replica_spec *out) {
  instance_blobs blobs;
  ECO_TRY(store_instance_blobs(tx, arena, inst->id, &blobs));
  Ecolink__V1__LaunchRequest *request =
      ecolink__v1__launch_request__unpack(eco_arena_pb(arena), blobs.spec_len, blobs.spec);
  Ecolink__V1__AcquireModelResponse *model =
      ecolink__v1__acquire_model_response__unpack(eco_arena_pb(arena), blobs.model_len, blobs.model);
  if (!request || !model) {
    return eco_error(ECO_INTERNAL, "The stored launch of instance %lld cannot be read.", (long long)inst->id);
  }
  return spec_build(arena, request, model, inst, replica, true, out);
}
