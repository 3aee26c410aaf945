// Engine presets: what image, port, arguments and health path each engine needs to answer under the registered name.
// Pure.
#ifndef SCHEDULER_PRESETS_H
#define SCHEDULER_PRESETS_H

#include <stdbool.h>
#include <stddef.h>

enum { PRESET_ARGS_MAX = 16 };

// In args: {host}, {port} and {model} (the served name) are the driver's to replace; {weights} (repository or path) and
// {revision} the scheduler's. An argument pair that needs {weights} or {revision} is left out when there is none.
typedef struct engine_preset {
  const char *name;
  const char *image;
  const char *command[PRESET_ARGS_MAX];  // in place of the image's own; empty: the image's
  const char *args[PRESET_ARGS_MAX];     // flags and values, ends with NULL
  const char *weights_from_repo;         // flag put before a Hugging Face repository; NULL: taken from the environment
  const char *weights_from_path;         // flag put before a path
  const char *revision;                  // flag put before the revision; NULL: the engine takes none
  const char *repo_env;                  // environment variable for the repository, where there is no flag; NULL
  const char *health_path;
  int port;
  const char *token_env;   // environment variable of the key that callers must send; NULL: it takes none
  const char *token_flag;  // where the engine reads no variable: its flag
  bool hub_cache;          // reads its weights from the Hub's cache layout (HF_HOME)
  bool lists_models;       // GET /v1/models names the served model
  bool local_only;         // a stand-in for tests and tours: drivers with images do not offer it
} engine_preset;

// NULL: unknown.
const engine_preset *preset_find(const char *name);
// "vllm, sglang, ...": for error messages.
const char *preset_names(void);
size_t preset_count(void);
const engine_preset *preset_at(size_t index);

#endif
