"""One private stack: started by deploy/local/stack with its own folder and ports, on the sanitizer build."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import requests

from .client import Client
from .waiting import wait

TREE = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TREE / "tests/shared"))

import ports  # noqa: E402
import sanitized  # noqa: E402

SERVICES = ("registry", "scheduler", "billing", "health", "gateway")

# Everything periodic is faster than in production, so that tests wait less. No rule depends on it.
FASTER = {
    "ECOLINK_GATEWAY_PUBLIC_RATE_LIMIT": "0",  # all tests share one address
    "ECOLINK_GATEWAY_REFUSAL_LINES": "10000000",  # each refusal is looked for in the log
    "ECOLINK_SCHEDULER_READY_INTERVAL_MS": "200",
    "ECOLINK_SCHEDULER_METER_INTERVAL_MS": "500",
    "ECOLINK_BILLING_TICK_MS": "200",
    "ECOLINK_BILLING_NOTICE_TICK_MS": "300",
    "ECOLINK_BILLING_RECONCILE_S": "2",
    "ECOLINK_HEALTH_PROBE_INTERVAL_MS": "400",
    "ECOLINK_HEALTH_PROBE_TIMEOUT_MS": "400",
}

REGIONS = ("eu-north", "us-east", "ap-south")
SEED = {
    "regions": [{"name": r, "driver": "process",
                 "gpus": [{"gpu_type": "cpu", "total": 400}, {"gpu_type": "l40s", "total": 200},
                          {"gpu_type": "scarce", "total": 1}]} for r in REGIONS],
    "gpu_types": [
        {"name": "cpu", "description": "cheap", "memory_gb": 4, "hourly_rate": "0.10"},
        {"name": "l40s", "description": "for the sums", "memory_gb": 48, "hourly_rate": "1.60"},
        {"name": "scarce", "description": "one a region", "memory_gb": 80, "hourly_rate": "4.00"},
    ],
}


class Replica:
    """A replica seen from outside: its process, and the stand-in's own controls."""

    def __init__(self, name, pid):
        self.name, self.pid = name, pid
        env = dict(line.split("=", 1) for line in
                   pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line)
        self.port = int(env["ECOLINK_PORT"])
        self.url = f"http://127.0.0.1:{self.port}"

    def set(self, **options):
        answer = requests.post(f"{self.url}/_simulator/set", json=options, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def state(self):
        return requests.get(f"{self.url}/_simulator/state", timeout=5).json()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


class Stack:
    def __init__(self, state):
        self.state = pathlib.Path(state)
        self.build = pathlib.Path(os.environ.get("ECOLINK_BUILD_DIR", TREE / "build/asan")).resolve()
        self.clock_file = self.state / "clock"
        self.offset_s = 0
        self.url = self.admin_key = None
        self.ports = {}

    # ---- life ----
    def _env(self):
        kept = {k: v for k, v in os.environ.items()
                if k in ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL") or k.endswith("SAN_OPTIONS")}
        return kept | FASTER | {
            "ECOLINK_STATE_DIR": str(self.state), "ECOLINK_BUILD_DIR": str(self.build), "ECOLINK_LOCAL_SEED": "0",
            "ECOLINK_CLOCK_OFFSET_FILE": str(self.clock_file), "ECOLINK_LOCAL_STOP_S": "15", "ECOLINK_PORT_RANGE": ports.stack_range(),
            "ECOLINK_SCHEDULER_PROCESS_PORTS": ports.replica_range(),
        }

    def run(self, *args, seconds=180):
        done = subprocess.run([str(TREE / "deploy/local/stack"), *args], env=self._env(), timeout=seconds,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"stack {' '.join(args)} failed:\n{done.stdout}"
        return done.stdout

    def up(self):
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o711)
        self.write_clock(0)
        (self.state / "settings").mkdir(exist_ok=True)
        (self.state / "settings/seed.json").write_text(json.dumps(SEED))
        self.run("up")
        self.check_programs()
        for line in (self.state / "ports.env").read_text().splitlines():
            name, port = line.split("=")
            self.ports[name.removeprefix("PORT_")] = int(port)
        for line in (self.state / "ecolink.env").read_text().splitlines():
            name, value = line.removeprefix("export ").split("=", 1)
            self.url = value if name == "ECOLINK_URL" else self.url
            self.admin_key = value if name == "ECOLINK_ADMIN_KEY" else self.admin_key
        self.admin = Client(self.url, self.admin_key)
        wait(lambda: self.admin.get("/regions").status_code == 200, "the operator's key at the gateway")
        wait(lambda: len(self.admin.get("/regions").json()["data"]) == len(REGIONS), "the seeded regions")

    def down(self):
        self.check_programs()
        self.run("down", seconds=120)

    def check_programs(self):
        """Each service that lives runs the sanitizer build's program, whoever started it."""
        for name in SERVICES:
            if self.runs(name):
                sanitized.check_process(self.pid(name), *self.builds())

    def builds(self):
        """Whose programs may run here."""
        return (self.build,)

    def remove(self):
        public = (self.state / "public.path").read_text().strip() if (self.state / "public.path").exists() else None
        if public and public.startswith("/var/lib/ecolink-local/"):
            shutil.rmtree(public, ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)

    # ---- parts ----
    def pid(self, name):
        return int((self.state / f"run/{name}.pid").read_text())

    def kill(self, name):
        """SIGKILL, and wait until it is gone. PostgreSQL's and NATS' pids are their main process."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait(lambda: not self.lives(pid), f"the end of {name}")

    @staticmethod
    def lives(pid):
        """Until the last thread is gone: the first one is a zombie as soon as it has ended, the others still hold sockets then."""
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return False
        return stat[0] not in "ZX" or int(stat[17]) > 1

    def start(self, name, **settings):
        """Starts one part; settings with their full names hold for this run of it alone."""
        file = self.state / f"settings/{name}.env"
        if settings:
            file.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        try:
            self.run("start", name)
        finally:
            if settings:
                file.unlink()
        self.check_programs()

    def stop(self, name):
        self.run("stop", name)

    def ready(self, name):
        try:
            return requests.get(f"http://127.0.0.1:{self.ports[name.upper() + '_ADMIN']}/readyz", timeout=2).status_code == 200
        except OSError:
            return False

    def runs(self, name):
        try:
            return self.lives(self.pid(name))
        except (OSError, ValueError):
            return False

    def heal(self):
        """Starts what a test left down."""
        for name in ("postgres", "nats", *SERVICES):
            if not self.runs(name):
                self.start(name)
        for name in SERVICES:
            wait(lambda n=name: self.ready(n), f"readiness of {name}", 30)
        wait(lambda: self.admin.get("/regions").status_code == 200, "the management API", 30)

    def log(self, name):
        return (self.state / f"log/{name}.log").read_text(errors="replace")

    def replicas(self, instance):
        found = []
        for file in sorted((self.state / "run/replicas").glob(f"{instance}-*.pid")):
            try:
                found.append(Replica(file.stem, int(file.read_text())))
            except (OSError, ValueError, KeyError):
                continue  # it ended between two looks
        return found

    def psql(self, sql):
        return self.run("psql", "-Atc", sql).strip()

    # ---- business time ----
    def write_clock(self, seconds):
        tmp = self.clock_file.with_suffix(".new")
        tmp.write_text(f"{seconds}\n")
        tmp.chmod(0o644)
        tmp.replace(self.clock_file)

    def advance(self, seconds):
        """Moves the business clock of all services forward, never back."""
        self.offset_s += int(seconds)
        self.write_clock(self.offset_s)
        time.sleep(0.03)  # act: services look at the file no more than every 20 ms

    def now_us(self):
        return int((time.time() + self.offset_s) * 1_000_000)

    def wait_proved(self, seconds=0):
        """Waits until every region's watermark is `seconds` past now: uptime that was never observed is free."""
        goal = self.now_us() + seconds * 1_000_000
        wait(lambda: int(self.psql("SELECT min(observed_until_us) FROM scheduler.regions")) >= goal, "proof of uptime")

    # ---- tenants ----
    def account(self, balance="1000.00", name="tenant"):
        created = self.admin.ok("POST", "/admin/accounts", 201, json={"name": name, "owner_email": f"{name}@example.com"})
        account = created["account"]["id"]
        if balance is not None:
            self.topup(account, balance)
        first = Client(self.url, created["api_key"]["key"])
        wait(lambda: first.get("/billing/balance").status_code == 200, "the new key at the gateway and its wallet")
        # Tests ask often: an owner's key with room. The first one keeps the default limit.
        made = first.ok("POST", "/api-keys", 201, json={"name": "roomy", "role": "owner", "rate_limit_per_minute": 100000})
        client = Client(self.url, made["key"])
        client.account_id, client.key_id, client.first = account, made["id"], first
        wait(lambda: client.get("/billing/balance").status_code == 200, "the new key at the gateway")
        return client

    def topup(self, account, amount):
        # Billing opens the wallet when it hears of the account: for a moment it may not know it.
        wait(lambda: self.admin.post(f"/admin/accounts/{account}/topups",
                                     json={"amount": amount, "description": "test"}).status_code == 201, "the top-up")
