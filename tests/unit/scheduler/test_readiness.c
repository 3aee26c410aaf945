// Readiness: what is known of a replica, and what is not.
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "readiness.h"

// A listening socket that never answers: whoever asks it runs into the timeout.
static int listen_on(int *port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
  assert_int_equal(listen(fd, 8), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  *port = ntohs(a.sin_port);
  return fd;
}

struct asked {
  int fd;
  char text[2048];
};

static ready_target ask(int port) {
  ready_target t = {.host = "127.0.0.1", .port = port, .health_path = "/health"};
  readiness_probe(&t, 1);
  return t;
}

static void test_a_refused_connection_is_known_to_be_not_ready(void **state) {
  (void)state;
  int port = 0;
  close(listen_on(&port));
  ready_target t = ask(port);
  assert_false(t.ready);
  assert_false(t.unknown);
  assert_false(t.silent);
}

static void test_silence_is_known_to_be_not_ready(void **state) {
  (void)state;
  int port = 0;
  int fd = listen_on(&port);
  ready_target t = ask(port);
  close(fd);
  assert_false(t.ready);
  assert_false(t.unknown);
  assert_true(t.silent);
}

// The prober's own want of descriptors says nothing about the replica. From no free descriptor at all on, one more each
// time, until the question could be put.
static void test_a_question_that_could_not_be_put_leaves_the_answer_unknown(void **state) {
  (void)state;
  int port = 0;
  int fd = listen_on(&port);
  struct rlimit before;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  bool asked = false;
  for (rlim_t room = 1; room <= 16 && !asked; room++) {
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)fd + room, before.rlim_max}), 0);
    ready_target t = ask(port);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_false(t.ready);
    asked = !t.unknown;
    assert_true(room > 1 || t.unknown);
    assert_true(!asked || strstr(t.detail, "imeout") != NULL || strstr(t.detail, "Timeout") != NULL);
  }
  close(fd);
  assert_true(asked);
}

// Answers one request with 200 and keeps what was asked.
static void *answer_once(void *arg) {
  struct asked *a = arg;
  int fd = accept(a->fd, NULL, NULL);
  ssize_t n = read(fd, a->text, sizeof(a->text) - 1);
  static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  a->text[n > 0 ? n : 0] = '\0';
  (void)!write(fd, ok, sizeof(ok) - 1);
  close(fd);
  return NULL;
}

static void test_a_replica_is_asked_with_its_token(void **state) {
  (void)state;
  static const char *const tokens[] = {"rt_0123", "", NULL};
  for (size_t i = 0; i < 3; i++) {
    struct asked a = {.fd = -1};
    pthread_t server;
    int port = 0;
    a.fd = listen_on(&port);
    assert_int_equal(pthread_create(&server, NULL, answer_once, &a), 0);
    ready_target t = {.host = "127.0.0.1", .port = port, .health_path = "/health", .token = tokens[i]};
    readiness_probe(&t, 1);
    assert_int_equal(pthread_join(server, NULL), 0);
    close(a.fd);
    assert_true(t.ready);
    assert_int_equal(strstr(a.text, "Authorization:") != NULL, i == 0);
    assert_int_equal(strstr(a.text, "Authorization: Bearer rt_0123\r\n") != NULL, i == 0);
  }
}

int main(void) {
  readiness_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_refused_connection_is_known_to_be_not_ready),
      cmocka_unit_test(test_a_replica_is_asked_with_its_token),
      cmocka_unit_test(test_silence_is_known_to_be_not_ready),
      cmocka_unit_test(test_a_question_that_could_not_be_put_leaves_the_answer_unknown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
