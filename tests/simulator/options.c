// Behaviour of the stand-in: one table serves args, --help, POST /_simulator/set and GET /_simulator/state.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

typedef struct option_def {
  const char *name;
  enum { OPT_INT, OPT_NUM, OPT_STR, OPT_FLAG } kind;
  void *target;
  size_t size;       // OPT_STR
  const char *bare;  // OPT_STR: value when none is given
  const char *help;
} option_def;

sim_options sim_opt;

#define OPT_I(n, field, h) \
  { .name = (n), .kind = OPT_INT, .target = &sim_opt.field, .help = (h) }
#define OPT_F(n, field, h) \
  { .name = (n), .kind = OPT_FLAG, .target = &sim_opt.field, .help = (h) }
#define OPT_S(n, field, b, h) \
  { .name = (n), .kind = OPT_STR, .target = sim_opt.field, .size = sizeof(sim_opt.field), .bare = (b), .help = (h) }

static const option_def options[] = {
    OPT_S("host", host, NULL, "address to listen on (ECOLINK_HOST, else 127.0.0.1)"),
    OPT_I("port", port, "port; 0 lets the system choose (ECOLINK_PORT, else 8000)"),
    OPT_S("model", model, NULL, "the only model name it answers to (ECOLINK_SERVED_MODEL, else \"simulator\")"),
    OPT_S("api-key", api_key, NULL,
          "what callers of /v1 must send as a bearer token (SIMULATOR_API_KEY, else nothing)"),
    OPT_I("listen-delay-ms", listen_delay_ms, "time before it listens at all"),
    OPT_I("start-delay-ms", start_delay_ms, "time during which /health and every inference call answer 503"),
    OPT_I("ttft-ms", ttft_ms, "time to the first token"),
    OPT_I("token-ms", token_ms, "time between tokens"),
    OPT_I("tokens", tokens, "tokens of an answer, unless the request sets max_tokens"),
    {.name = "fail-rate",
     .kind = OPT_NUM,
     .target = &sim_opt.fail_rate,
     .help = "share of inference calls that fail, 0..1"},
    OPT_I("seed", seed, "which calls fail follows from it"),
    OPT_I("fail-status", fail_status, "status of calls that fail by fail-rate"),
    OPT_I("status", status, "status of every inference call; 0: off"),
    OPT_I("crash-after-requests", crash_after_requests, "exits on receiving its N-th inference call from now; 0: off"),
    OPT_I("crash-after-tokens", crash_after_tokens, "exits in a stream after N tokens; -1: off"),
    OPT_I("crash-after-ms", crash_after_ms, "exits after so long; 0: off"),
    OPT_I("exit-code", exit_code, "status of these exits; negative: the signal that ends it"),
    OPT_F("hang", hang, "takes inference calls and never answers"),
    OPT_F("hang-health", hang_health, "takes health checks and never answers"),
    OPT_F("unhealthy", unhealthy, "answers health checks with 503"),
    OPT_F("ignore-term", ignore_term, "does not end on SIGTERM"),
    OPT_S("garbage", garbage, "http",
          "inference calls get nonsense: http (no HTTP at all), json (broken body), sse (broken events)"),
    OPT_I("cut-after-tokens", cut_after_tokens, "resets the connection in a stream after N tokens; -1: off"),
    OPT_I("log-lines", log_lines, "lines written to stdout at the start"),
    OPT_I("log-ms", log_ms, "writes a line to stdout so often; 0: off"),
};
enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };

static bool name_matches(const char *a, const char *b, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char x = a[i] == '_' ? '-' : a[i];
    if (!b[i] || x != b[i]) {
      return false;
    }
  }
  return b[n] == '\0';
}

static const option_def *find(const char *name, size_t n) {
  for (int i = 0; i < OPTION_COUNT; i++) {
    if (name_matches(name, options[i].name, n)) {
      return &options[i];
    }
  }
  return NULL;
}

static bool put_str(const option_def *o, const char *s) {
  size_t n = strlen(s);
  if (n >= o->size) {
    return false;
  }
  memcpy(o->target, s, n + 1);
  return true;
}

static bool put_text(const option_def *o, const char *text) {
  char *end = NULL;
  errno = 0;
  switch (o->kind) {
    case OPT_INT: {
      long long v = strtoll(text, &end, 10);
      if (errno || end == text || *end) {
        return false;
      }
      *(int64_t *)o->target = v;
      return true;
    }
    case OPT_NUM: {
      double v = strtod(text, &end);
      if (errno || end == text || *end) {
        return false;
      }
      *(double *)o->target = v;
      return true;
    }
    case OPT_FLAG:
      if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        return false;
      }
      *(bool *)o->target = text[0] == 't';
      return true;
    case OPT_STR:
      return put_str(o, text);
  }
  return false;
}

