// The hand-over between two gateways: who gets what, what a wrong peer gets (nothing), and that nothing stays open.
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "config.h"
#include "ecolink/log.h"
#include "handover.h"

enum { HEAR_MS = 2000, STRANGERS = 2000, NOBODY = 65534 };
static char dir[32];
static char path[64];
static gw_sockets held;
static gw_handover *holder;
static atomic_int given;

static size_t open_descriptors(void) {
  DIR *d = opendir("/proc/self/fd");
  size_t n = 0;
  assert_non_null(d);
  while (readdir(d)) {
    n++;
  }
  closedir(d);
  return n;
}

static void count_given(void *arg) {
  (void)arg;
  atomic_fetch_add(&given, 1);
}

static int dial(void) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
  if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

static gw_listeners listening(size_t n) {
  struct sockaddr_storage address;
  gw_listeners l = {.n = 0};
  gw_cfg.listen = "127.0.0.1:0";
  assert_true(eco_ok(gw_config_listen_address(&address)) && eco_ok(gw_listeners_fill(&l, n, &address)));
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(listen(l.fd[i], 8), 0);
  }
  return l;
}

// A holder of three listeners and an admin socket. SIGTERM, which a hand-over ends with, is kept for `stop`.
static int start(void **state) {
  (void)state;
  sigset_t term;
  int peer = -1;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, NULL);
  (void)snprintf(dir, sizeof dir, "/tmp/gw-handover-XXXXXX");
  assert_non_null(mkdtemp(dir));
  (void)snprintf(path, sizeof path, "%s/socket", dir);
  assert_true(eco_ok(gw_handover_take(path, &held, &peer)));
  assert_true(peer == -1 && held.path_fd >= 0 && held.admin_fd == -1 && held.listeners.n == 0);
  gw_listeners admin = listening(1);
  held.admin_fd = admin.fd[0];
  held.listeners = listening(3);
  atomic_store(&given, 0);
  return eco_ok(gw_handover_hold(&held, count_given, NULL, &holder)) ? 0 : -1;
}

static int stop(void **state) {
  (void)state;
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  gw_handover_end(holder);
  gw_sockets_close(&held);
  if (atomic_load(&given)) {
    assert_int_equal(sigtimedwait(&term, NULL, &(struct timespec){.tv_sec = 2}), SIGTERM);
  }
  char lock[80];
  (void)snprintf(lock, sizeof lock, "%s.lock", path);
  (void)unlink(path);
  (void)unlink(lock);
  return rmdir(dir);
}

static ino_t inode_of(int fd) {
  struct stat info;
  assert_int_equal(fstat(fd, &info), 0);
  return info.st_ino;
}

static bool yes(void *arg) {
  (void)arg;
  return true;
}

static void test_a_successor_gets_the_very_sockets_and_the_holder_lets_go(void **state) {
  (void)state;
  gw_sockets mine;
  int peer = -1;
  assert_true(eco_ok(gw_handover_take(path, &mine, &peer)));
  assert_true(peer >= 0 && mine.listeners.n == 3);
  assert_int_equal(inode_of(mine.path_fd), inode_of(held.path_fd));
  assert_int_equal(inode_of(mine.admin_fd), inode_of(held.admin_fd));
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(inode_of(mine.listeners.fd[i]), inode_of(held.listeners.fd[i]));
  }
  assert_int_equal(atomic_load(&given), 0);
  assert_true(eco_ok(gw_handover_finish(peer, yes, NULL)));
  assert_int_equal(atomic_load(&given), 1);
  gw_sockets_close(&mine);
}

static void test_one_successor_after_the_other_may_die_and_the_holder_stays(void **state) {
  (void)state;
  size_t before = open_descriptors();
  for (int i = 0; i < 20; i++) {
    gw_sockets mine;
    int peer = -1;
    assert_true(eco_ok(gw_handover_take(path, &mine, &peer)));
    close(peer);
    gw_sockets_close(&mine);
  }
  int last = dial();
  assert_true(last >= 0 && gw_handover_say(last, GW_HANDOVER_HELLO));
  gw_sockets mine;
  assert_true(gw_handover_get(last, HEAR_MS, &mine));  // the others' conversations are over
  gw_sockets_close(&mine);
  close(last);
  gw_handover_end(holder);
  holder = NULL;
  assert_int_equal(open_descriptors(), before - 1);  // without the thread's own
  assert_int_equal(atomic_load(&given), 0);
}

