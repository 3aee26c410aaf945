// The admin endpoint over real sockets.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../../libcommon/src/admin_http.h"
#include "ecolink/metrics.h"
#include "gen.h"

static eco_admin_http *admin;
static bool is_ready;
static const char *reasons = "";

static bool ready(void *arg, eco_buf *why) {
  assert_ptr_equal(arg, &is_ready);
  if (!is_ready) {
    (void)eco_buf_puts(why, reasons);
  }
  return is_ready;
}

static int start(void **state) {
  (void)state;
  return eco_ok(eco_admin_http_start("127.0.0.1:0", ready, &is_ready, &admin)) ? 0 : -1;
}

static int stop(void **state) {
  (void)state;
  eco_admin_http_stop(admin);
  admin = NULL;
  return 0;
}

static int dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  struct sockaddr_in to = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)eco_admin_http_port(admin)),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
  struct timeval limit = {.tv_sec = 20};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return fd;
}

static char answer[1 << 20];

// Reads until the server closes. Returns the length, or -1 for a reset or a timeout.
static ssize_t receive(int fd) {
  size_t len = 0;
  for (;;) {
    ssize_t n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);
    if (n < 0 && errno == EINTR) {
      continue;  // libuv's io_uring interrupts the thread that made the loop, and a socket with a timeout is not
                 // restarted
    }
    if (n <= 0) {
      answer[len] = '\0';
      (void)close(fd);
      return n < 0 ? -1 : (ssize_t)len;
    }
    len += (size_t)n;
  }
}

static const char *ask(const char *request) {
  int fd = dial();
  assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
  assert_true(receive(fd) > 0);
  return answer;
}

static void assert_answer(const char *request, const char *status_line, const char *body) {
  const char *got = ask(request);
  assert_memory_equal(got, status_line, strlen(status_line));
  const char *got_body = strstr(got, "\r\n\r\n");
  assert_non_null(got_body);
  char length[64];
  (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(body));
  assert_string_equal(got_body + 4, body);
  assert_non_null(strstr(got, length));
}

static void test_healthz_says_ok(void **state) {
  (void)state;
  assert_answer("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n");
  assert_answer("GET /healthz?verbose=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n");
}

static void test_readyz_follows_the_callback_and_tells_its_reasons(void **state) {
  (void)state;
  is_ready = true;
  assert_answer("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ready\n");
  is_ready = false;
  reasons = "database: connection refused\nbus: connecting";
  assert_answer("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n",
                "database: connection refused\nbus: connecting\n");
  reasons = "";
  assert_answer("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 ", "not ready\n");
}

static void test_metrics_are_served_in_prometheus_form(void **state) {
  (void)state;
  eco_metric_set(eco_gauge("admin_test_gauge", "g", NULL), 42);
  const char *got = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  assert_non_null(strstr(got, "Content-Type: text/plain; version=0.0.4"));
  assert_non_null(strstr(got, "\nadmin_test_gauge 42\n"));
}

static void test_a_large_answer_arrives_whole(void **state) {
  (void)state;
  for (int i = 0; i < 5000; i++) {
    char labels[40];
    (void)snprintf(labels, sizeof(labels), "n=\"%d\"", i);
    eco_metric_add(eco_counter("admin_test_many_total", "m", labels), i);
  }
  const char *got = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  assert_non_null(strstr(got, "admin_test_many_total{n=\"4999\"} 4999\n"));
}

