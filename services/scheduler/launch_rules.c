// Launch validation and defaults.
#include "launch_rules.h"

#include <string.h>

#include "ecolink/money.h"
#include "scheduler_limits.h"

static bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool launch_name_ok(const char *name) {
  size_t n = strlen(name);
  if (n == 0 || n > SCHED_NAME_MAX || !is_alnum(name[0])) {
    return false;
  }
  for (size_t i = 1; i < n; i++) {
    if (!is_alnum(name[i]) && !strchr("._/-", name[i])) {
      return false;
    }
  }
  return true;
}

// A path of an HTTP request: absolute, printable, without dot segments, query or fragment.
static bool http_path_ok(const char *path) {
  size_t n = strlen(path);
  if (n == 0 || n > SCHED_PATH_MAX || path[0] != '/') {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (path[i] <= ' ' || path[i] >= 0x7f || strchr("?#\\\"<>", path[i])) {
      return false;
    }
  }
  for (const char *seg = path; seg; seg = strchr(seg + 1, '/')) {
    size_t len = strcspn(seg + 1, "/");
    if ((len == 1 && seg[1] == '.') || (len == 2 && seg[1] == '.' && seg[2] == '.')) {
      return false;
    }
  }
  return true;
}

static bool printable_ok(const char *s, size_t max) {
  size_t n = strlen(s);
  for (size_t i = 0; i < n; i++) {
    if (s[i] <= ' ' || s[i] >= 0x7f) {
      return false;
    }
  }
  return n <= max;
}

static bool env_name_ok(const char *name) {
  if (!*name || strlen(name) > SCHED_NAME_MAX || (name[0] >= '0' && name[0] <= '9')) {
    return false;
  }
  for (const char *p = name; *p; p++) {
    if (!is_alnum(*p) && *p != '_') {
      return false;
    }
  }
  return strncmp(name, "ECOLINK_", 8) != 0;  // ours: the replica's port, host and served name
}

static eco_status check_env(const Ecolink__V1__LaunchRequest *r) {
  if (r->n_env + r->n_secret_env > SCHED_ENV_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "env", "At most %d environment variables.", SCHED_ENV_MAX);
  }
  size_t total = r->n_env + r->n_secret_env;
  for (size_t i = 0; i < total; i++) {
    bool plain = i < r->n_env;
    const char *name = plain ? r->env[i]->name : r->secret_env[i - r->n_env]->name;
    const char *param = plain ? "env" : "secret_env";
    if (!env_name_ok(name)) {
      return eco_error_param(ECO_INVALID_REQUEST, param,
                             "\"%.64s\" is no name for an environment variable (letters, digits, _; not ECOLINK_*).",
                             name);
    }
    if (plain && strlen(r->env[i]->value) > SCHED_ENV_BYTES_MAX) {
      return eco_error_param(ECO_INVALID_REQUEST, param, "The value of \"%.64s\" is longer than %d bytes.", name,
                             SCHED_ENV_BYTES_MAX);
    }
    if (!plain && !r->secret_env[i - r->n_env]->value) {
      return eco_error_param(ECO_INVALID_REQUEST, param, "\"%.64s\" has no value.", name);
    }
    for (size_t k = 0; k < i; k++) {
      const char *other = k < r->n_env ? r->env[k]->name : r->secret_env[k - r->n_env]->name;
      if (strcmp(other, name) == 0) {
        return eco_error_param(ECO_INVALID_REQUEST, param, "The environment variable \"%.64s\" is given twice.", name);
      }
    }
  }
  return eco_success();
}

static eco_status check_strings(char *const *list, size_t n, const char *param) {
  if (n > SCHED_ARGS_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "At most %d elements.", SCHED_ARGS_MAX);
  }
  for (size_t i = 0; i < n; i++) {
    if (strlen(list[i]) > SCHED_ARG_BYTES_MAX) {
      return eco_error_param(ECO_INVALID_REQUEST, param, "Element %zu is longer than %d bytes.", i + 1,
                             SCHED_ARG_BYTES_MAX);
    }
  }
  return eco_success();
}

