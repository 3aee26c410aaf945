// The service kit's front door: settings, subcommands, the order of start and stop, signals.
#include "ecolink/service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "admin_http.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "kit.h"

enum { NATS_END_WAIT_MS = 1000 };  // it takes a millisecond or two

// One process runs one service; settings are read into static storage before threads exist.
static kit_settings settings;

static const eco_setting KIT_SETTINGS[] = {
    {.name = "ADMIN_LISTEN",
     .kind = ECO_SET_STR,
     .target = &settings.admin_listen,
     .fallback = "127.0.0.1:0",
     .help = "host:port of /healthz, /readyz and /metrics; port 0 takes a free one"},
    {.name = "NATS_URL",
     .kind = ECO_SET_STR,
     .target = &settings.nats_url,
     .fallback = "nats://127.0.0.1:4222",
     .help = "message bus; several servers separated by commas"},
    {.name = "NATS_USER",
     .kind = ECO_SET_STR,
     .target = &settings.nats_user,
     .fallback = "",
     .help = "the service's own NATS user"},
    {.name = "NATS_PASSWORD",
     .kind = ECO_SET_SECRET,
     .target = &settings.nats_password,
     .fallback = "",
     .help = "its password"},
    {.name = "LOG_FORMAT",
     .kind = ECO_SET_CHOICE,
     .target = &settings.log_format,
     .fallback = "json",
     .choices = "json,text",
     .help = "JSON lines, or readable text"},
    {.name = "LOG_LEVEL",
     .kind = ECO_SET_CHOICE,
     .target = &settings.log_level,
     .fallback = "info",
     .choices = "debug,info,warn,error",
     .help = "least severity that is written"},
    {.name = "CORE_DUMPS",
     .kind = ECO_SET_BOOL,
     .target = &settings.core_dumps,
     .fallback = "false",
     .help = "true: a crash may leave a core file, and a debugger of the same user may attach; secrets are in both"},
    {.name = "DRAIN_S",
     .kind = ECO_SET_I64,
     .target = &settings.drain_s,
     .fallback = "10",
     .min = 0,
     .max = 600,
     .help = "seconds that running work may take at a stop"},
    ECO_SETTING_END,
};

static const eco_setting DB_SETTINGS[] = {
    {.name = "DATABASE_URL",
     .kind = ECO_SET_SECRET,
     .target = &settings.database_url,
     .fallback = "",
     .help = "PostgreSQL connection string of the service's app role"},
    {.name = "MIGRATE_DATABASE_URL",
     .kind = ECO_SET_SECRET,
     .target = &settings.migrate_database_url,
     .fallback = "",
     .help = "connection string of the schema's owner role; read by `migrate` alone"},
    {.name = "DB_MAX_CONNECTIONS",
     .kind = ECO_SET_I64,
     .target = &settings.db_max_connections,
     .fallback = "12",
     .min = 2,
     .max = 64,
     .help = "database connections at the most"},
    {.name = "WORKERS",
     .kind = ECO_SET_I64,
     .target = &settings.workers,
     .fallback = "6",
     .min = 1,
     .max = 64,
     .help = "threads that handle requests"},
    {.name = "LEASE_TTL_MS",
     .kind = ECO_SET_I64,
     .target = &settings.lease_ttl_ms,
     .fallback = "6000",
     .min = 500,
     .max = 120000,
     .help = "term of a leader's lease; a dead leader is replaced after it"},
    ECO_SETTING_END,
};

// ---- small helpers of the kit ----

eco_status kit_reread_bus_password(eco_service *svc) {
  for (const eco_setting *set = KIT_SETTINGS; set->name != NULL; set++) {
    if (set->target == &settings.nats_password) {
      ECO_TRY(eco_config_reread(svc->def->name, set));
    }
  }
  svc->set.nats_password = settings.nats_password;
  return eco_success();
}

bool kit_sleep(eco_service *svc, int64_t ms) {
  return !eco_pace_wait(&svc->pace, ms);
}

void kit_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg, const char *name) {
  int rc = pthread_create(thread, NULL, fn, arg);
  if (rc != 0) {
    // Without its threads the process is of no use, and this happens at its start alone.
    eco_log(ECO_LOG_ERROR, "no thread to be had", ECO_F_STR("thread", name), ECO_F_STR("error", strerror(rc)));
    abort();
  }
  char cut[16];
  snprintf(cut, sizeof cut, "%s", name);
  pthread_setname_np(*thread, cut);
}

