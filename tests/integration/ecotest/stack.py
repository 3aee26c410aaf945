"""One set of services on one bus and one database, with a clock that the test may move."""

import hashlib
import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
import uuid

import sanitized
from ecotest import pb
from ecotest.nats import Nats, NoResponders
from ecotest.protos import ROOT
from polling import poll
from ports import free_port

ALL = ("gateway", "registry", "scheduler", "billing", "health", "probe")
BUILD = os.environ.get("ECOLINK_BUILD_DIR", os.path.join(ROOT, "build", "dev"))


class RpcError(Exception):
    """A failure that the server answered: code is a word of the error table."""

    def __init__(self, status):
        super().__init__(f"{status.code}: {status.message} (param {status.param!r})")
        self.code, self.message, self.param = status.code, status.message, status.param


class NoAnswer(Exception):
    """Nobody answered the call: no service listens, or it died on the way."""


def eventually(check, timeout=10, every=0.02, what=""):
    """Calls `check` until it returns something true and returns that; fails after `timeout` seconds."""
    came, value = poll(check, timeout, every)
    if not came:
        raise AssertionError(f"did not happen within {timeout} s: {what or check}")
    return value


class Service:
    """A running binary. `stop` drains it, `kill` is kill -9; `logs` is what it wrote so far."""

    def __init__(self, name, process, admin_port, log_path):
        self.name, self.process, self.admin_port, self._log_path = name, process, admin_port, log_path

    def get(self, path):
        """(status, body) of the admin port; (0, "") when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=2) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def logs(self):
        with open(self._log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_ready(self, timeout=30):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.logs()[-4000:]}")
            return self.get("/readyz")[0] == 200
        try:
            eventually(ready, timeout)
        except AssertionError as e:
            raise AssertionError(f"{self.name} is not ready: {self.get('/readyz')}\n{self.logs()[-4000:]}") from e

    def wait_exit(self, timeout=15):
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        """SIGTERM; asserts a clean end (under a sanitizer that includes: no leak)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(40)
            assert code == 0, f"{self.name} ended with {code}:\n{self.logs()[-4000:]}"