static eco_status check_regions(const Ecolink__V1__LaunchRequest *r) {
  if (r->n_regions > SCHED_WANTED_REGIONS_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "regions", "At most %d regions.", SCHED_WANTED_REGIONS_MAX);
  }
  for (size_t i = 0; i < r->n_regions; i++) {
    if (!*r->regions[i] || strlen(r->regions[i]) >= SCHED_REGION_MAX) {
      return eco_error_param(ECO_INVALID_REQUEST, "regions", "Element %zu is no region's name.", i + 1);
    }
    for (size_t k = 0; k < i; k++) {
      if (strcmp(r->regions[i], r->regions[k]) == 0) {
        return eco_error_param(ECO_INVALID_REQUEST, "regions", "Region \"%s\" is named twice.", r->regions[i]);
      }
    }
  }
  return eco_success();
}

static eco_status bounded(const char *param, int64_t value, int64_t min, int64_t max) {
  if (value < min || value > max) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "%s must be between %lld and %lld.", param, (long long)min,
                           (long long)max);
  }
  return eco_success();
}

static eco_status check_what_runs(const Ecolink__V1__LaunchRequest *r, launch_config *c) {
  if (!*r->model_id == !*r->platform_model) {
    return eco_error_param(ECO_INVALID_REQUEST, "model_id", "Name one of model_id and platform_model.");
  }
  if (*r->name && !launch_name_ok(r->name)) {
    return eco_error_param(ECO_INVALID_REQUEST, "name",
                           "A name begins with a letter or digit and holds letters, digits and . _ / - (at most %d).",
                           SCHED_NAME_MAX);
  }
  if (!*r->engine && !*r->image) {
    return eco_error_param(ECO_INVALID_REQUEST, "engine", "Name an engine (%s) or an image.", preset_names());
  }
  c->preset = NULL;
  c->engine = r->engine;
  if (*r->engine) {
    c->preset = preset_find(r->engine);
    if (!c->preset) {
      return eco_error_param(ECO_INVALID_REQUEST, "engine", "There is no engine \"%.64s\"; known are %s.", r->engine,
                             preset_names());
    }
  }
  if (!printable_ok(r->image, SCHED_IMAGE_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "image", "An image reference has no blanks and at most %d bytes.",
                           SCHED_IMAGE_MAX);
  }
  c->image = *r->image || !c->preset ? r->image : c->preset->image;
  ECO_TRY(check_strings(r->command, r->n_command, "command"));
  ECO_TRY(check_strings(r->args, r->n_args, "args"));
  return check_strings(r->filesystems, r->n_filesystems, "filesystems");
}

static eco_status check_paths(const Ecolink__V1__LaunchRequest *r, launch_config *c) {
  c->openai_compatible =
      r->openai_compatible_set_case != ECOLINK__V1__LAUNCH_REQUEST__OPENAI_COMPATIBLE_SET_OPENAI_COMPATIBLE ||
      r->openai_compatible;
  if (c->openai_compatible && *r->custom_api_path) {
    return eco_error_param(
        ECO_INVALID_REQUEST, "custom_api_path",
        "custom_api_path belongs to a container that is not OpenAI-compatible: set openai_compatible to "
        "false or leave it out.");
  }
  if (*r->custom_api_path && !http_path_ok(r->custom_api_path)) {
    return eco_error_param(ECO_INVALID_REQUEST, "custom_api_path",
                           "A path begins with / and has no blanks, dot segments, query or fragment.");
  }
  c->custom_api_path = c->openai_compatible ? "" : (*r->custom_api_path ? r->custom_api_path : "/");
  if (*r->health_path && !http_path_ok(r->health_path)) {
    return eco_error_param(ECO_INVALID_REQUEST, "health_path",
                           "A path begins with / and has no blanks, dot segments, query or fragment.");
  }
  if (*r->health_path) {
    c->health_path = r->health_path;
  } else if (c->preset) {
    c->health_path = c->preset->health_path;
  } else {
    c->health_path = c->openai_compatible ? "/health" : "/";
  }
  c->lists_models = c->openai_compatible && (!c->preset || c->preset->lists_models);
  return eco_success();
}

