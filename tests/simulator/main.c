// ecolink-simulator: stands in for a model server in tests and in the offline tour. It runs no model and says so.
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

sim_counters sim_count;
uint64_t sim_started_ms;

static uv_loop_t loop;
static uv_tcp_t server;
static uv_timer_t crash_timer;
static uv_timer_t log_timer;
static uv_timer_t listen_timer;
static uv_signal_t term_signal;

void sim_log(const char *fmt, ...) {
  char line[512];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
  va_end(ap);
  size_t k = n < 0 ? 0 : (size_t)n < sizeof(line) - 1 ? (size_t)n : sizeof(line) - 2;
  line[k] = '\n';
  if (write(STDOUT_FILENO, line, k + 1) < 0) {
    return;  // a log that cannot be written is no reason to fail
  }
}

_Noreturn void sim_crash(const char *why) {
  sim_log("crashing as told (%s)", why);
  if (sim_opt.exit_code < 0) {
    signal((int)-sim_opt.exit_code, SIG_DFL);
    kill(getpid(), (int)-sim_opt.exit_code);
    pause();
  }
  _exit((int)sim_opt.exit_code);
}

bool sim_is_starting(void) {
  return (int64_t)(uv_now(&loop) - sim_started_ms) < sim_opt.start_delay_ms;
}

static void on_crash_timer(uv_timer_t *timer) {
  (void)timer;
  sim_crash("crash-after-ms");
}

static void on_log_timer(uv_timer_t *timer) {
  static int64_t n;
  (void)timer;
  sim_log("log line %lld, written now and then", (long long)++n);
}

void sim_rearm(void) {
  sim_count.inference_at_set = sim_count.inference;
  uv_timer_stop(&crash_timer);
  uv_timer_stop(&log_timer);
  if (sim_opt.crash_after_ms > 0) {
    uv_timer_start(&crash_timer, on_crash_timer, (uint64_t)sim_opt.crash_after_ms, 0);
  }
  if (sim_opt.log_ms > 0) {
    uv_timer_start(&log_timer, on_log_timer, (uint64_t)sim_opt.log_ms, (uint64_t)sim_opt.log_ms);
  }
}

static void on_term(uv_signal_t *handle, int signum) {
  (void)handle;
  if (sim_opt.ignore_term) {
    sim_log("ignoring signal %d as told", signum);
    return;
  }
  sim_log("ending on signal %d", signum);
  exit(0);
}

static void start_listening(uv_timer_t *timer) {
  (void)timer;
  struct sockaddr_in address;
  int rc = uv_ip4_addr(sim_opt.host, (int)sim_opt.port, &address);
  if (rc == 0) {
    rc = uv_tcp_bind(&server, (const struct sockaddr *)&address, 0);
  }
  if (rc == 0) {
    rc = uv_listen((uv_stream_t *)&server, 512, sim_http_accept);
  }
  if (rc != 0) {
    fprintf(stderr, "ecolink-simulator: cannot listen on %s:%lld: %s\n", sim_opt.host, (long long)sim_opt.port,
            uv_strerror(rc));
    exit(1);
  }
  struct sockaddr_in bound;
  int len = sizeof(bound);
  uv_tcp_getsockname(&server, (struct sockaddr *)&bound, &len);
  sim_opt.port = ntohs(bound.sin_port);
  sim_log("ecolink-simulator %d serves model %s on %s:%lld", (int)getpid(), sim_opt.model, sim_opt.host,
          (long long)sim_opt.port);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  sim_options_defaults();
  int done = sim_options_args(argc, argv);
  if (done >= 0) {
    return done;
  }
  uv_loop_init(&loop);
  uv_tcp_init(&loop, &server);
  uv_timer_init(&loop, &crash_timer);
  uv_timer_init(&loop, &log_timer);
  uv_timer_init(&loop, &listen_timer);
  uv_signal_init(&loop, &term_signal);
  uv_signal_start(&term_signal, on_term, SIGTERM);
  sim_started_ms = uv_now(&loop);
  for (int64_t i = 1; i <= sim_opt.log_lines; i++) {
    sim_log("start line %lld of %lld", (long long)i, (long long)sim_opt.log_lines);
  }
  sim_rearm();
  if (sim_opt.listen_delay_ms > 0) {
    uv_timer_start(&listen_timer, start_listening, (uint64_t)sim_opt.listen_delay_ms, 0);
  } else {
    start_listening(&listen_timer);
  }
  return uv_run(&loop, UV_RUN_DEFAULT);
}
