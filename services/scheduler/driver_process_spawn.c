// Fork, wait at the gate, shed everything inherited, exec.
#include "driver_process_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver_process_rules.h"

enum {
  CHILD_FILES_MAX = 65536,
  CHILD_PROCESSES_MAX = 8192,  // of the whole user, threads included: engines start hundreds
  EXIT_CANNOT_EXECUTE = 126,
  EXIT_NOT_FOUND = 127,
  EXIT_NOT_RELEASED = 125,
};

// "50000-59999"
static bool parse_range(const char *text, process_identity *out) {
  enum { UID_MIN_ALLOWED = 1000 };
  uint64_t first = 0;
  uint64_t last = 0;
  if (!process_range_parse(text, &first, &last) || first < UID_MIN_ALLOWED || last >= UINT32_MAX) {
    return false;
  }
  *out = (process_identity){
      .uid = (uid_t)first, .gid = (gid_t)first, .change = true, .span = (uint32_t)(last - first + 1)};
  return true;
}

process_identity process_identity_of(const process_identity *all, int64_t instance_id) {
  process_identity one = *all;
  if (one.span > 0) {
    const uint32_t offset = (uint32_t)((uint64_t)instance_id % one.span);
    one.uid += offset;
    one.gid += offset;
  }
  return one;
}

eco_status process_identity_find(const char *user, process_identity *out) {
  *out = (process_identity){.uid = geteuid(), .gid = getegid()};
  if (user[0] == '\0' || geteuid() != 0 || parse_range(user, out)) {
    return eco_success();
  }
  char buffer[4096];
  struct passwd entry;
  struct passwd *found = NULL;
  if (getpwnam_r(user, &entry, buffer, sizeof(buffer), &found) != 0 || found == NULL) {
    return eco_error(ECO_INTERNAL, "there is no user %s to run replicas as", user);
  }
  *out = (process_identity){.uid = found->pw_uid, .gid = found->pw_gid, .change = found->pw_uid != 0};
  return eco_success();
}

static bool is_program(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
}

const char *process_executable_find(eco_arena *arena, const char *name, const char *path) {
  if (strchr(name, '/') != NULL) {
    return is_program(name) ? name : NULL;
  }
  while (*path != '\0') {
    size_t n = strcspn(path, ":");
    const char *candidate = eco_sprintf(arena, "%.*s/%s", (int)n, path, name);
    if (n > 0 && is_program(candidate)) {
      return candidate;
    }
    path += n + (path[n] == ':');
  }
  return NULL;
}

// ---- in the child: system calls only ----
static void say(const char *what) {
  ssize_t ignored = write(STDERR_FILENO, what, strlen(what));
  (void)ignored;
}

static _Noreturn void give_up(int status, const char *what) {
  say(what);
  _exit(status);
}

static void close_from(int first) {
  if (close_range((unsigned)first, ~0U, 0) != 0) {  // kernels before 5.9
    for (int fd = first; fd < CHILD_FILES_MAX; fd++) {
      (void)close(fd);
    }
  }
}

static void limit(int resource, rlim_t wanted) {
  struct rlimit now;
  if (getrlimit(resource, &now) == 0) {
    rlim_t value = now.rlim_max == RLIM_INFINITY || wanted < now.rlim_max ? wanted : now.rlim_max;
    (void)setrlimit(resource, &(struct rlimit){.rlim_cur = value, .rlim_max = value});
  }
}

static void reset_signals(void) {
  sigset_t none;
  for (int s = 1; s < NSIG; s++) {
    (void)signal(s, SIG_DFL);
  }
  (void)sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool become(const process_identity *who) {
  if (!who->change) {
    return true;
  }
  return setgroups(1, &who->gid) == 0 && setresgid(who->gid, who->gid, who->gid) == 0 &&
         setresuid(who->uid, who->uid, who->uid) == 0;
}

static _Noreturn void run_child(const process_launch *l, int gate) {
  // First of all let go of everything inherited: our sockets and locks, and other children's gates. The gate becomes 0.
  if (dup2(gate, 0) != 0) {
    _exit(EXIT_NOT_RELEASED);
  }
  close_from(1);
  (void)setsid();
  int log = open(l->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);  // becomes 1
  if (log != 1 || dup2(1, 2) != 2) {
    _exit(EXIT_NOT_RELEASED);
  }
  char go = 0;
  ssize_t n = 0;
  do {
    n = read(0, &go, 1);
  } while (n < 0 && errno == EINTR);
  if (n != 1) {
    _exit(EXIT_NOT_RELEASED);  // whoever forked us died before our record was durable: nobody would ever know of us
  }
  int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, 0) != 0 || (nothing != 0 && close(nothing) != 0)) {
    give_up(EXIT_CANNOT_EXECUTE, "cannot open /dev/null\n");
  }
  reset_signals();
  (void)umask(0077);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, CHILD_FILES_MAX);
  limit(RLIMIT_NPROC, CHILD_PROCESSES_MAX);
  if (chdir(l->home) != 0) {
    give_up(EXIT_CANNOT_EXECUTE, "cannot enter the private directory\n");
  }
  if (!become(&l->who)) {
    give_up(EXIT_CANNOT_EXECUTE, "cannot become the unprivileged user\n");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    give_up(EXIT_CANNOT_EXECUTE, "cannot give up gaining privileges\n");
  }
  (void)execve(l->file, l->argv, l->envp);
  say("cannot execute ");
  say(l->file);
  give_up(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE,
          errno == EACCES ? ": permission denied (may the replicas' user reach it?)\n" : "\n");
}

// ---- in the parent ----
eco_status process_spawn(const process_launch *launch, process_child *out) {
  int gate[2];
  sigset_t all;
  sigset_t before;
  if (pipe2(gate, O_CLOEXEC) != 0) {
    return eco_error(ECO_INTERNAL, "cannot make a pipe: %s", strerror(errno));
  }
  // No handler of ours may run in the child before it has put the default ones in place.
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = fork();
  if (pid == 0) {
    run_child(launch, gate[0]);
  }
  int fork_errno = errno;
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  (void)close(gate[0]);
  if (pid < 0) {
    (void)close(gate[1]);
    return eco_error(ECO_INTERNAL, "cannot fork: %s", strerror(fork_errno));
  }
  *out = (process_child){.pid = pid, .pidfd = pidfd_open(pid, 0), .gate_fd = gate[1]};
  if (out->pidfd < 0) {
    int pidfd_errno = errno;
    process_abandon(out);
    return eco_error(ECO_INTERNAL, "cannot open a pidfd (Linux 5.4 or later is needed): %s", strerror(pidfd_errno));
  }
  return eco_success();
}

bool process_release(process_child *child) {
  ssize_t n = 0;
  do {
    n = write(child->gate_fd, "g", 1);  // SIGPIPE is ignored by every service
  } while (n < 0 && errno == EINTR);
  (void)close(child->gate_fd);
  child->gate_fd = -1;
  return n == 1;
}

void process_abandon(process_child *child) {
  (void)close(child->gate_fd);
  while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
  }
  if (child->pidfd >= 0) {
    (void)close(child->pidfd);
  }
}
