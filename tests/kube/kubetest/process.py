"""Processes known by a file each, <run>/<name>.pid: "pid start-time". A number that another process got since is not ours."""
import contextlib
import os
import signal
import subprocess

from polling import poll


def _start_time(pid):
    """Clock ticks since boot at which pid started; None when there is no such process (a zombie is none)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


class Process:
    def __init__(self, run_dir, log_dir, name):
        self.name = name
        self.pid_file = os.path.join(run_dir, f"{name}.pid")
        self.log_file = os.path.join(log_dir, f"{name}.log")

    def pid(self):
        """The pid while the process lives, else None."""
        try:
            with open(self.pid_file, encoding="ascii") as f:
                pid, started = f.read().split()
        except (OSError, ValueError):
            return None
        return int(pid) if _start_time(pid) == started else None

    def start(self, argv, env=None, cwd=None):
        """Starts argv as leader of a session of its own; its output goes to the log."""
        if self.pid():
            return
        os.makedirs(os.path.dirname(self.pid_file), exist_ok=True)
        os.makedirs(os.path.dirname(self.log_file), exist_ok=True)
        with open(self.log_file, "ab") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=cwd,
                                     start_new_session=True)
        started = _start_time(child.pid)
        if started is None:
            raise RuntimeError(f"{self.name} ended at once: {self.tail(3)}")
        temporary = f"{self.pid_file}.new"
        with open(temporary, "w", encoding="ascii") as f:
            f.write(f"{child.pid} {started}\n")
        os.replace(temporary, self.pid_file)
        # the parent is short-lived or waits by pid file; a child that ends must not stay as a zombie of a long-lived one
        self.child = child

    def send(self, number, group=False):
        pid = self.pid()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(pid, number)
        return bool(pid)

    def stop(self, patience_s=10.0, how=signal.SIGTERM):
        """Ends it: `how`, then SIGKILL to its whole group. True when it was running."""
        pid = self.pid()
        if pid is None:
            with contextlib.suppress(OSError):
                os.unlink(self.pid_file)
            return False
        self.send(signal.SIGCONT)
        self.send(how)
        poll(lambda: not self._alive(), patience_s, 0.02)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        poll(lambda: not self._alive(), 5, 0.02)
        with contextlib.suppress(OSError):
            os.unlink(self.pid_file)
        return True

    def _alive(self):
        if getattr(self, "child", None):
            self.child.poll()
        return self.pid() is not None

    def tail(self, lines=5):
        try:
            with open(self.log_file, encoding="utf-8", errors="replace") as f:
                return " | ".join(line.strip() for line in f.readlines()[-lines:])
        except OSError:
            return "(no log)"
