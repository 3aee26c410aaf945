// What a launch may say, and what the scheduler makes of it: validation, defaults, and the engine's arguments. Pure.
#ifndef SCHEDULER_LAUNCH_RULES_H
#define SCHEDULER_LAUNCH_RULES_H

#include "ecolink/arena.h"
#include "ecolink/status.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "presets.h"

// Strings are the request's or the table's; defaults are filled in.
typedef struct launch_config {
  const engine_preset *preset;  // NULL: an image (or command) of the caller's own
  const char *engine;           // "" without a preset
  const char *image;
  bool openai_compatible;
  bool lists_models;
  const char *custom_api_path;  // "" when openai_compatible
  const char *health_path;
  int gpu_count;
  int port;
  int startup_deadline_s;
  int drain_s;
  int shared_memory_mb;
} launch_config;

// Everything that can be judged without knowing the model. INVALID_REQUEST with the field at fault.
ECO_CHECKED eco_status launch_validate(const Ecolink__V1__LaunchRequest *request, int default_deadline_s,
                                       int default_drain_s, launch_config *out);
// The engine's whole argument list (NULL-terminated, in the arena): the preset's, the weights', then the launch's own.
const char *const *launch_arguments(const engine_preset *preset, const Ecolink__V1__Model *model,
                                    const Ecolink__V1__LaunchRequest *request, eco_arena *arena);
// Whether the engine is to ask its callers for a token of ours: not where it takes none, nor where the launch has its
// own way.
bool launch_takes_token(const engine_preset *preset, const Ecolink__V1__LaunchRequest *request);
// Product, section 2: ^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$
bool launch_name_ok(const char *name);
// hold = rate x gpu_count x replicas x 24 (product, section 6). False on overflow.
bool launch_hold_micros(int64_t rate_micros, int gpu_count, int replicas, int64_t *out);

#endif
