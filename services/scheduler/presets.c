// The table of engine presets.
#include "presets.h"

#include <string.h>

// Ollama serves what was pulled before, under names of its own: pull the repository, then give it the registered name.
static const char OLLAMA_SCRIPT[] =
    "ollama serve & server=$!; until ollama list >/dev/null 2>&1; do kill -0 $server || exit 1; sleep 1; done; "
    "if [ -n \"$OLLAMA_MODEL\" ]; then ollama pull \"$OLLAMA_MODEL\" && ollama cp \"$OLLAMA_MODEL\" \"$1\" || exit 1; "
    "fi; "
    "trap 'kill $server' TERM INT; wait $server";

static const engine_preset PRESETS[] = {
    {.name = "vllm",
     .token_env = "VLLM_API_KEY",
     .image = "vllm/vllm-openai:latest",
     .port = 8000,
     .args = {"--host", "{host}", "--port", "{port}", "--served-model-name", "{model}", NULL},
     .weights_from_repo = "--model",
     .weights_from_path = "--model",
     .revision = "--revision",
     .health_path = "/health",
     .hub_cache = true,
     .lists_models = true},
    {.name = "sglang",
     .token_env = "ECOLINK_REPLICA_TOKEN",
     .token_flag = "--api-key",
     .image = "lmsysorg/sglang:latest",
     .port = 30000,
     .args = {"python3", "-m", "sglang.launch_server", "--host", "{host}", "--port", "{port}", "--served-model-name",
              "{model}", NULL},
     .weights_from_repo = "--model-path",
     .weights_from_path = "--model-path",
     .revision = "--revision",
     .health_path = "/health",
     .hub_cache = true,
     .lists_models = true},
    // no option gives it a name: it answers whatever name it is asked for, and lists its own
    {.name = "tgi",
     .token_env = "API_KEY",
     .image = "ghcr.io/huggingface/text-generation-inference:latest",
     .port = 8080,
     .args = {"--hostname", "{host}", "--port", "{port}", NULL},
     .weights_from_repo = "--model-id",
     .weights_from_path = "--model-id",
     .revision = "--revision",
     .health_path = "/health",
     .hub_cache = true,
     .lists_models = false},
    {.name = "llama.cpp",
     .token_env = "LLAMA_API_KEY",
     .image = "ghcr.io/ggml-org/llama.cpp:server",
     .port = 8080,
     .args = {"--host", "{host}", "--port", "{port}", "--alias", "{model}", NULL},
     .weights_from_repo = "--hf-repo",
     .weights_from_path = "--model",
     .health_path = "/health",
     .lists_models = true},
    {.name = "ollama",
     .image = "ollama/ollama:latest",
     .port = 11434,
     .command = {"/bin/sh", "-c", OLLAMA_SCRIPT, "sh", "{model}", NULL},
     .args = {NULL},
     .repo_env = "OLLAMA_MODEL",
     .health_path = "/",
     .lists_models = false},
    {.name = "tei",
     .token_env = "API_KEY",
     .image = "ghcr.io/huggingface/text-embeddings-inference:latest",
     .port = 8080,
     .args = {"--hostname", "{host}", "--port", "{port}", "--served-model-name", "{model}", NULL},
     .weights_from_repo = "--model-id",
     .weights_from_path = "--model-id",
     .revision = "--revision",
     .health_path = "/health",
     .hub_cache = true,
     .lists_models = false},
    {.name = "infinity",
     .token_env = "INFINITY_API_KEY",
     .image = "michaelf34/infinity:latest",
     .port = 7997,
     .args = {"v2", "--host", "{host}", "--port", "{port}", "--url-prefix", "/v1", "--served-model-name", "{model}",
              NULL},
     .weights_from_repo = "--model-id",
     .weights_from_path = "--model-id",
     .revision = "--revision",
     .health_path = "/health",
     .hub_cache = true,
     .lists_models = true},
    {.name = "simulator",
     .token_env = "SIMULATOR_API_KEY",
     .image = "ecolink/simulator",
     .port = 8000,
     .args = {"--host", "{host}", "--port", "{port}", "--model", "{model}", NULL},
     .health_path = "/health",
     .lists_models = true,
     .local_only = true},
};

const engine_preset *preset_find(const char *name) {
  for (size_t i = 0; i < sizeof(PRESETS) / sizeof(PRESETS[0]); i++) {
    if (strcmp(PRESETS[i].name, name) == 0) {
      return &PRESETS[i];
    }
  }
  return NULL;
}

const char *preset_names(void) {
  return "vllm, sglang, tgi, llama.cpp, ollama, tei, infinity, simulator";
}

size_t preset_count(void) {
  return sizeof(PRESETS) / sizeof(PRESETS[0]);
}

const engine_preset *preset_at(size_t index) {
  return index < preset_count() ? &PRESETS[index] : NULL;
}
