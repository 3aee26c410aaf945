// bench-rig: load generator and backend for the gateway's benchmarks, in one process with one loop.
//
//   bench-rig snapshot [population]            the gateway's keys and routes, JSON on stdout
//   bench-rig relay --listen A --target A      a raw TCP relay
//   bench-rig run --backend A --target A ...   one measurement, one line of JSON on stdout
//
// A run with errors ends with status 1: it is no figure.
#include <arpa/inet.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend.h"
#include "load.h"
#include "procfs.h"
#include "relay.h"

enum { PIDS_MAX = 16, MS = 1000000, US = 1000, LEAVE_NS = 100 * MS };
static const double SECOND = 1e9;

typedef struct arguments {
  struct sockaddr_in backend_at;
  struct sockaddr_in listen_at;
  rig_population population;
  rig_backend_options backend;
  rig_load_options load;
  rig_load_options second;  // a second load beside the first; no connections: none
  bool second_wrong;
  bool any_body;
  rig_size size;
  double seconds;
  double warmup;
  int proxy_core;
  char extra[512];  // header lines that a peer wants
  pid_t pids[PIDS_MAX];
  unsigned n_pids;
} arguments;

static const struct option OPTIONS[] = {
    {"backend", required_argument, NULL, 'b'},      // address of the backend
    {"target", required_argument, NULL, 't'},       // whom to ask
    {"listen", required_argument, NULL, 'l'},       // of the relay
    {"keys", required_argument, NULL, 'k'},         // population
    {"routes", required_argument, NULL, 'o'},       //
    {"used-keys", required_argument, NULL, 'K'},    //
    {"used-routes", required_argument, NULL, 'O'},  //
    {"connections", required_argument, NULL, 'c'},  //
    {"rate", required_argument, NULL, 'r'},         // open loop
    {"ramp-ms", required_argument, NULL, 'm'},      //
    {"seconds", required_argument, NULL, 's'},      //
    {"warmup", required_argument, NULL, 'w'},       //
    {"size", required_argument, NULL, 'z'},         // chat, 64k, 1m, 8m
    {"delay-ms", required_argument, NULL, 'd'},     // the backend's
    {"stream", required_argument, NULL, 'e'},       // deltas of each answer, every 20 ms
    {"once", no_argument, NULL, '1'},               // one request per connection
    {"pace-ms", required_argument, NULL, 'p'},      // 64 KB of a request each time
    {"busy-too", no_argument, NULL, 'B'},           // 503 is right, too
    {"any-body", no_argument, NULL, 'A'},           // the proxy writes answers anew: their length is its own
    {"second-rate", required_argument, NULL, 'R'},  //
    {"second-connections", required_argument, NULL, 'C'},
    {"second-wrong", no_argument, NULL, 'W'},      // with keys that nobody has
    {"header", required_argument, NULL, 'H'},      // "name: value", again for more
    {"pid", required_argument, NULL, 'P'},         // of the proxy; again for each of its processes
    {"proxy-core", required_argument, NULL, 'x'},  //
    {NULL, 0, NULL, 0},
};

static rig_size size_named(const char *name) {
  static const char *const NAMES[] = {"chat", "64k", "1m", "8m"};
  for (unsigned i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
    if (strcmp(NAMES[i], name) == 0) {
      return (rig_size)i;
    }
  }
  rig_die("rig: no such size: %s", name);
}

static int number(const char *text) {
  char *end;
  long n = strtol(text, &end, 10);
  if (end == text || *end || n < 0 || n > INT32_MAX) {
    rig_die("rig: \"%s\" is no number", text);
  }
  return (int)n;
}

static double real(const char *text) {
  char *end;
  double n = strtod(text, &end);
  if (end == text || *end || !(n >= 0)) {
    rig_die("rig: \"%s\" is no number", text);
  }
  return n;
}