static void test_every_message_is_one_of_the_four_or_none(void **state) {
  (void)state;
  const uint8_t hello[GW_HANDOVER_BYTES] = {'E', 'G', 'W', 'H', 1, GW_HANDOVER_HELLO};
  const uint8_t sockets[GW_HANDOVER_BYTES] = {'E', 'G', 'W', 'H', 1, GW_HANDOVER_SOCKETS, 1, 3};
  unsigned admin = 9;
  unsigned n = 9;
  for (size_t len = 0; len < GW_HANDOVER_BYTES; len++) {
    assert_int_equal(gw_handover_parse(hello, len, &admin, &n), GW_HANDOVER_NONE);
  }
  assert_int_equal(gw_handover_parse(hello, sizeof hello, &admin, &n), GW_HANDOVER_HELLO);
  assert_true(admin == 0 && n == 0);
  assert_int_equal(gw_handover_parse(sockets, sizeof sockets, &admin, &n), GW_HANDOVER_SOCKETS);
  assert_true(admin == 1 && n == 3);
  unsigned taken = 0;
  for (size_t at = 0; at < GW_HANDOVER_BYTES; at++) {
    for (unsigned byte = 0; byte < 256; byte++) {
      uint8_t m[GW_HANDOVER_BYTES];
      memcpy(m, sockets, sizeof m);
      m[at] = (uint8_t)byte;
      gw_handover_kind kind = gw_handover_parse(m, sizeof m, &admin, &n);
      taken += kind != GW_HANDOVER_NONE;
      assert_true(kind != GW_HANDOVER_NONE ? kind == GW_HANDOVER_SOCKETS && admin <= 1 && n >= 1 && n <= GW_LOOPS_MAX
                                           : admin == 0 && n == 0);
    }
  }
  assert_int_equal(taken, 4 + 1 + 1 + 2 + GW_LOOPS_MAX);  // magic, version, kind as they are; admin; listeners
}