void kit_ctx_init(eco_ctx *ctx, eco_service *svc, eco_arena *arena) {
  *ctx = (eco_ctx){.service = svc,
                   .db = svc->db,
                   .arena = arena,
                   .now_us = eco_now_us(),
                   .request_id = "",
                   .trace_id = "",
                   .caller = {.account_id = "", .key_id = "", .member_id = "", .operator_id = ""},
                   .idem_scope = ""};
}

eco_ctx *eco_ctx_new(eco_service *svc) {
  eco_arena *arena = eco_arena_new();
  eco_ctx *ctx = eco_alloc(arena, sizeof *ctx);
  kit_ctx_init(ctx, svc, arena);
  return ctx;
}

void eco_ctx_free(eco_ctx *ctx) {
  if (ctx != NULL) {
    eco_arena_free(ctx->arena);  // the context itself lives in it
  }
}

eco_db *eco_service_db(eco_service *svc) {
  return svc->db;
}
const char *eco_service_instance(const eco_service *svc) {
  return svc->instance;
}
bool eco_service_stopping(const eco_service *svc) {
  return eco_pace_ended(&svc->pace);
}

// ---- readiness ----

static bool ready(void *arg, eco_buf *why) {
  eco_service *svc = arg;
  bool good = true;
  if (eco_service_stopping(svc)) {
    eco_buf_puts(why, "stopping\n");
    good = false;
  }
  if (!atomic_load(&svc->started)) {
    eco_buf_puts(why, "starting\n");
    good = false;
  }
  if (svc->db != NULL && !kit_db_pulse_good(svc->db_pulse)) {
    eco_buf_puts(why, "the database does not answer\n");
    good = false;
  }
  if (svc->db != NULL && !eco_bus_connected(svc)) {
    eco_buf_puts(why, "the message bus is not connected\n");
    good = false;
  }
  if (svc->def->ready != NULL && !svc->def->ready(svc, why)) {
    good = false;
  }
  return good;
}

bool eco_service_admin_fits(const eco_service *svc, int fd) {
  return eco_admin_http_fits(svc->set.admin_listen, fd);
}

eco_status eco_service_admin_start(eco_service *svc, int fd) {
  ECO_TRY(fd >= 0 ? eco_admin_http_start_on(fd, ready, svc, &svc->admin)
                  : eco_admin_http_start(svc->set.admin_listen, ready, svc, &svc->admin));
  svc->admin_port = eco_admin_http_port(svc->admin);
  return eco_success();
}

int eco_service_admin_fd(const eco_service *svc) {
  return eco_admin_http_fd(svc->admin);
}

void eco_service_admin_stop(eco_service *svc) {
  eco_admin_http_stop(svc->admin);
  svc->admin = NULL;
}

// ---- start and stop ----

static void init_service(eco_service *svc, const eco_service_def *def) {
  *svc = (eco_service){.def = def, .set = settings};
  char host[64] = "host";
  char unique[ECO_ID_MAX];
  gethostname(host, sizeof host - 1);
  eco_id_new("p", unique);
  snprintf(svc->instance, sizeof svc->instance, "%s-%s-%.10s", def->name, host, unique + 2);
  pthread_mutex_init(&svc->kv_lock, NULL);
  pthread_rwlock_init(&svc->bus_lock, NULL);
  eco_pace_init(&svc->pace);
}

static eco_status start_parts(eco_service *svc) {
  if (svc->def->migrations != NULL) {
    ECO_TRY(eco_db_open(svc->set.database_url, svc->def->name, (int)svc->set.db_max_connections, 5000, &svc->db));
    ECO_TRY(kit_db_pulse_start(svc));
  }
  ECO_TRY(kit_bus_open(svc));
  ECO_TRY(kit_rpc_async_start(svc));
  if (svc->def->migrations == NULL) {
    kit_bus_renewer_start(svc);
  }
  if (!svc->def->own_admin) {
    ECO_TRY(eco_service_admin_start(svc, -1));
  }
  if (svc->db != NULL) {
    ECO_TRY(kit_leases_start(svc));
  }
  if (svc->def->start != NULL) {
    ECO_TRY(svc->def->start(svc));
  }
  if (svc->db != NULL) {
    ECO_TRY(kit_relay_start(svc));
    ECO_TRY(kit_consumers_start(svc));
    ECO_TRY(kit_timers_start(svc));
    ECO_TRY(kit_rpc_server_start(svc));
  }
  atomic_store(&svc->started, true);
  return eco_success();
}

