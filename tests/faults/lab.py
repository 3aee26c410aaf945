"""The stack under torture: eco.stack on deploy/local/stack, and beside it what an ill-meaning operator could do to it.

Parts are started again straight from what they were started with (command, environment, user), which is several times faster than
the script. Every service looks into <state>/crash/<service> for the crash point at which to die (libcommon's crash.h). PostgreSQL's
and JetStream's files lie on small file systems of their own, so that a disk can be really full.
"""
import errno
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2
from eco.stack import SERVICES, TREE, Stack
from eco.waiting import wait

DATABASE_SERVICES = ("registry", "scheduler", "billing", "health")
PARTS = ("postgres", "nats", *SERVICES)
DISK_MB = {"nats": 96, "postgres": 400}
CYCLE_S = 120  # of business time; every rule holds for any cycle

SETTINGS = {
    "registry": {"HUB_URL": "http://127.0.0.1:9", "PIN_CHECK_MS": "500"},
    "scheduler": {"DRAIN_DEFAULT_S": "1", "METER_INTERVAL_MS": "300", "READY_INTERVAL_MS": "100"},
    "billing": {"CYCLE_S": str(CYCLE_S), "TICK_MS": "100", "RECONCILE_S": "1"},
    "health": {},
    "gateway": {},
}


def printed_crash_points(service):
    """The service's own list, of the build under test."""
    binary = pathlib.Path(os.environ.get("ECOLINK_BUILD_DIR", TREE / "build/asan")) / f"bin/ecolink-{service}"
    return sorted(subprocess.run([str(binary), "--list-crash-points"], check=True, capture_output=True, text=True).stdout.split())


class Part:
    """How a part runs: taken from /proc once, used for every later start."""

    def __init__(self, pid):
        proc = pathlib.Path(f"/proc/{pid}")
        self.command = proc.joinpath("cmdline").read_text().split("\0")[:-1]
        self.env = dict(e.split("=", 1) for e in proc.joinpath("environ").read_text().split("\0") if "=" in e)
        self.cwd = os.readlink(proc / "cwd")
        uid = proc.stat().st_uid
        self.user = {"user": uid, "group": int(proc.joinpath("status").read_text().split("Gid:")[1].split()[0]),
                     "extra_groups": []} if uid != os.geteuid() else {}