class Stack:
    def __init__(self, pg):
        self.pg = pg
        self.dir = tempfile.mkdtemp(prefix="eco-it-")
        self.database = pg.new_database()
        self.services = []
        self._migrated = set()
        self._fakes = []
        self._password = secrets.token_hex(8)
        self.clock_file = os.path.join(self.dir, "clock")
        self.set_clock(0)

    # ---- life ----
    def __enter__(self):
        self.nats_port = free_port()
        self._start_nats()
        return self

    def __exit__(self, *_):
        for s in self.services:
            if s.process.poll() is None:
                s.kill()
        self.nats.close()
        self._nats_process.kill()
        self._nats_process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)

    def binary(self, name):
        return os.path.join(BUILD, "bin", "ecolink-" + name)

    def _nats_config(self):
        users = [{"user": "tests", "password": self._password}]
        for name in ALL:
            if os.path.exists(self.binary(name)):
                rights = subprocess.run([self.binary(name), "nats-permissions"], check=True, capture_output=True).stdout
                users.append({"user": name, "password": self._password, "permissions": json.loads(rights)})
        path = os.path.join(self.dir, "nats.conf")
        jetstream = {"store_dir": self.dir + "/js", **({"sync_interval": "always"} if self.pg.durable else {})}
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"host": "127.0.0.1", "port": self.nats_port, "jetstream": jetstream,
                       "authorization": {"users": users}}, f)
        return path

    def _start_nats(self):
        log = open(self.dir + "/nats.log", "ab")
        self._nats_process = subprocess.Popen(["nats-server", "-c", self._nats_config()], stdout=log, stderr=log)
        log.close()

        def connected():
            try:
                return Nats(self.nats_port, "tests", self._password)
            except OSError:
                return None
        self.nats = eventually(connected, what="nats-server answers")

    def stop_nats(self, lose_files=False):
        self.nats.close()
        self._nats_process.kill()
        self._nats_process.wait(10)
        if lose_files:
            shutil.rmtree(self.dir + "/js", ignore_errors=True)

    def start_nats(self):
        self._start_nats()

    # ---- time ----
    def set_clock(self, offset_s):
        """Business time of every service = real time + offset_s."""
        self.clock_offset_s = offset_s
        temporary = self.clock_file + ".new"
        with open(temporary, "w", encoding="utf-8") as f:
            f.write(f"{offset_s}\n")
        os.rename(temporary, self.clock_file)
        time.sleep(0.05)  # act: services look at the file no more than every 20 ms

    def advance(self, seconds):
        self.set_clock(self.clock_offset_s + seconds)

    def now_us(self):
        return int((time.time() + self.clock_offset_s) * 1_000_000)

    # ---- services ----
    def environment(self, name, **settings):
        prefix = f"ECOLINK_{name.upper()}_"
        env = {"PATH": os.environ["PATH"], "ECOLINK_CLOCK_OFFSET_FILE": self.clock_file,
               prefix + "NATS_URL": f"nats://127.0.0.1:{self.nats_port}", prefix + "NATS_USER": name,
               prefix + "NATS_PASSWORD": self._password}
        for passed in ("ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if passed in os.environ:
                env[passed] = os.environ[passed]
        if name != "gateway":
            env[prefix + "DATABASE_URL"] = self.pg.url(name + "_app", self.database)
        env.update({prefix + k: str(v) for k, v in settings.items()})
        return {k: v for k, v in env.items() if settings.get(k.removeprefix(prefix), "") is not None}  # None: not set

    def migrate(self, name):
        if name in self._migrated or name == "gateway":
            return
        env = self.environment(name, MIGRATE_DATABASE_URL=self.pg.url(name + "_owner", self.database))
        done = subprocess.run([self.binary(name), "migrate"], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{name} migrate: {done.stderr}"
        self._migrated.add(name)

    def start(self, name, crash_point=None, wait=True, **settings):
        """Starts ecolink-<name> (migrated first) and waits until it is ready (with a crash point: or dead)."""
        self.migrate(name)
        port = free_port()
        defaults = {"ADMIN_LISTEN": f"127.0.0.1:{port}", "DRAIN_S": 2}
        if name != "gateway":
            defaults["LEASE_TTL_MS"] = 1000  # a killed leader is replaced soon
        env = self.environment(name, **{**defaults, **settings})
        if crash_point:
            env["ECOLINK_CRASH_POINT"] = crash_point
        log_path = os.path.join(self.dir, f"{name}-{len(self.services)}.log")
        with open(log_path, "wb") as log:
            process = subprocess.Popen([self.binary(name)], env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        service = Service(name, process, port, log_path)
        self.services.append(service)  # before anything can fail: what runs is ended with the module
        sanitized.check_process(process.pid, BUILD)
        if wait and crash_point:
            eventually(lambda: process.poll() is not None or service.get("/readyz")[0] == 200, 30, what="ready or dead")
        elif wait:
            service.wait_ready()
        return service

    def sql(self, text, *params):
        """Rows of a statement, as the superuser, in this stack's database."""
        with self.pg.connect(self.database) as c, c.cursor() as cur:
            cur.execute(text, params or None)
            return cur.fetchall() if cur.description else []

    # ---- RPC ----
    def operator(self, operator_id="op_tests"):
        return pb.common.Caller(role=pb.common.ROLE_OPERATOR, operator_id=operator_id, key_id="key_tests")

    def rpc(self, method, request, reply=None, caller=None, idempotency_key="", http_method="POST", http_path="", timeout=10):
        """Calls `<service>.<Method>`; `reply` is the answer's class. Raises RpcError for a failure that was answered,
        NoAnswer when there was none."""
        body = request.SerializeToString(deterministic=True)
        context = pb.common.RequestContext(
            request_id=uuid.uuid4().hex, deadline_us=int((time.time() + timeout) * 1_000_000), caller=caller,
            http_method=http_method, http_path=http_path or "/" + method)
        if idempotency_key:
            context.idempotency_key = idempotency_key
            context.idempotency_hash = hashlib.sha256(body).digest()
        envelope = pb.common.RpcRequest(context=context, body=body)
        answer = pb.common.RpcReply()
        try:
            data = self.nats.request("ecolink.rpc." + method, envelope.SerializeToString(), timeout)
        except (queue.Empty, NoResponders) as e:
            raise NoAnswer(method) from e
        answer.ParseFromString(data)
        if answer.status.code:
            raise RpcError(answer.status)
        out = (reply or pb.common.Empty)()
        out.ParseFromString(answer.body)
        return out

    def serve(self, service, handlers):
        """Stands in for another service: {"ReadMeter": (RequestClass, fn)}; fn(request) -> message, or raises RpcError-like
        with .code. Returns a function that ends it."""
        sub = self.nats.subscribe(f"ecolink.rpc.{service}.*")
        ended = threading.Event()

        def loop():
            while not ended.is_set():
                try:
                    message = sub.next(0.2)
                except Exception:  # queue.Empty: look whether to end
                    continue
                self.nats.publish(message.reply, _answer(handlers, message))
        thread = threading.Thread(target=loop, daemon=True)
        thread.start()

        def end():
            ended.set()
            thread.join(5)
            sub.close()
        return end

    # ---- events ----
    def publish_event(self, owner, kind, entity_id, version, state, event_id=None):
        """Publishes `state` as owner's event `kind` ("instance.stopped") to the stream."""
        event = pb.common.Event(id=event_id or uuid.uuid4().hex, type=kind, entity_id=entity_id, entity_version=version,
                                occurred_at_us=self.now_us(), state=state.SerializeToString())
        self.nats.js_publish(f"ecolink.evt.{owner}.{kind}", event.SerializeToString())
        return event.id

    def events(self, subject="ecolink.evt.>"):
        """A subscription; read it with next_event."""
        return self.nats.subscribe(subject)


def next_event(subscription, timeout=5):
    event = pb.common.Event()
    event.ParseFromString(subscription.next(timeout).data)
    return event


def _answer(handlers, message):
    envelope = pb.common.RpcRequest()
    envelope.ParseFromString(message.data)
    reply = pb.common.RpcReply(status=pb.common.Status())
    row = handlers.get(message.subject.rsplit(".", 1)[1])
    if row is None:
        reply.status.code, reply.status.message = "not_found", "no such method here"
        return reply.SerializeToString()
    request = row[0]()
    request.ParseFromString(envelope.body)
    try:
        reply.body = row[1](request).SerializeToString()
    except Exception as e:  # a stand-in's refusal
        reply.status.code, reply.status.message = getattr(e, "code", "internal"), str(e)
    return reply.SerializeToString()