static void stop_parts(eco_service *svc) {
  // Requests first, so that what was taken is answered; then everything that sleeps is woken.
  kit_rpc_server_stop(svc);
  if (svc->def->stop != NULL) {
    svc->def->stop(svc);
  }
  eco_pace_end(&svc->pace);
  kit_bus_renewer_stop(svc);
  kit_bus_give_up_absent(svc);
  kit_timers_stop(svc);
  kit_consumers_stop(svc);
  kit_relay_stop(svc);
  kit_leases_stop(svc);
  eco_service_admin_stop(svc);
  kit_rpc_async_stop(svc);
  kit_bus_close(svc);
  kit_db_pulse_stop(svc);
  eco_db_close(svc->db);
  // The library frees what was destroyed in a thread of its own; the process ends when that is done.
  (void)nats_CloseAndWait(NATS_END_WAIT_MS);
}

static int wait_for_signal(const sigset_t *set) {
  int sig = 0;
  while (sigwait(set, &sig) != 0) {
  }
  return sig;
}

// Keys and passwords lie in memory: neither a core file nor another process of the same user gets to see them.
static eco_status guard_memory(void) {
  const struct rlimit none = {0, 0};
  if (settings.core_dumps || (setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0)) {
    return eco_success();
  }
  return eco_error(ECO_INTERNAL, "core dumps cannot be switched off: %s", strerror(errno));
}

static int run(const eco_service_def *def) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, NULL);  // inherited by every thread: only main takes them
  signal(SIGPIPE, SIG_IGN);
  static eco_service svc;
  init_service(&svc, def);
  eco_status st = guard_memory();
  if (eco_ok(st)) {
    st = start_parts(&svc);
  }
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_ERROR, "not started", ECO_F_STATUS(st));
    // Threads of what did start run until the end: exit handlers would free what they use (OpenSSL's locks).
    _exit(EXIT_FAILURE);
  }
  eco_log(ECO_LOG_INFO, "started", ECO_F_STR("instance", svc.instance), ECO_F_STR("version", ECO_VERSION),
          ECO_F_I64("admin_port", svc.admin_port));
  int sig = wait_for_signal(&set);
  eco_log(ECO_LOG_INFO, "stopping", ECO_F_STR("signal", strsignal(sig)));
  stop_parts(&svc);
  eco_log(ECO_LOG_INFO, "stopped");
  return EXIT_SUCCESS;
}

// ---- command line ----

static void print_help(const eco_service_def *def, const eco_setting *const *tables) {
  printf(
      "ecolink-%s %s: %s\n\n"
      "Usage: ecolink-%s [command]\n\n"
      "Commands:\n"
      "  (none)               run the service until SIGTERM or SIGINT\n"
      "%s"
      "  ready                ask the one that runs with these settings whether it is ready; exit status 1 when not\n"
      "  check-config         read the settings, say what is wrong with them, and exit (also --check-config)\n"
      "  nats-permissions     print the rights of this service's NATS user as JSON\n"
      "  handlers             print what this service serves, calls, consumes and publishes as JSON\n"
      "  --list-crash-points  print the crash points of this build (test builds alone have any)\n"
      "  --help, --version\n\n"
      "Settings (environment):\n",
      def->name, ECO_VERSION, def->summary, def->name,
      def->migrations != NULL ? "  migrate              bring the database schema up to date, as its owner, and exit\n"
                              : "");
  eco_config_help(stdout, def->name, tables);
}

typedef struct kit_point {
  const char *prefix;
  bool reachable;
} kit_point;

// The kit is linked whole: its points count only where the service's tables lead to them.
static bool point_is_reachable(const eco_service_def *def, const char *name) {
  bool consumes = def->consumers != NULL;
  bool pulls = false;
  bool repairs = false;
  bool puts = false;  // without the outbox
  for (const eco_consumer_def *c = def->consumers; c != NULL && c->owner != NULL; c++) {
    pulls = pulls || c->snapshot;
  }
  for (const eco_kv_def *k = def->kv; k != NULL && k->bucket != NULL; k++) {
    repairs = repairs || k->source != NULL;
    puts = puts || k->source == NULL;
  }
  const kit_point points[] = {
      {"kit.tx.", def->migrations != NULL},
      {"kit.lease.", def->migrations != NULL},
      {"kit.relay.", def->migrations != NULL},
      {"kit.kv_repair.", repairs},
      {"kit.kv.put_direct", puts},
      {"kit.bus.bucket_created", def->kv != NULL},
      {"kit.event.published_direct", def->publishes != NULL},
      {"kit.event.", consumes},
      {"kit.consumer.", consumes},
      {"kit.dead_letter.", consumes},
      {"kit.snapshot.", pulls},
      {"kit.rpc.called", def->migrations != NULL && (def->calls != NULL || pulls)},
      {"kit.rpc.", def->rpcs != NULL || def->snapshots != NULL},
  };
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    if (strncmp(name, points[i].prefix, strlen(points[i].prefix)) == 0) {
      return points[i].reachable;
    }
  }
  return true;
}

