// From a replica's specification to what is executed: program, arguments, environment.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver_process_internal.h"
#include "driver_template.h"

enum { ENV_MAX = 512, OWN_ENV = 16 };
static const char DEFAULT_PATH[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const char *process_preset_path(const process_driver *d, const char *engine) {
  if (strcmp(engine, "simulator") == 0) {
    return d->simulator_path;
  }
  if (strcmp(engine, "llama.cpp") == 0) {
    return d->llama_cpp_path;
  }
  return NULL;
}

static size_t count(const char *const *list) {
  size_t n = 0;
  while (list != NULL && list[n] != NULL) {
    n++;
  }
  return n;
}

static const char *env_value(const replica_spec *spec, const char *name) {
  for (const driver_name_value *e = spec->env; e != NULL && e->name != NULL; e++) {
    if (strcmp(e->name, name) == 0) {
      return e->value;
    }
  }
  return NULL;
}

static bool is_ours(const char *name) {
  static const char *const ours[] = {"HOME", "ECOLINK_PORT", "ECOLINK_HOST", "ECOLINK_SERVED_MODEL"};
  for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
    if (strcmp(name, ours[i]) == 0) {
      return true;
    }
  }
  return false;
}

// Built from nothing: what is listed here and what the launch brought, no more.
static eco_status build_environment(process_driver *d, eco_arena *arena, const process_replica *r, const char *home,
                                    const char *program_dir, char *const **out) {
  const replica_spec *spec = &r->spec;
  size_t wanted = 0;
  while (spec->env != NULL && spec->env[wanted].name != NULL) {
    wanted++;
  }
  if (wanted > ENV_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "env", "at most %d environment variables can be given", ENV_MAX);
  }
  char **env = eco_alloc_array(arena, wanted + OWN_ENV, sizeof(*env));
  size_t n = 0;
  env[n++] = eco_sprintf(arena, "HOME=%s", home);
  env[n++] = eco_sprintf(arena, "ECOLINK_PORT=%d", r->record.port);
  env[n++] = eco_sprintf(arena, "ECOLINK_HOST=%s", d->bind_host);
  env[n++] = eco_sprintf(arena, "ECOLINK_SERVED_MODEL=%s", spec->served_name);
  const struct {
    const char *name;
    const char *value;
  } defaults[] = {
      {"PATH", DEFAULT_PATH},           {"LANG", "C.UTF-8"}, {"TMPDIR", home}, {"HF_TOKEN", spec->hf_token},
      {"LD_LIBRARY_PATH", program_dir},  // engines come with their libraries beside them
  };
  for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
    if (defaults[i].value != NULL && defaults[i].value[0] != '\0' && env_value(spec, defaults[i].name) == NULL) {
      env[n++] = eco_sprintf(arena, "%s=%s", defaults[i].name, defaults[i].value);
    }
  }
  for (size_t i = 0; i < wanted; i++) {
    if (!is_ours(spec->env[i].name)) {
      env[n++] = eco_sprintf(arena, "%s=%s", spec->env[i].name, spec->env[i].value);
    }
  }
  env[n] = NULL;
  *out = env;
  return eco_success();
}

// A preset's program needs its own folder searched for shared libraries; a command of the user's brings its own ways.
static const char *library_dir(eco_arena *arena, const char *program, bool preset) {
  const char *slash = preset ? strrchr(program, '/') : NULL;
  return slash != NULL ? eco_strndup(arena, program, (size_t)(slash - program)) : NULL;
}

eco_status process_launch_build(process_driver *d, eco_arena *arena, const process_replica *r, process_launch *out) {
  const replica_spec *spec = &r->spec;
  char port[12];
  char path[PROCESS_PATH_MAX];
  (void)snprintf(port, sizeof(port), "%d", r->record.port);
  const driver_vars vars = {.port = port, .host = d->bind_host, .model = spec->served_name};
  size_t commands = count(spec->command);
  size_t args = count(spec->args);
  char **argv = eco_alloc_array(arena, commands + args + 2, sizeof(*argv));
  size_t n = 0;
  if (commands == 0) {
    const char *preset = process_preset_path(d, spec->engine);
    if (preset == NULL || preset[0] == '\0') {
      return eco_error_param(ECO_INVALID_REQUEST, "engine", "engine %s cannot be run on this machine", spec->engine);
    }
    argv[n++] = eco_strdup(arena, preset);
  }
  for (size_t i = 0; i < commands + args; i++) {
    argv[n] = driver_template(arena, i < commands ? spec->command[i] : spec->args[i - commands], &vars);
    if (argv[n++] == NULL) {
      return eco_error_param(ECO_INVALID_REQUEST, "args", "an argument is longer than %d bytes", DRIVER_ARG_BYTES_MAX);
    }
  }
  const char *search = env_value(spec, "PATH");
  const char *program = process_executable_find(arena, argv[0], search != NULL ? search : DEFAULT_PATH);
  process_home_path(&d->paths, spec->instance_id, spec->replica_id, path);
  out->home = eco_strdup(arena, path);
  process_log_path(&d->paths, spec->instance_id, spec->replica_id, path);
  out->log_path = eco_strdup(arena, path);
  out->file = program != NULL ? program : argv[0];
  out->argv = argv;
  out->who = process_identity_of(&d->who, spec->instance_id);
  return build_environment(d, arena, r, out->home, library_dir(arena, out->file, commands == 0), &out->envp);
}
