// Asks a running service's admin endpoint whether it is ready; see admin_http.h.
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin_http.h"

enum { STEP_S = 5, ANSWER_MAX = 16 * 1024 };

// A wildcard is where a server listens, not where a client goes.
static const char *host_to_ask(const char *host) {
  if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0) {
    return "127.0.0.1";
  }
  return strcmp(host, "::") == 0 ? "::1" : host;
}

static eco_status dial(const char *listen, int *out) {
  char host[ECO_ADMIN_HOST_MAX] = "";
  const char *port = NULL;
  ECO_TRY(eco_admin_split_address(listen, host, &port));
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  struct addrinfo *found = NULL;
  int gai = getaddrinfo(host_to_ask(host), port, &hints, &found);
  if (gai != 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s: %s", listen, gai_strerror(gai));
  }
  const struct timeval limit = {.tv_sec = STEP_S};
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool connected = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
                   setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 &&
                   connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  int err = errno;
  freeaddrinfo(found);
  if (connected) {
    *out = fd;
    return eco_success();
  }
  if (fd >= 0) {
    (void)close(fd);
  }
  return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s: %s", listen, strerror(err));
}

// Until the server closes: the length, or -1. A receive with a time limit is not restarted after an interruption.
static ssize_t receive(int fd, char *answer, size_t room) {
  size_t n = 0;
  while (n < room) {
    ssize_t got = recv(fd, answer + n, room - n, 0);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return got < 0 ? -1 : (ssize_t)n;
    }
    n += (size_t)got;
  }
  return (ssize_t)n;
}

eco_status eco_admin_http_ask(const char *listen, eco_buf *body) {
  static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  char answer[ANSWER_MAX];
  ssize_t n = -1;
  int fd = -1;
  ECO_TRY(dial(listen, &fd));
  if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(request) - 1) {
    n = receive(fd, answer, sizeof(answer) - 1);
  }
  (void)close(fd);
  answer[n < 0 ? 0 : n] = '\0';
  const char *text = strstr(answer, "\r\n\r\n");
  if (n < 0 || text == NULL) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "%s: no answer", listen);
  }
  (void)eco_buf_puts(body, text + 4);
  if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0) {
    return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "not ready");
  }
  return eco_success();
}