static void print_name(const char *name, void *arg) {
  if (point_is_reachable(arg, name)) {
    puts(name);
  }
}

static eco_status check_database_settings(const eco_service_def *def, bool migrating) {
  if (def->migrations == NULL) {
    return eco_success();
  }
  const char *url = migrating ? settings.migrate_database_url : settings.database_url;
  if (url == NULL || url[0] == '\0') {
    char upper[32];
    snprintf(upper, sizeof upper, "%s", def->name);
    for (char *p = upper; *p != '\0'; p++) {
      *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    }
    return eco_error(ECO_INVALID_REQUEST, "ECOLINK_%s_%sDATABASE_URL (or its _FILE form) is required", upper,
                     migrating ? "MIGRATE_" : "");
  }
  return eco_success();
}

static void init_log(const eco_service_def *def) {
  eco_log_level level = ECO_LOG_INFO;
  static const char *const names[] = {"debug", "info", "warn", "error"};
  for (int i = 0; i < 4; i++) {
    if (strcmp(settings.log_level, names[i]) == 0) {
      level = (eco_log_level)i;
    }
  }
  eco_log_init(def->name, strcmp(settings.log_format, "text") == 0 ? ECO_LOG_TEXT : ECO_LOG_JSON, level);
}

static int ask_ready(const eco_service_def *def) {
  eco_buf body;
  eco_buf_init(&body, KIT_REPLY_MAX);
  eco_status st = eco_admin_http_ask(settings.admin_listen, &body);
  fwrite(body.data, 1, body.len, stdout);
  if (!eco_ok(st)) {
    fprintf(stderr, "ecolink-%s: %s\n", def->name, st.message);
  }
  eco_buf_free(&body);
  return eco_ok(st) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static eco_status load(const eco_service_def *def, const eco_setting *const *tables, bool migrating) {
  ECO_TRY(eco_config_load(def->name, tables));
  init_log(def);
  ECO_TRY(check_database_settings(def, migrating));
  // `migrate` runs before the rest of the stack and needs no other settings to be sound.
  return def->check != NULL && !migrating ? def->check() : eco_success();
}

int eco_service_main(const eco_service_def *def, int argc, char **argv) {
  static const eco_setting none[] = {ECO_SETTING_END};
  const eco_setting *const tables[] = {def->settings != NULL ? def->settings : none, KIT_SETTINGS,
                                       def->migrations != NULL ? DB_SETTINGS : none, NULL};
  const char *command = argc > 1 ? argv[1] : "";
  eco_log_init(def->name, ECO_LOG_TEXT, ECO_LOG_INFO);
  if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
    print_help(def, tables);
    return EXIT_SUCCESS;
  }
  if (strcmp(command, "--version") == 0) {
    printf("ecolink-%s %s\n", def->name, ECO_VERSION);
    return EXIT_SUCCESS;
  }
  if (strcmp(command, "--list-crash-points") == 0) {
    eco_crash_points_each(print_name, (void *)(uintptr_t)def);
    return EXIT_SUCCESS;
  }
  if (strcmp(command, "nats-permissions") == 0) {
    kit_print_nats_permissions(def);
    return EXIT_SUCCESS;
  }
  if (strcmp(command, "handlers") == 0) {
    kit_print_handlers(def);
    return EXIT_SUCCESS;
  }
  bool migrating = strcmp(command, "migrate") == 0 && def->migrations != NULL;
  bool checking = strcmp(command, "check-config") == 0 || strcmp(command, "--check-config") == 0;
  bool asking = strcmp(command, "ready") == 0;
  if (command[0] != '\0' && !migrating && !checking && !asking) {
    fprintf(stderr, "ecolink-%s: unknown command %s: see --help\n", def->name, command);
    return 2;
  }
  eco_status st = load(def, tables, migrating);
  if (!eco_ok(st)) {
    fprintf(stderr, "ecolink-%s: %s\n", def->name, st.message);
    return 2;
  }
  if (asking) {
    return ask_ready(def);
  }
  if (checking) {
    printf("ecolink-%s: the settings are sound\n", def->name);
    return EXIT_SUCCESS;
  }
  if (migrating) {
    st = eco_db_migrate(settings.migrate_database_url, def->name, def->migrations);
    if (!eco_ok(st)) {
      eco_log(ECO_LOG_ERROR, "not migrated", ECO_F_STATUS(st));
      return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
  }
  return run(def);
}