static eco_status check_numbers(const Ecolink__V1__LaunchRequest *r, int default_deadline_s, int default_drain_s,
                                launch_config *c) {
  c->gpu_count = r->gpu_count_set_case == ECOLINK__V1__LAUNCH_REQUEST__GPU_COUNT_SET_GPU_COUNT ? r->gpu_count : 1;
  c->port =
      r->port_set_case == ECOLINK__V1__LAUNCH_REQUEST__PORT_SET_PORT ? r->port : (c->preset ? c->preset->port : 8000);
  c->startup_deadline_s =
      r->startup_deadline_set_case == ECOLINK__V1__LAUNCH_REQUEST__STARTUP_DEADLINE_SET_STARTUP_DEADLINE_S
          ? r->startup_deadline_s
          : default_deadline_s;
  c->drain_s = r->drain_set_case == ECOLINK__V1__LAUNCH_REQUEST__DRAIN_SET_DRAIN_S ? r->drain_s : default_drain_s;
  c->shared_memory_mb = r->shared_memory_set_case == ECOLINK__V1__LAUNCH_REQUEST__SHARED_MEMORY_SET_SHARED_MEMORY_MB
                            ? r->shared_memory_mb
                            : 0;
  ECO_TRY(bounded("gpu_count", c->gpu_count, 1, SCHED_GPUS_PER_REPLICA_MAX));
  ECO_TRY(bounded("port", c->port, 1, 65535));
  ECO_TRY(bounded("startup_deadline_s", c->startup_deadline_s, 1, SCHED_STARTUP_DEADLINE_S_MAX));
  ECO_TRY(bounded("drain_s", c->drain_s, 0, SCHED_DRAIN_S_MAX));
  return bounded("shared_memory_mb", c->shared_memory_mb, 0, 1 << 20);
}

eco_status launch_validate(const Ecolink__V1__LaunchRequest *r, int default_deadline_s, int default_drain_s,
                           launch_config *out) {
  *out = (launch_config){0};
  ECO_TRY(check_what_runs(r, out));
  ECO_TRY(check_paths(r, out));
  ECO_TRY(check_numbers(r, default_deadline_s, default_drain_s, out));
  if (strlen(r->gpu_type) >= SCHED_GPU_TYPE_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "gpu_type", "No GPU type has so long a name.");
  }
  ECO_TRY(check_regions(r));
  return check_env(r);
}

// Whether the launch's own arguments already say where the weights are.
static bool names_flag(const Ecolink__V1__LaunchRequest *r, const char *flag) {
  size_t len = strlen(flag);
  for (size_t i = 0; i < r->n_args; i++) {
    if (strncmp(r->args[i], flag, len) == 0 && (r->args[i][len] == '\0' || r->args[i][len] == '=')) {
      return true;
    }
  }
  return false;
}

static void add_pair(const char **args, size_t *n, const Ecolink__V1__LaunchRequest *r, const char *flag,
                     const char *value) {
  if (flag && *value && !names_flag(r, flag)) {
    args[(*n)++] = flag;
    args[(*n)++] = value;
  }
}

const char *const *launch_arguments(const engine_preset *preset, const Ecolink__V1__Model *model,
                                    const Ecolink__V1__LaunchRequest *r, eco_arena *arena) {
  const char **args = eco_alloc_array(arena, r->n_args + PRESET_ARGS_MAX + 5, sizeof(*args));
  size_t n = 0;
  if (preset) {
    for (size_t i = 0; preset->args[i]; i++) {
      args[n++] = preset->args[i];
    }
    if (model->source == ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM) {
      add_pair(args, &n, r, preset->weights_from_path, model->path);
    } else if (*model->repo) {
      add_pair(args, &n, r, preset->weights_from_repo, model->repo);
      add_pair(args, &n, r, preset->revision, model->revision);
    }
  }
  for (size_t i = 0; i < r->n_args; i++) {
    args[n++] = r->args[i];
  }
  args[n] = NULL;
  return args;
}

bool launch_takes_token(const engine_preset *preset, const Ecolink__V1__LaunchRequest *r) {
  static const char flag[] = "--api-key";
  bool own = r->n_command > 0;
  for (size_t i = 0; i < r->n_args; i++) {
    own = own || strncmp(r->args[i], flag, sizeof(flag) - 1) == 0;
  }
  for (size_t i = 0; preset && preset->token_env && i < r->n_env; i++) {
    own = own || strcmp(r->env[i]->name, preset->token_env) == 0;
  }
  for (size_t i = 0; preset && preset->token_env && i < r->n_secret_env; i++) {
    own = own || strcmp(r->secret_env[i]->name, preset->token_env) == 0;
  }
  return preset && preset->token_env && !own;
}

bool launch_hold_micros(int64_t rate_micros, int gpu_count, int replicas, int64_t *out) {
  int64_t v = 0;
  return eco_money_mul(rate_micros, gpu_count, &v) && eco_money_mul(v, replicas, &v) && eco_money_mul(v, 24, out);
}
