// What the process driver's test programs share: a program that plays the replica too (--serve, --exit, ...), a driver
// on a private root, and a look at the processes from outside. Included once by each program.
#ifndef DRIVER_PROCESS_RIG_H
#define DRIVER_PROCESS_RIG_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "driver_conformance.h"
#include "driver_process_files.h"
#include "driver_process_proc.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"

#define RIG static __attribute__((unused))

RIG char root[256];  // of this run: state, run
RIG char self[512];

// ---- the replica's part ----
RIG int listen_on(int port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 8) != 0) {
    perror("listen");
    _exit(9);
  }
  return fd;
}

RIG int env_port(void) {
  return (int)strtol(getenv("ECOLINK_PORT") ? getenv("ECOLINK_PORT") : "0", NULL, 10);
}

RIG void report(void) {
  extern char **environ;
  struct rlimit core;
  struct rlimit files;
  char cwd[512];
  (void)getrlimit(RLIMIT_CORE, &core);
  (void)getrlimit(RLIMIT_NOFILE, &files);
  printf("uid %d\ngid %d\n", (int)geteuid(), (int)getegid());
  printf("leader %d\n", getpgrp() == getpid() && getsid(0) == getpid());
  printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf("core %d\nfiles_enough %d\n", (int)core.rlim_cur, files.rlim_cur >= 1024);
  printf("cwd %s\n", getcwd(cwd, sizeof(cwd)));
  for (char **e = environ; *e != NULL; e++) {
    printf("env %s\n", *e);
  }
  for (int fd = 0; fd < 4096; fd++) {
    char path[64];
    char target[256];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n >= 0) {
      target[n] = '\0';
      printf("fd %d %s\n", fd, target);
    }
  }
}

RIG int play_replica(const char *part) {
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  if (strcmp(part, "--exit") == 0) {
    puts("leaving with 3");
    fflush(stdout);
    _exit(3);
  }
  if (strcmp(part, "--stubborn") == 0) {
    (void)signal(SIGTERM, SIG_IGN);
  }
  if (strcmp(part, "--report") == 0) {
    report();
  }
  for (int i = 1; strcmp(part, "--chatter") == 0 && i <= 500; i++) {
    printf("line %d\n", i);
  }
  if (strcmp(part, "--flood") == 0) {
    for (int i = 0; i < 240000; i++) {
      printf("flood %d %0100d\n", i, 0);
    }
    puts("flood ended");
  }
  if (strcmp(part, "--with-child") == 0 && fork() == 0) {
    for (;;) {
      pause();
    }
  }
  if (strcmp(part, "--silent") != 0) {
    (void)listen_on(env_port());
  }
  for (;;) {
    pause();
  }
}

// ---- the rig ----
RIG driver *open_at(const char *base) {
  static char state_dir[300];
  static char run_dir[300];
  (void)snprintf(state_dir, sizeof(state_dir), "%s/state", base);
  (void)snprintf(run_dir, sizeof(run_dir), "%s/run", base);
  const process_driver_options options = {.state_dir = state_dir,
                                          .run_dir = run_dir,
                                          .bind_host = "127.0.0.1",
                                          .allow_commands = true,
                                          .simulator_path = "",
                                          .llama_cpp_path = "",
                                          .run_as_user = geteuid() == 0 ? "nobody" : "",
                                          .ports = "20000-31999"};
  driver *d = NULL;
  eco_status st = process_driver_open(&options, &d);
  if (!eco_ok(st)) {
    fail_msg("open: %s", st.message);
  }
  return d;
}

RIG driver *open_here(void) {
  return open_at(root);
}

RIG void play(replica_spec *spec, const char *part) {
  static const char *commands[16][3];
  static int used;
  for (int i = 0; i < used; i++) {
    if (strcmp(commands[i][1], part) == 0) {
      spec->command = commands[i];
      return;
    }
  }
  assert_true(used < 16);
  commands[used][0] = self;
  commands[used][1] = part;
  spec->command = commands[used++];
}

RIG void behave(replica_spec *spec, replica_behaviour behaviour) {
  static const char *const parts[] = {"--serve", "--stubborn", "--exit", "--chatter"};
  play(spec, parts[behaviour]);
}

// ---- helpers ----
RIG int pid_in_file(const char *base, int64_t id, int replica) {
  char path[400];
  (void)snprintf(path, sizeof(path), "%s/run/%" PRId64 "-%d.pid", base, id, replica);
  FILE *f = fopen(path, "re");
  int pid = 0;
  if (f == NULL) {
    return 0;
  }
  if (fscanf(f, "%d", &pid) != 1) {
    pid = -1;
  }
  (void)fclose(f);
  return pid;
}

RIG int run_pid(const replica_observation *o) {
  return (int)strtol(o->run_id, NULL, 10);
}

// Live processes whose private directory lies under `base`: found by their environment, not by our books.
RIG int count_live(const char *base, int *pid_out) {
  char wanted[400];
  int found = 0;
  int n = snprintf(wanted, sizeof(wanted), "HOME=%s/state/homes/", base);
  DIR *d = opendir("/proc");
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    char path[300];
    static char env[65536];
    int pid = (int)strtol(e->d_name, NULL, 10);
    int64_t ticks = 0;
    (void)snprintf(path, sizeof(path), "/proc/%s/environ", e->d_name);
    int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
      continue;
    }
    ssize_t k = read(fd, env, sizeof(env));
    (void)close(fd);
    if (k > 0 && memmem(env, (size_t)k, wanted, (size_t)n) != NULL && process_start_ticks(pid, &ticks)) {
      found++;
      *pid_out = pid;
    }
  }
  (void)closedir(d);
  return found;
}

RIG bool wait_until(bool (*condition)(void *arg), void *arg) {
  for (int64_t until = eco_boottime_ms() + WAIT_MS; eco_boottime_ms() < until; (void)usleep(5000)) {
    if (condition(arg)) {
      return true;
    }
  }
  return false;
}

// ---- set-up ----
// Replicas run as an unprivileged user, who may not be allowed into the build tree: they run a copy of this program.
RIG int copy_self(void) {
  char command[1100];
  (void)snprintf(command, sizeof(command), "cp '%s' '%s/self' && chmod 755 '%s/self'", self, root, root);
  (void)snprintf(self, sizeof(self), "%s/self", root);
  return system(command);
}

RIG int make_root(void **state) {
  (void)state;
  (void)snprintf(root, sizeof(root), "/tmp/test-driver-XXXXXX");
  return mkdtemp(root) != NULL && chmod(root, 0755) == 0 ? copy_self() : -1;
}

RIG int remove_root(void **state) {
  (void)state;
  char command[300];
  int pid = 0;
  while (count_live(root, &pid) > 0) {  // what a failed test left
    (void)kill(pid, SIGKILL);
  }
  (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
  return system(command);
}

RIG void rig_begin(void) {
  ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
  self[n < 0 ? 0 : n] = '\0';
  rig = (conformance_rig){.open = open_here, .behave = behave};
}

#endif
