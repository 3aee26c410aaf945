"""A private PostgreSQL cluster on a Unix socket. It refuses root, so root runs it as user postgres."""

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile
import time

import psycopg2

SERVICES = ("registry", "scheduler", "billing", "health", "probe")


def _bin(name):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name), key=lambda p: int(p.split("/")[4]))
    return found[-1] if found else name


class Postgres:
    """durable: commits wait for the disk, as an installation's do; tests need not."""

    def __init__(self, durable=False):
        self.durable = durable
        self.dir = tempfile.mkdtemp(prefix="eco-pg-")
        os.chmod(self.dir, 0o755)
        self._as = []
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres", "postgres")
            self._as = ["runuser", "-u", "postgres", "--"]
        self._databases = 0

    def _ctl(self, *args):
        subprocess.run(
            self._as + [_bin("pg_ctl"), "-D", self.dir + "/data", "-s", *args],
            check=True, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )

    def start(self):
        options = f"-k {self.dir} -c listen_addresses= -c fsync={'on' if self.durable else 'off'} -c max_connections=200 -c shared_buffers=32MB"
        self._ctl("-w", "-l", self.dir + "/log", "-o", options, "start")

    def stop(self, mode="fast"):
        self._ctl("-w", "-m", mode, "stop")

    def __enter__(self):
        subprocess.run(
            self._as + [_bin("initdb"), "-D", self.dir + "/data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                        "--locale=C", "--no-sync"],
            check=True, cwd="/", stdout=subprocess.DEVNULL,
        )
        self.start()
        with self.connect("postgres") as c, c.cursor() as cur:
            for s in SERVICES:
                cur.execute(f"CREATE ROLE {s}_owner LOGIN; CREATE ROLE {s}_app LOGIN")
        return self

    def __exit__(self, *_):
        self.stop("immediate")
        shutil.rmtree(self.dir, ignore_errors=True)

    def url(self, role, database):
        return f"host={self.dir} user={role} dbname={database}"

    @contextlib.contextmanager
    def connect(self, database, role="postgres"):
        """An autocommit connection, closed at the end of the `with`."""
        connection = psycopg2.connect(self.url(role, database))
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def new_database(self):
        """A database with one empty schema per service, as the local stack makes it. Returns its name."""
        self._databases += 1
        name = f"ecolink_{self._databases}"
        with self.connect("postgres") as c, c.cursor() as cur:
            cur.execute(f"CREATE DATABASE {name}")
        with self.connect(name) as c, c.cursor() as cur:
            cur.execute("REVOKE CREATE ON SCHEMA public FROM public")
            for s in SERVICES:
                cur.execute(f"CREATE SCHEMA {s} AUTHORIZATION {s}_owner; GRANT USAGE ON SCHEMA {s} TO {s}_app")
        return name

    def restart(self):
        """An immediate stop (as a crash) and a start."""
        self.stop("immediate")
        time.sleep(0.2)  # act: away for a moment
        self.start()