void sim_options_defaults(void) {
  sim_opt = (sim_options){.host = "127.0.0.1",
                          .port = 8000,
                          .model = "simulator",
                          .tokens = 16,
                          .fail_status = 500,
                          .exit_code = 1,
                          .crash_after_tokens = SIM_OFF,
                          .cut_after_tokens = SIM_OFF};
  static const char *const names[][2] = {{"ECOLINK_HOST", "host"},
                                         {"ECOLINK_PORT", "port"},
                                         {"ECOLINK_SERVED_MODEL", "model"},
                                         {"SIMULATOR_API_KEY", "api-key"}};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    const char *value = getenv(names[i][0]);
    if (value && *value && !put_text(find(names[i][1], strlen(names[i][1])), value)) {
      fprintf(stderr, "ecolink-simulator: %s has a value that cannot be used: %s\n", names[i][0], value);
      exit(2);
    }
  }
}

static void help(void) {
  puts(
      "ecolink-simulator: a simulator of a model server, for tests and for trying things out. It runs no model.\n"
      "Usage: ecolink-simulator [--option value]...    Each option can also be changed while it runs: POST "
      "/_simulator/set {json}\n");
  for (int i = 0; i < OPTION_COUNT; i++) {
    printf("  --%-22s %s\n", options[i].name, options[i].help);
  }
}

int sim_options_args(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    if (strcmp(arg, "--help") == 0) {
      help();
      return 0;
    }
    size_t n = strncmp(arg, "--", 2) == 0 ? strcspn(arg + 2, "=") : 0;
    const option_def *o = n ? find(arg + 2, n) : NULL;
    if (!o) {
      fprintf(stderr, "ecolink-simulator: unknown argument %s; see --help\n", arg);
      return 2;
    }
    const char *value;
    if (arg[2 + n] == '=') {
      value = arg + 3 + n;
    } else if (o->kind == OPT_FLAG) {
      value = i + 1 < argc && (!strcmp(argv[i + 1], "true") || !strcmp(argv[i + 1], "false")) ? argv[++i] : "true";
    } else if (o->bare && (i + 1 >= argc || strncmp(argv[i + 1], "--", 2) == 0)) {
      value = o->bare;
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      fprintf(stderr, "ecolink-simulator: --%s wants a value\n", o->name);
      return 2;
    }
    if (!put_text(o, value)) {
      fprintf(stderr, "ecolink-simulator: --%s cannot be %s\n", o->name, value);
      return 2;
    }
  }
  return -1;
}

static bool put_json(const option_def *o, yyjson_val *v) {
  switch (o->kind) {
    case OPT_INT:
      if (!yyjson_is_int(v)) {
        return false;
      }
      *(int64_t *)o->target = yyjson_get_sint(v);
      return true;
    case OPT_NUM:
      if (!yyjson_is_num(v)) {
        return false;
      }
      *(double *)o->target = yyjson_get_num(v);
      return true;
    case OPT_FLAG:
      if (!yyjson_is_bool(v)) {
        return false;
      }
      *(bool *)o->target = yyjson_get_bool(v);
      return true;
    case OPT_STR:
      return yyjson_is_str(v) && put_str(o, yyjson_get_str(v));
  }
  return false;
}

bool sim_options_json(yyjson_val *object, const char **why) {
  if (!yyjson_is_obj(object)) {
    *why = "want an object of options";
    return false;
  }
  sim_options before = sim_opt;
  yyjson_obj_iter it = yyjson_obj_iter_with(object);
  yyjson_val *key;
  while ((key = yyjson_obj_iter_next(&it))) {
    const option_def *o = find(yyjson_get_str(key), yyjson_get_len(key));
    if (!o || !put_json(o, yyjson_obj_iter_get_val(key))) {
      *why = o ? "an option has a value of the wrong type" : "no such option";
      sim_opt = before;
      return false;
    }
  }
  return true;
}

void sim_options_dump(yyjson_mut_doc *doc, yyjson_mut_val *into) {
  for (int i = 0; i < OPTION_COUNT; i++) {
    const option_def *o = &options[i];
    switch (o->kind) {
      case OPT_INT:
        yyjson_mut_obj_add_sint(doc, into, o->name, *(int64_t *)o->target);
        break;
      case OPT_NUM:
        yyjson_mut_obj_add_real(doc, into, o->name, *(double *)o->target);
        break;
      case OPT_FLAG:
        yyjson_mut_obj_add_bool(doc, into, o->name, *(bool *)o->target);
        break;
      case OPT_STR:
        yyjson_mut_obj_add_strcpy(doc, into, o->name, o->target);
        break;
    }
  }
}