static void take(arguments *a, int option, const char *value) {
  enum { PACE_BYTES = 64 * 1024, INTERVAL_MS = 20 };
  switch (option) {
    case 'b':
      a->backend_at = rig_address(value);
      break;
    case 't':
      a->load.target = rig_address(value);
      break;
    case 'l':
      a->listen_at = rig_address(value);
      break;
    case 'k':
      a->population.keys = (unsigned)number(value);
      break;
    case 'o':
      a->population.routes = (unsigned)number(value);
      break;
    case 'K':
      a->population.used_keys = (unsigned)number(value);
      break;
    case 'O':
      a->population.used_routes = (unsigned)number(value);
      break;
    case 'c':
      a->load.connections = (unsigned)number(value);
      break;
    case 'r':
      a->load.rate = real(value);
      break;
    case 'm':
      a->load.ramp_ns = (uint64_t)number(value) * MS;
      break;
    case 's':
      a->seconds = real(value);
      break;
    case 'w':
      a->warmup = real(value);
      break;
    case 'z':
      a->size = size_named(value);
      break;
    case 'd':
      a->backend.answer = RIG_ANSWER_DELAYED;
      a->backend.delay_ns = (uint64_t)(real(value) * MS);
      break;
    case 'e':
      a->backend.answer = RIG_ANSWER_STREAM;
      a->backend.interval_ns = (uint64_t)INTERVAL_MS * MS;
      a->backend.deltas = (unsigned)number(value);
      a->load.deltas = a->backend.deltas;
      a->load.first_ns = a->backend.interval_ns;
      break;
    case '1':
      a->load.once = true;
      break;
    case 'p':
      a->load.pace_bytes = PACE_BYTES;
      a->load.pace_ns = (uint64_t)number(value) * MS;
      break;
    case 'B':
      a->load.busy_too = true;
      break;
    case 'A':
      a->any_body = true;
      break;
    case 'R':
      a->second.rate = real(value);
      break;
    case 'C':
      a->second.connections = (unsigned)number(value);
      break;
    case 'W':
      a->second_wrong = true;
      break;
    case 'x':
      a->proxy_core = number(value);
      break;
    case 'H': {
      size_t len = strlen(a->extra);
      snprintf(a->extra + len, sizeof a->extra - len, "%s\r\n", value);
      break;
    }
    case 'P':
      if (a->n_pids == PIDS_MAX) {
        rig_die("rig: too many processes");
      }
      a->pids[a->n_pids++] = (pid_t)number(value);
      break;
    default:
      exit(2);
  }
}

static arguments parse(int argc, char **argv) {
  enum { RAMP_NS_EACH = 50 * US };
  arguments a = {
      .population = {.keys = 100000, .routes = 20000, .used_keys = 1000, .used_routes = 200},
      .load = {.connections = 32},
      .seconds = 3,
      .warmup = 1,
  };
  for (int option = 0; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) >= 0;) {
    take(&a, option, optarg);
  }
  if (a.population.used_routes == 0 || a.population.used_routes > a.population.routes ||
      a.population.used_keys < a.population.used_routes ||
      a.population.used_keys / a.population.used_routes > a.population.keys / a.population.routes) {
    rig_die("rig: more keys or routes in use than there are");
  }
  if (a.load.ramp_ns == 0) {
    a.load.ramp_ns = (uint64_t)a.load.connections * RAMP_NS_EACH;
  }
  a.load.body_len = a.any_body ? 0 : rig_backend_body_len();
  a.second.target = a.load.target;
  a.second.refused = a.second_wrong;
  a.second.body_len = a.load.body_len;
  a.second.ramp_ns = (uint64_t)a.second.connections * RAMP_NS_EACH;
  return a;
}

// ---- measuring ----

typedef struct reading {
  uint64_t at_ns;
  uint64_t own_ns;
  uint64_t proxy_ns;
  rig_core core;
} reading;

static reading read_now(const arguments *a) {
  return (reading){rig_now(), rig_own_cpu_ns(), rig_cpu_ns(a->pids, a->n_pids), rig_core_read(a->proxy_core)};
}

static void run_until(rig_loop *loop, rig_backend *backend, rig_load *first, rig_load *second, uint64_t end_ns) {
  while (loop->now_ns < end_ns) {
    uint64_t until = end_ns;
    uint64_t due = rig_backend_turn(backend);
    until = due < until ? due : until;
    if (first) {
      due = rig_load_turn(first);
      until = due < until ? due : until;
    }
    if (second) {
      due = rig_load_turn(second);
      until = due < until ? due : until;
    }
    rig_loop_wait(loop, until);
  }
}

static void print_times(const char *name, const rig_hist *h) {
  printf(",\"%s_p50_us\":%.2f,\"%s_p90_us\":%.2f,\"%s_p99_us\":%.2f,\"%s_p999_us\":%.2f,\"%s_max_us\":%.2f", name,
         (double)rig_hist_at(h, 0.5) / US, name, (double)rig_hist_at(h, 0.9) / US, name,
         (double)rig_hist_at(h, 0.99) / US, name, (double)rig_hist_at(h, 0.999) / US, name, (double)h->max / US);
}