static void test_head_has_no_body(void **state) {
  (void)state;
  const char *got = ask("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  assert_non_null(strstr(got, "Content-Length: 3\r\n"));
  assert_string_equal(strstr(got, "\r\n\r\n") + 4, "");
}

static void test_other_paths_and_methods_are_refused(void **state) {
  (void)state;
  assert_memory_equal(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404 ", 13);
  assert_memory_equal(ask("GET /healthzz HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404 ", 13);
  assert_memory_equal(ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 404 ", 13);
  const char *got = ask("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
  assert_memory_equal(got, "HTTP/1.1 405 ", 13);
  assert_non_null(strstr(got, "Allow: GET, HEAD\r\n"));
  char request[1000];
  (void)snprintf(request, sizeof(request), "GET /healthz%0*d HTTP/1.1\r\nHost: x\r\n\r\n", 600, 0);
  assert_memory_equal(ask(request), "HTTP/1.1 404 ", 13);
}

static void test_what_is_no_request_is_answered_400(void **state) {
  (void)state;
  const char *const cases[] = {"garbage\r\n\r\n",
                               "GET\r\n\r\n",
                               "GET /healthz HTTP/9.9\r\n\r\n",
                               "GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                               "GET /healthz HTTP/1.1\r\nA: b\r\n c\x01\r\n\r\n",
                               "\x16\x03\x01\x02\x00\x01"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_memory_equal(ask(cases[i]), "HTTP/1.1 400 ", 13);
  }
}

static void test_a_request_in_pieces_is_understood(void **state) {
  (void)state;
  const char *request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  int fd = dial();
  int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  for (const char *p = request; *p != '\0'; p++) {
    assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
  }
  assert_true(receive(fd) > 0);
  assert_memory_equal(answer, "HTTP/1.1 200 ", 13);
}

static void test_a_request_that_never_ends_is_cut_by_size(void **state) {
  (void)state;
  int fd = dial();
  char filler[1024];
  memset(filler, 'a', sizeof(filler));
  const char *head = "GET /healthz HTTP/1.1\r\nX-Long: ";
  (void)send(fd, head, strlen(head), MSG_NOSIGNAL);
  for (int i = 0; i < 20; i++) {
    (void)send(fd, filler, sizeof(filler), MSG_NOSIGNAL);
  }
  assert_true(receive(fd) > 0);
  assert_memory_equal(answer, "HTTP/1.1 413 ", 13);
}

static void test_a_silent_client_is_cut_by_time(void **state) {
  (void)state;
  int fd = dial();
  (void)send(fd, "GET /hea", 8, MSG_NOSIGNAL);
  assert_int_equal(receive(fd), 0);
}

static void test_connections_are_bounded_and_come_back(void **state) {
  (void)state;
  int held[80];
  for (int i = 0; i < 80; i++) {
    held[i] = dial();
  }
  (void)usleep(200000);
  int closed = 0;
  for (int i = 0; i < 80; i++) {
    char c;
    closed += recv(held[i], &c, 1, MSG_DONTWAIT) == 0 ? 1 : 0;
    (void)close(held[i]);
  }
  assert_int_equal(closed, 80 - 64);
  (void)usleep(200000);
  assert_answer("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n");
}

static void test_it_stops_with_clients_connected(void **state) {
  (void)state;
  eco_admin_http *mine = admin;
  int fd = dial();
  (void)usleep(20000);
  eco_admin_http_stop(mine);
  admin = NULL;
  (void)receive(fd);
  eco_admin_http_stop(NULL);
}

static void test_a_socket_is_handed_on_while_clients_wait_in_it(void **state) {
  (void)state;
  int fd = dup(eco_admin_http_fd(admin));
  int port = eco_admin_http_port(admin);
  eco_admin_http_stop(admin);
  admin = NULL;
  struct sockaddr_in at = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int waiting = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(waiting, (struct sockaddr *)&at, sizeof(at)), 0);  // nobody accepts yet
  assert_true(eco_ok(eco_admin_http_start_on(fd, ready, &is_ready, &admin)));
  assert_int_equal(eco_admin_http_port(admin), port);
  assert_answer("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n");
  const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
  assert_int_equal(send(waiting, request, sizeof(request) - 1, 0), (ssize_t)sizeof(request) - 1);
  assert_true(receive(waiting) > 0);
  assert_non_null(strstr(answer, "200 OK"));
  eco_admin_http *none = NULL;
  assert_int_equal(eco_admin_http_start_on(open("/dev/null", O_RDONLY), ready, &is_ready, &none).code,
                   ECO_INVALID_REQUEST);
}

static void test_a_socket_fits_the_address_that_it_is_bound_to(void **state) {
  (void)state;
  char where[64];
  int fd = eco_admin_http_fd(admin);
  assert_true(eco_admin_http_fits("127.0.0.1:0", fd));
  (void)snprintf(where, sizeof(where), "127.0.0.1:%d", eco_admin_http_port(admin));
  assert_true(eco_admin_http_fits(where, fd));
  (void)snprintf(where, sizeof(where), "127.0.0.2:%d", eco_admin_http_port(admin));
  assert_false(eco_admin_http_fits(where, fd));
  (void)snprintf(where, sizeof(where), "127.0.0.1:%d", eco_admin_http_port(admin) ^ 1);
  assert_false(eco_admin_http_fits(where, fd));
  assert_false(eco_admin_http_fits("[::1]:0", fd) || eco_admin_http_fits(":0", fd) || eco_admin_http_fits("x", fd));
  assert_false(eco_admin_http_fits("127.0.0.1:0", -1));
}

static void test_addresses_that_cannot_be_listened_on_are_refused(void **state) {
  (void)state;
  const char *const cases[] = {"",
                               "localhost",
                               "127.0.0.1",
                               "127.0.0.1:",
                               "127.0.0.1:http",
                               "300.1.2.3:0",
                               "127.0.0.1:65536",
                               "127.0.0.1:99999999"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    eco_admin_http *other = NULL;
    assert_int_equal(eco_admin_http_start(cases[i], NULL, NULL, &other).code, ECO_INVALID_REQUEST);
    assert_null(other);
  }
  char taken[40];
  (void)snprintf(taken, sizeof(taken), "127.0.0.1:%d", eco_admin_http_port(admin));
  eco_admin_http *other = NULL;
  eco_status st = eco_admin_http_start(taken, NULL, NULL, &other);
  assert_non_null(strstr(st.message, "address already in use"));
}

static void test_all_addresses_are_meant_by_an_empty_host(void **state) {
  (void)state;
  eco_admin_http *everywhere = NULL;
  assert_true(eco_ok(eco_admin_http_start(":0", NULL, NULL, &everywhere)));
  assert_true(eco_admin_http_port(everywhere) > 0);
  eco_admin_http *mine = admin;
  admin = everywhere;
  assert_answer("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ready\n");
  admin = mine;
  eco_admin_http_stop(everywhere);
}

static void test_the_asking_side_tells_ready_from_not_ready_and_from_nobody(void **state) {
  (void)state;
  eco_buf body;
  eco_buf_init(&body, 4096);
  char where[40];
  (void)snprintf(where, sizeof(where), "127.0.0.1:%d", eco_admin_http_port(admin));
  is_ready = true;
  assert_true(eco_ok(eco_admin_http_ask(where, &body)));
  assert_string_equal(body.data, "ready\n");
  (void)snprintf(where, sizeof(where), "0.0.0.0:%d", eco_admin_http_port(admin));
  is_ready = false;
  reasons = "the database does not answer\n";
  eco_buf_reset(&body);
  assert_int_equal(eco_admin_http_ask(where, &body).code, ECO_CONTROL_PLANE_UNAVAILABLE);
  assert_string_equal(body.data, reasons);
  eco_admin_http_stop(admin);
  admin = NULL;
  assert_int_equal(eco_admin_http_ask(where, &body).code, ECO_CONTROL_PLANE_UNAVAILABLE);
  assert_int_equal(eco_admin_http_ask("nowhere", &body).code, ECO_INVALID_REQUEST);
  eco_buf_free(&body);
}

int main(void) {
#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, stop)
  const struct CMUnitTest tests[] = {
      SERVED(test_healthz_says_ok),
      SERVED(test_readyz_follows_the_callback_and_tells_its_reasons),
      SERVED(test_metrics_are_served_in_prometheus_form),
      SERVED(test_a_large_answer_arrives_whole),
      SERVED(test_head_has_no_body),
      SERVED(test_other_paths_and_methods_are_refused),
      SERVED(test_what_is_no_request_is_answered_400),
      SERVED(test_a_request_in_pieces_is_understood),
      SERVED(test_a_request_that_never_ends_is_cut_by_size),
      SERVED(test_a_silent_client_is_cut_by_time),
      SERVED(test_connections_are_bounded_and_come_back),
      SERVED(test_it_stops_with_clients_connected),
      SERVED(test_a_socket_is_handed_on_while_clients_wait_in_it),
      SERVED(test_a_socket_fits_the_address_that_it_is_bound_to),
      SERVED(test_addresses_that_cannot_be_listened_on_are_refused),
      SERVED(test_all_addresses_are_meant_by_an_empty_host),
      SERVED(test_the_asking_side_tells_ready_from_not_ready_and_from_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
