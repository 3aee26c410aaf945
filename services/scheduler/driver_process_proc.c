// Process identity, listeners and ports.
#include "driver_process_proc.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ecolink/clock.h"

// Above the ports of the local stack's own parts, below the usual ephemeral range.
enum { PORT_LEAST = 1024, PORT_MOST = 65535, STAT_BYTES_MAX = 1024 };

static bool read_small(const char *path, char *out, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return false;
  }
  ssize_t n = read(fd, out, size - 1);
  (void)close(fd);
  if (n <= 0) {
    return false;
  }
  out[n] = '\0';
  return true;
}

eco_status process_boot_id(char out[PROCESS_BOOT_ID_MAX]) {
  if (!read_small("/proc/sys/kernel/random/boot_id", out, PROCESS_BOOT_ID_MAX)) {
    return eco_error(ECO_INTERNAL, "cannot read the machine's boot id: is /proc mounted?");
  }
  out[strcspn(out, "\n")] = '\0';
  return eco_success();
}

static bool read_stat(int pid, char *state, int *session, int64_t *start_ticks) {
  char path[40];
  char text[STAT_BYTES_MAX];
  (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  return read_small(path, text, sizeof(text)) && process_stat_parse(text, state, session, start_ticks);
}

bool process_start_ticks(int pid, int64_t *out) {
  char state = 0;
  int session = 0;
  return read_stat(pid, &state, &session, out) && state != 'Z' && state != 'X';
}

int process_hold(const process_record *record, const char *boot_id) {
  if (record->pid <= 0 || strcmp(record->boot_id, boot_id) != 0) {
    return -1;
  }
  int fd = pidfd_open(record->pid, 0);
  if (fd < 0) {
    return -1;
  }
  // Held first, then looked at: whatever has the number now is what the descriptor means.
  int64_t ticks = 0;
  if (!process_start_ticks(record->pid, &ticks) || ticks != record->start_ticks || process_pidfd_ended(fd)) {
    (void)close(fd);
    return -1;
  }
  return fd;
}

bool process_exists(int pid) {
  return kill(pid, 0) == 0 || errno == EPERM;
}

bool process_pidfd_ended(int pidfd) {
  struct pollfd p = {.fd = pidfd, .events = POLLIN};
  return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

void process_group_sweep(int pid) {
  if (pid > 1 && !process_exists(pid)) {
    (void)kill(-pid, SIGKILL);
  }
}

// ---- listeners ----
enum { LISTENERS_MAX = 8 };

static int find_listeners(const char *table, int port, uint64_t inodes[LISTENERS_MAX], int64_t uids[LISTENERS_MAX],
                          int n) {
  FILE *f = fopen(table, "re");
  if (f == NULL) {
    return n;
  }
  char line[512];
  while (n < LISTENERS_MAX && fgets(line, sizeof(line), f) != NULL) {
    if (process_listen_line(line, port, &inodes[n], &uids[n])) {
      n++;
    }
  }
  (void)fclose(f);
  return n;
}

// 1: holds one of the sockets, 0: holds none, -1: may not be looked at.
static int holds_socket(int pid, const uint64_t *inodes, int n) {
  char path[64];
  (void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
  DIR *d = opendir(path);
  if (d == NULL) {
    return errno == EACCES || errno == EPERM ? -1 : 0;
  }
  int found = 0;
  for (struct dirent *e; found == 0 && (e = readdir(d)) != NULL;) {
    char target[64];
    ssize_t k = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
    if (k < 0) {
      found = errno == EACCES || errno == EPERM ? -1 : 0;
      continue;
    }
    target[k] = '\0';
    for (int i = 0; i < n; i++) {
      char wanted[40];
      (void)snprintf(wanted, sizeof(wanted), "socket:[%llu]", (unsigned long long)inodes[i]);
      if (strcmp(target, wanted) == 0) {
        found = 1;
      }
    }
  }
  (void)closedir(d);
  return found;
}

static bool owned_by(const int64_t *uids, int n, uid_t uid) {
  for (int i = 0; i < n; i++) {
    if (uids[i] == (int64_t)uid) {
      return true;
    }
  }
  return false;
}

bool process_listens(int sid, int port, uid_t uid) {
  uint64_t inodes[LISTENERS_MAX];
  int64_t uids[LISTENERS_MAX];
  int n = find_listeners("/proc/net/tcp", port, inodes, uids, 0);
  n = find_listeners("/proc/net/tcp6", port, inodes, uids, n);
  if (n == 0) {
    return false;
  }
  int leader = holds_socket(sid, inodes, n);
  if (leader != 0) {
    return leader > 0 || owned_by(uids, n, uid);
  }
  DIR *d = opendir("/proc");  // a command may be a shell whose child serves
  if (d == NULL) {
    return false;
  }
  bool found = false;
  for (struct dirent *e; !found && (e = readdir(d)) != NULL;) {
    char state = 0;
    int session = 0;
    int64_t ticks = 0;
    int pid = isdigit((unsigned char)e->d_name[0]) ? (int)strtol(e->d_name, NULL, 10) : 0;
    found = pid > 0 && pid != sid && read_stat(pid, &state, &session, &ticks) && session == sid &&
            holds_socket(pid, inodes, n) > 0;
  }
  (void)closedir(d);
  return found;
}

// ---- ports ----
static bool can_bind(const char *host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    return false;
  }
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return false;
  }
  int on = 1;  // connections of the last run in TIME_WAIT do not count; a listener does
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  bool ok = bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0;
  (void)close(fd);
  return ok;
}

eco_status process_host_resolve(const char *host, char *out) {
  const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  struct addrinfo *found = NULL;
  int gai = getaddrinfo(host, NULL, &hints, &found);
  if (gai != 0) {
    return eco_error(ECO_INVALID_REQUEST, "PROCESS_BIND_HOST %s: %s", host, gai_strerror(gai));
  }
  const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)found->ai_addr;
  bool ok = inet_ntop(AF_INET, &address->sin_addr, out, INET_ADDRSTRLEN) != NULL;
  freeaddrinfo(found);
  return ok ? eco_success() : eco_error(ECO_INTERNAL, "PROCESS_BIND_HOST %s: no address", host);
}

eco_status process_ports_parse(const char *text, process_ports *out) {
  uint64_t first = 0;
  uint64_t last = 0;
  if (!process_range_parse(text, &first, &last) || first < PORT_LEAST || last > PORT_MOST) {
    return eco_error(ECO_INVALID_REQUEST, "PROCESS_PORTS is no range from %d to %d: %s", PORT_LEAST, PORT_MOST, text);
  }
  *out = (process_ports){.first = (int)first, .count = (int)(last - first + 1)};
  return eco_success();
}

int process_port_choose(const char *host, process_ports ports, int wanted, bool (*taken)(void *arg, int port),
                        void *arg) {
  if (wanted > 0 && !taken(arg, wanted) && can_bind(host, wanted)) {
    return wanted;
  }
  // Others on this machine choose, too, and what they have chosen is seen only once it listens: begin anywhere.
  unsigned start = (unsigned)eco_boottime_ms() * 2654435761U ^ (unsigned)getpid() * 40503U;
  for (unsigned i = 0; i < (unsigned)ports.count; i++) {
    int port = ports.first + (int)((start + i) % (unsigned)ports.count);
    if (!taken(arg, port) && can_bind(host, port)) {
      return port;
    }
  }
  return 0;
}