static void print_load(const char *prefix, rig_load *l, double seconds) {
  rig_stats *s = rig_load_stats(l);
  printf("\"%sdone\":%llu,\"%sbusy\":%llu,\"%serrors\":%llu,\"%slate\":%llu,\"%srps\":%.1f", prefix,
         (unsigned long long)s->done, prefix, (unsigned long long)s->busy, prefix, (unsigned long long)s->errors,
         prefix, (unsigned long long)rig_load_late(l), prefix, (double)s->done / seconds);
  char name[32];
  snprintf(name, sizeof name, "%slatency", prefix);
  print_times(name, &s->latency);
  if (s->events > 0) {
    printf(",\"events\":%llu", (unsigned long long)s->events);
    print_times("delay", &s->delay);
    print_times("first", &s->first);
  }
}

static uint64_t run(const arguments *a) {
  static rig_loop loop;
  rig_loop_init(&loop);
  rig_corpus corpus = rig_corpus_new(&a->population, a->size, false, a->load.deltas > 0, a->extra);
  rig_corpus other = rig_corpus_new(&a->population, RIG_CHAT, a->second_wrong, false, a->extra);
  rig_backend *backend = rig_backend_new(&loop, &a->backend_at, &a->backend);
  loop.now_ns = rig_now();
  rig_load *first = rig_load_new(&loop, &corpus, &a->load);
  rig_load *second = a->second.connections ? rig_load_new(&loop, &other, &a->second) : NULL;
  run_until(&loop, backend, first, second, loop.now_ns + (uint64_t)(a->warmup * SECOND));
  rig_load_clear(first);
  if (second) {
    rig_load_clear(second);
  }
  reading before = read_now(a);
  run_until(&loop, backend, first, second, before.at_ns + (uint64_t)(a->seconds * SECOND));
  reading after = read_now(a);
  uint64_t resident_kb = rig_resident_kb(a->pids, a->n_pids);
  unsigned open = rig_load_open(first);

  double wall = (double)(after.at_ns - before.at_ns);
  uint64_t done = rig_load_stats(first)->done + (second ? rig_load_stats(second)->done : 0);
  uint64_t errors =
      rig_load_stats(first)->errors + (second ? rig_load_stats(second)->errors : 0) + rig_backend_errors(backend);
  putchar('{');
  print_load("", first, wall / SECOND);
  if (second) {
    putchar(',');
    print_load("second_", second, wall / SECOND);
  }
  printf(
      ",\"seconds\":%.3f,\"rig_pct\":%.1f,\"proxy_pct\":%.1f,\"proxy_core_pct\":%.1f,\"cpu_us_per_req\":%.3f,"
      "\"rss_kb\":%llu,\"open\":%u,\"upstream_connections\":%llu,\"backend_errors\":%llu}\n",
      wall / SECOND, 100.0 * (double)(after.own_ns - before.own_ns) / wall,
      100.0 * (double)(after.proxy_ns - before.proxy_ns) / wall, rig_core_busy(before.core, after.core),
      done ? (double)(after.proxy_ns - before.proxy_ns) / US / (double)done : 0, (unsigned long long)resident_kb, open,
      (unsigned long long)rig_backend_connections(backend), (unsigned long long)rig_backend_errors(backend));
  if (errors > 0) {
    const char *trouble = rig_load_trouble(first);
    trouble = trouble || !second ? trouble : rig_load_trouble(second);
    fprintf(stderr, "rig: %llu errors; the first one: %s\n", (unsigned long long)errors,
            trouble ? trouble : "at the backend: a malformed or early request, or an answer that nobody took");
  }
  // The clients go first and the backend a moment later: no proxy shall take the end of a run for a failing backend.
  rig_load_close(first);
  if (second) {
    rig_load_close(second);
  }
  fflush(stdout);
  run_until(&loop, backend, NULL, NULL, rig_now() + LEAVE_NS);
  rig_corpus_free(&corpus);
  rig_corpus_free(&other);
  return errors;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  struct rlimit files;
  (void)prctl(PR_SET_TIMERSLACK, 1);  // due times are kept to the microsecond
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
  }
  arguments a = parse(argc - (argc > 1), argv + (argc > 1));
  if (strcmp(what, "snapshot") == 0) {
    rig_corpus_write_snapshot(&a.population, ntohs(a.backend_at.sin_port), stdout);
    return 0;
  }
  if (strcmp(what, "relay") == 0) {
    rig_relay(&a.listen_at, &a.load.target);
  }
  if (strcmp(what, "run") == 0) {
    const int status = run(&a) == 0 ? 0 : 1;
    fflush(stdout);
    _exit(status);  // thousands of connections end here: the kernel closes and frees them
  }
  rig_die("usage: bench-rig snapshot|relay|run [options] (tests/bench/rig/main.c)");
}