class Lab(Stack):
    def __init__(self):
        super().__init__(tempfile.mkdtemp(prefix="ecolink-faults-"))
        self.parts, self.copies, self._children, self._mounts, self.paused = {}, [], [], [], set()
        self._db = self._nats = None

    # ---- life ----
    def begin(self):
        self.state.chmod(0o711)
        (self.state / "settings").mkdir()
        (self.state / "crash").mkdir()
        for name in SERVICES:
            own = {"LEASE_TTL_MS": "1000"} if name in DATABASE_SERVICES else {}
            lines = [f"ECOLINK_{name.upper()}_{k}={v}" for k, v in (SETTINGS[name] | own | {"DRAIN_S": "2"}).items()]
            lines.append(f"ECOLINK_CRASH_POINT=@{self.state}/crash/{name}")
            (self.state / f"settings/{name}.env").write_text("\n".join(lines) + "\n")
        self.mount("nats", self.state / "nats/data")
        self.up()
        self.parts = {name: Part(self.pid(name)) for name in PARTS}
        self.psql("CREATE ROLE world LOGIN SUPERUSER PASSWORD 'world'")
        self._put_database_on_its_disk()
        return self

    def end(self):
        for pid in [c.pid for c in self.copies] + [self.pid(n) for n in self.paused if self.runs(n)]:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        for copy in self.copies:
            copy.kill()
        self.close_clients()
        try:
            self.down()
        finally:
            for path in self._mounts:
                subprocess.run(["umount", "-l", str(path)], check=False)
            if os.environ.get("ECOLINK_E2E_KEEP") != "1":
                self.remove()
            for child in self._children:
                child.wait()

    def mount(self, name, path):
        path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB[name]}m,mode=0777", "tmpfs", str(path)], check=True)
            self._mounts.append(path)

    def _put_database_on_its_disk(self):
        public = pathlib.Path((self.state / "public.path").read_text().strip())
        disk, data = public / "postgres-disk", public / "postgres/data"
        self.stop_part("postgres", signal.SIGINT)
        self.mount("postgres", disk)
        shutil.chown(disk, self.parts["postgres"].user.get("user"), self.parts["postgres"].user.get("group"))
        subprocess.run(["cp", "-a", str(data), str(disk / "data")], check=True)
        shutil.rmtree(data)
        data.symlink_to(disk / "data")
        self.start_part("postgres")
        for name in DATABASE_SERVICES:
            wait(lambda n=name: self.ready(n), f"readiness of {name}", 30)

    def disk_of(self, name):
        """The folder to fill, or None when there is no disk of its own (not root)."""
        if not self._mounts:
            return None
        return self.state / "nats/data" if name == "nats" else self._mounts[1]

    # ---- parts ----
    def stop_part(self, name, sig=signal.SIGKILL):
        """Signals one part and waits for its end. SIGKILL for PostgreSQL means its main process; backends follow by themselves."""
        if self.runs(name):
            pid = self.pid(name)
            os.kill(pid, sig)
            if name in self.paused:
                os.kill(pid, signal.SIGCONT)
            wait(lambda: not self.alive_pid(pid), f"the end of {name}", 30)
        self.paused.discard(name)

    def alive_pid(self, pid):
        self.reap()
        return self.lives(pid)

    def reap(self):
        self._children = [c for c in self._children if c.poll() is None]

    def start_part(self, name, ready=True, **settings):
        """Starts what does not run; settings (without their prefix) hold for this run alone."""
        self.reap()
        if not self.runs(name):
            env = self.parts[name].env | {f"ECOLINK_{name.upper()}_{k}": v for k, v in settings.items()}
            for attempt in range(60):
                child = self._spawn(name, env)
                self._note_start(name, child.pid)
                if name != "postgres" or self._postgres_came_up(child):
                    break
                time.sleep(0.1)  # act: its backends of before still hold its memory: there is no event to wait for
        if ready:
            self.wait_ready(name)

    def _note_start(self, name, pid):
        """What deploy/local/stack keeps of a part that it started."""
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        (self.state / f"run/.{name}.started").write_text(stat.rsplit(")", 1)[1].split()[19] + "\n")
        (self.state / f"run/{name}.pid").write_text(f"{pid}\n")

    def _spawn(self, name, env, log=None):
        part = self.parts[name]
        with open(log or self.state / f"log/{name}.log", "ab") as out:
            child = subprocess.Popen(part.command, env=env, cwd=part.cwd, stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=out, start_new_session=True, **part.user)
        self._children.append(child)
        return child

    def _postgres_came_up(self, child):
        while child.poll() is None:
            if self._connects("postgres"):
                return True
            time.sleep(0.02)  # act: between two looks at a child that may also end
        return False

    def _connects(self, name):
        return self._listens(self.ports[name.upper()])

    @staticmethod
    def _listens(port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False

    def wait_ready(self, name, seconds=40):
        if name in SERVICES:
            wait(lambda: self.ready(name), f"readiness of {name}", seconds, 0.02)
        elif name == "nats":
            wait(lambda: self._connects(name), "nats-server", seconds, 0.02)
        else:
            wait(lambda: self.sql("SELECT 1"), "PostgreSQL", seconds, 0.05)

    def pause(self, name):
        os.kill(self.pid(name), signal.SIGSTOP)
        self.paused.add(name)

    def resume(self, name):
        if name in self.paused and self.runs(name):
            os.kill(self.pid(name), signal.SIGCONT)
        self.paused.discard(name)

    def second(self, name):
        """A second copy of a service on the same database and bus (the gateway: with a listener and files of its own)."""
        from ecotest.stack import free_port
        upper = name.upper()
        env = {k: v for k, v in self.parts[name].env.items() if k != "ECOLINK_CRASH_POINT"}
        port = free_port()
        env[f"ECOLINK_{upper}_ADMIN_LISTEN"] = f"127.0.0.1:{port}"
        if name == "gateway":
            spool = pathlib.Path(tempfile.mkdtemp(prefix="spool-", dir=self.state / "gateway"))
            env |= {"ECOLINK_GATEWAY_LISTEN": f"127.0.0.1:{free_port()}", "ECOLINK_GATEWAY_SPOOL_DIR": str(spool),
                    "ECOLINK_GATEWAY_SNAPSHOT_FILE": str(spool / "snapshot"), "ECOLINK_GATEWAY_HANDOVER_SOCKET": str(spool / "handover")}
        copy = self._spawn(name, env, self.state / f"log/{name}-2.log")
        copy.service, copy.port = name, port
        self.copies.append(copy)
        return copy

    def replace_gateway(self):
        """A new process takes over the sockets of the one that runs, which ends in order when what it had is done."""
        old = self.pid("gateway")
        child = self._spawn("gateway", self.parts["gateway"].env)
        wait(lambda: not self.alive_pid(old), "the end of the gateway that was replaced", 60)
        assert child.poll() is None, f"the gateway that took over ended with {child.returncode}"
        self._note_start("gateway", child.pid)

    def end_copies(self):
        for copy in self.copies:
            # before its main function waits for signals, one ends it at once: then it was no copy yet
            wait(lambda c=copy: c.poll() is not None or self._listens(c.port), f"the start of the second {copy.service}", 60)
            if copy.poll() is None:
                copy.terminate()
        for copy in self.copies:
            assert copy.wait(40) == 0, f"the second {copy.service} ended with {copy.returncode}"
        self.copies = []

    def start_missing(self):
        self.make_room()
        for name in PARTS:
            self.start_part(name, ready=False)

    def heal(self):
        """Everything that a test broke but what it wrote: parts run and are ready, nothing is paused, disks have room."""
        for name in list(self.paused):
            self.resume(name)
        for copy in self.copies:  # of a test that failed: one that is through with them has ended them in order
            copy.kill()
        self.copies = []
        for name in SERVICES:
            self.disarm(name)
        self.start_missing()
        for name in PARTS:
            self.wait_ready(name)
        wait(lambda: self.admin.get("/regions").status_code == 200, "the management API", 30, 0.02)

    # ---- crash points ----
    def arm(self, name, point):
        file = self.state / f"crash/{name}"
        new = file.with_suffix(".new")
        new.write_text(point + "\n")
        new.replace(file)

    def disarm(self, name):
        (self.state / f"crash/{name}").unlink(missing_ok=True)

    # ---- disks ----
    def fill(self, name):
        """Leaves no byte free under nats or postgres."""
        with open(self.disk_of(name) / "filler", "wb", buffering=0) as f:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        f.write(b"\0" * size)
                except OSError as e:
                    assert e.errno == errno.ENOSPC

    def make_room(self):
        """Removes what fill wrote. JetStream switches itself off on a full disk: it comes back with a restart."""
        for name in DISK_MB:
            disk = self.disk_of(name)
            if disk is not None and (disk / "filler").exists():
                (disk / "filler").unlink()
                if name == "nats":
                    self.stop_part("nats")

    def lose_jetstream(self):
        """nats-server dies and all of its files are gone."""
        self.stop_part("nats")
        for path in (self.state / "nats/data").iterdir():
            if path.name != "filler":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start_part("nats")

    def database_files(self):
        return (pathlib.Path((self.state / "public.path").read_text().strip()) / "postgres/data").resolve()

    def copy_database(self, to):
        """While PostgreSQL is down: what a backup of its files is."""
        subprocess.run(["cp", "-a", str(self.database_files()), str(to)], check=True)

    # ---- looking inside ----
    def database(self):
        """A new connection of the world's own role, which no service has."""
        connection = psycopg2.connect(host="127.0.0.1", port=self.ports["POSTGRES"], user="world", password="world",
                                      dbname="ecolink", connect_timeout=5)
        connection.autocommit = True
        return connection

    def sql(self, text, params=None):
        for attempt in (1, 2):
            try:
                if self._db is None or self._db.closed:
                    self._db = self.database()
                with self._db.cursor() as cursor:
                    cursor.execute(text, params)
                    return cursor.fetchall() if cursor.description else []
            except psycopg2.OperationalError as e:
                self._db = None
                if attempt == 2:
                    raise OSError(str(e)) from e
            except psycopg2.Error:
                self._db.close()  # whatever transaction it was in
                raise
        return None

    @property
    def nats(self):
        """A connection of the user `admin`, which no service uses; made anew after NATS died."""
        from ecotest.nats import Nats
        if self._nats is None or not self._nats._thread.is_alive():
            password = (self.state / "secrets/nats_admin").read_text()
            self._nats = Nats(self.ports["NATS"], "admin", password)
        return self._nats

    def close_clients(self):
        if self._db is not None:
            self._db.close()
        if self._nats is not None:
            self._nats.close()
        self._db = self._nats = None

    def sanitizer_reports(self):
        return [p.name for p in (self.state / "sanitizer").glob("*") if p.stat().st_size]

    def complaints(self, name, lines=12):
        found = [line for line in self.log(name).splitlines()
                 if '"level":"error"' in line or '"level":"warn"' in line or not line.startswith("{")]
        return "\n".join(found[-lines:])