// A message with `n` copies of a descriptor.
static void send_raw(int peer, const uint8_t *p, size_t len, int fd, size_t n) {
  union {
    struct cmsghdr aligned;
    char bytes[CMSG_SPACE(80 * sizeof(int))];
  } c = {0};
  struct iovec iov = {(void *)p, len};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
  if (n > 0) {
    m.msg_control = &c;
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *h = &c.aligned;
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    for (size_t i = 0; i < n; i++) {
      memcpy(CMSG_DATA(h) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  (void)sendmsg(peer, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void test_strangers_words_change_nothing_and_leave_nothing_open(void **state) {
  (void)state;
  srand(11);
  size_t before = open_descriptors();
  for (int i = 0; i < STRANGERS; i++) {
    uint8_t m[24] = {'E', 'G', 'W', 'H', 1, (uint8_t)(rand() % 6), (uint8_t)(rand() % 3), (uint8_t)(rand() % 80)};
    int fd = dial();
    assert_true(fd >= 0);
    size_t words = (size_t)rand() % 3;
    for (size_t k = 0; k < words; k++) {
      m[rand() % 8] ^= (uint8_t)(rand() % 2 ? 0 : rand());
      if (m[5] == GW_HANDOVER_READY && k > 0) {
        m[5] = GW_HANDOVER_YOURS;  // READY behind HELLO would be a hand-over
      }
      send_raw(fd, m, (size_t)rand() % sizeof m + 1, held.admin_fd, rand() % 2 ? (size_t)rand() % 70 : 0);
    }
    close(fd);
  }
  gw_sockets mine;
  int peer = -1;
  assert_true(eco_ok(gw_handover_take(path, &mine, &peer)));
  assert_int_equal(atomic_load(&given), 0);
  assert_true(eco_ok(gw_handover_finish(peer, yes, NULL)));
  gw_sockets_close(&mine);
  gw_handover_end(holder);
  holder = NULL;
  assert_int_equal(open_descriptors(), before - 1);  // without the thread's own
}

static void test_what_a_wrong_holder_gives_is_not_kept(void **state) {
  (void)state;
  const uint8_t three[GW_HANDOVER_BYTES] = {'E', 'G', 'W', 'H', 1, GW_HANDOVER_SOCKETS, 0, 3};
  for (size_t n = 0; n <= 70; n++) {
    int pair[2];
    gw_sockets mine;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    size_t before = open_descriptors();
    send_raw(pair[0], three, sizeof three, held.listeners.fd[0], n);
    bool taken = gw_handover_get(pair[1], HEAR_MS, &mine);
    assert_int_equal(taken, n == 1 + 3);
    gw_sockets_close(&mine);
    assert_int_equal(open_descriptors(), before);
    close(pair[0]);
    assert_false(gw_handover_get(pair[1], HEAR_MS, &mine));  // gone
    close(pair[1]);
  }
}

static void test_only_a_listening_socket_of_our_address_fits(void **state) {
  (void)state;
  struct sockaddr_storage address = {0};
  struct sockaddr_in *at = (struct sockaddr_in *)&address;
  socklen_t len = sizeof address;
  assert_int_equal(getsockname(held.listeners.fd[0], (struct sockaddr *)&address, &len), 0);
  assert_true(gw_listener_fits(held.listeners.fd[0], &address) && gw_listener_fits(held.listeners.fd[0], NULL));
  at->sin_port = (in_port_t)(at->sin_port ^ 1);
  assert_false(gw_listener_fits(held.listeners.fd[0], &address));
  at->sin_port = 0;
  assert_true(gw_listener_fits(held.listeners.fd[0], &address));
  at->sin_addr.s_addr ^= 1;
  assert_false(gw_listener_fits(held.listeners.fd[0], &address));
  assert_false(gw_listener_fits(held.path_fd, NULL));
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_false(gw_listener_fits(file, NULL) || gw_listener_fits(idle, NULL));
  close(file);
  close(idle);
}

// As another user: the file keeps him out; and where it does not, the holder does.
static void test_another_user_gets_nothing(void **state) {
  (void)state;
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  if (geteuid() != 0) {  // then nobody else can be had
    return;
  }
  assert_true(chmod(dir, 0755) == 0 && chmod(path, 0666) == 0);
  pid_t child = fork();
  if (child == 0) {
    gw_sockets mine;
    int fd = setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0 ? dial() : -1;
    (void)gw_handover_say(fd, GW_HANDOVER_HELLO);  // the holder may have hung up already
    _exit(fd < 0 ? 2 : gw_handover_get(fd, HEAR_MS, &mine) ? 1 : 0);
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(atomic_load(&given), 0);
}

static void test_a_path_that_nobody_holds_any_more_is_taken(void **state) {
  (void)state;
  gw_handover_end(holder);
  holder = NULL;
  gw_sockets_close(&held);
  assert_int_equal(dial(), -1);
  int peer = -1;
  assert_true(eco_ok(gw_handover_take(path, &held, &peer)));
  assert_true(peer == -1 && held.path_fd >= 0);
  close(dial());
}

static void test_a_path_at_which_no_socket_lies_is_not_touched(void **state) {
  (void)state;
  char file[80];
  char lock[88];
  gw_sockets none;
  int peer = -1;
  (void)snprintf(file, sizeof file, "%s/notes", dir);
  (void)snprintf(lock, sizeof lock, "%s.lock", file);
  int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  assert_int_equal(write(fd, "mine", 4), 4);
  close(fd);
  assert_false(eco_ok(gw_handover_take(file, &none, &peer)));
  assert_true(peer == -1 && none.path_fd == -1);
  assert_int_equal(access(file, F_OK), 0);
  unlink(file);
  unlink(lock);
}

int main(void) {
  eco_log_init("test", ECO_LOG_JSON, (eco_log_level)(ECO_LOG_ERROR + 1));
#define HELD(test) cmocka_unit_test_setup_teardown(test, start, stop)
  const struct CMUnitTest tests[] = {
      HELD(test_a_successor_gets_the_very_sockets_and_the_holder_lets_go),
      HELD(test_one_successor_after_the_other_may_die_and_the_holder_stays),
      HELD(test_every_message_is_one_of_the_four_or_none),
      HELD(test_strangers_words_change_nothing_and_leave_nothing_open),
      HELD(test_what_a_wrong_holder_gives_is_not_kept),
      HELD(test_only_a_listening_socket_of_our_address_fits),
      HELD(test_another_user_gets_nothing),
      HELD(test_a_path_that_nobody_holds_any_more_is_taken),
      HELD(test_a_path_at_which_no_socket_lies_is_not_touched),
  };
#undef HELD
  return cmocka_run_group_tests(tests, NULL, NULL);
}
