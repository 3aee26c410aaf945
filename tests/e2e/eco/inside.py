"""The stack from the inside: its bus users, its database roles, its services' tables, and RPC without the gateway.

    bus = inside.user("billing")            # a NATS connection with that user's password
    for s in inside.handlers.values(): ...  # what each service serves, calls, consumes: printed by the binaries themselves
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.parse

import psycopg2

TREE = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TREE / "tests/integration"))

from ecotest import protos  # noqa: E402

_generated = tempfile.TemporaryDirectory(prefix="eco-protos-")
protos.generate(_generated.name)

from ecotest import pb  # noqa: E402
from ecotest.nats import Nats, NoResponders  # noqa: E402, F401
from ecotest.stack import RpcError, Stack as IntegrationStack  # noqa: E402, F401

SERVICES = ("registry", "scheduler", "billing", "health", "gateway")
DATABASE = ("registry", "scheduler", "billing", "health")


class Inside:
    def __init__(self, stack):
        self.stack = stack
        self.handlers = {s: json.loads(self._print(s, "handlers")) for s in SERVICES}
        self.permissions = {s: json.loads(self._print(s, "nats-permissions")) for s in SERVICES}

    def _print(self, service, command):
        return subprocess.run([self.stack.build / f"bin/ecolink-{service}", command], check=True, capture_output=True, text=True,
                              timeout=30).stdout

    def secret(self, name):
        return (self.stack.state / "secrets" / name).read_text().strip()

    # ---- bus ----
    def user(self, name):
        return Nats(self.stack.ports["NATS"], name, self.secret(f"nats_{name}"), inbox=f"_INBOX_{name}")

    def rpc(self, bus, method, request, reply, caller=None, **more):
        """Calls over the bus with a caller of the test's choosing; RpcError when refused."""
        self_ = type("Call", (), {"nats": bus})()
        return IntegrationStack.rpc(self_, method, request, reply, caller=caller, **more)

    # ---- database ----
    def url(self, role, database="ecolink"):
        password = urllib.parse.quote(self.secret(f"pg_{role}"))
        return f"postgresql://{role}:{password}@127.0.0.1:{self.stack.ports['POSTGRES']}/{database}"

    def dump(self, service):
        """The service's schema and rows as text, by pg_dump."""
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), key=lambda p: int(p.parts[4]))
        host = ["-h", "127.0.0.1", "-p", str(self.stack.ports["POSTGRES"]), "-U", f"{service}_owner", "-d", "ecolink"]
        return subprocess.run([str(programs[-1]), *host, "-n", service], check=True, capture_output=True, text=True, timeout=120,
                              env={"PGPASSWORD": self.secret(f"pg_{service}_owner"), "PATH": "/usr/bin"}).stdout

    def database(self, role, database="ecolink"):
        connection = psycopg2.connect(self.url(role, database))
        connection.autocommit = True
        return connection


__all__ = ["DATABASE", "Inside", "Nats", "NoResponders", "RpcError", "SERVICES", "TREE", "pb"]
