"""The real gateway binary in front of scripted raw-socket engines. Standard library only.

An Engine runs one script per connection: a function that gets the connection and the requests read so far, and writes raw
bytes. A Gateway is started from a snapshot file (no NATS is needed) and talked to over raw sockets, so that every byte of
both sides is the test's own.
"""
import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time

import sanitized
from polling import poll
from ports import free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("ECOLINK_BUILD_DIR", ROOT / "build" / "dev"))
PLAIN = BUILD / "tests/ecolink-gateway-plain"  # without sanitizers, as a release has it: for what they would hide
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def make_key(n):
    return "eco_" + "".join(ALPHABET[(n * 7 + i * 13) % 32] for i in range(52))


KEY = make_key(1)
OTHER_KEY = make_key(2)
REVOKED_KEY = make_key(3)
EXPIRED_KEY = make_key(4)
OPERATOR_KEY = make_key(5)
LIMITED_KEY = make_key(6)
UNKNOWN_KEY = make_key(7)
OWNER_KEY = make_key(8)


class Request:
    def __init__(self, line, headers, body, raw_head):
        self.line, self.headers, self.body, self.raw_head = line, headers, body, raw_head

    def all(self, name):
        return [v for k, v in self.headers if k == name]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None


class Conn:
    """One connection with buffered reading."""

    def __init__(self, sock):
        self.sock = sock
        self.buf = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buf += data

    def until(self, mark):
        while mark not in self.buf:
            self.more()
        at = self.buf.index(mark) + len(mark)
        out, self.buf = self.buf[:at], self.buf[at:]
        return out

    def exactly(self, n):
        pieces, have = [self.buf], len(self.buf)
        while have < n:  # joined once: bodies of megabytes come in many pieces
            data = self.sock.recv(1 << 18)
            if not data:
                raise EOFError
            pieces.append(data)
            have += len(data)
        whole = b"".join(pieces)
        out, self.buf = whole[:n], whole[n:]
        return out

    def rest(self):
        try:
            while True:
                self.more()
        except (EOFError, ConnectionError):
            pass
        out, self.buf = self.buf, b""
        return out

    def chunk(self):
        size = int(self.until(b"\r\n").split(b";")[0], 16)
        data = self.exactly(size)
        self.exactly(2)
        return data

    def chunks(self):
        out = []
        while data := self.chunk():
            out.append(data)
        return b"".join(out)

    def head(self):
        raw = self.until(b"\r\n\r\n")
        lines = raw.decode("latin-1").split("\r\n")
        headers = []
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                headers.append((name.lower(), value.strip()))
        return lines[0], headers, raw

    def message(self, request):
        line, headers, raw = self.head()
        found = dict(headers)
        if found.get("transfer-encoding") == "chunked":
            body = self.chunks()
        elif "content-length" in found:
            body = self.exactly(int(found["content-length"]))
        elif request:
            body = b""
        else:
            status = int(line.split()[1])
            body = b"" if status in (100, 101, 204, 304) else self.rest()
        return Request(line, headers, body, raw)

    def request(self):
        return self.message(True)

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


def answer(body=b'{"ok":true}', status="200 OK", extra="", content_type="application/json"):
    if isinstance(body, str):
        body = body.encode()
    return (f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n").encode() + body


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n" % len(data) + data + b"\r\n"


def event(obj):
    return b"data: " + (obj if isinstance(obj, bytes) else json.dumps(obj).encode()) + b"\n\n"


ROLE = event({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})


def delta(text):
    return event({"choices": [{"delta": {"content": text}, "finish_reason": None}]})


class Engine:
    """`script(conn, request)` is called for each request of each connection; it may raise to end the connection."""

    def __init__(self, script=None):
        self.script = script or (lambda conn, request: conn.send(answer()))
        self.requests = []
        self.closed = threading.Event()  # a peer has gone
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(128)
        self.port = self.sock.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(Conn(s),), daemon=True).start()

    def _serve(self, conn):
        try:
            while True:
                request = conn.request()
                self.requests.append(request)
                self.script(conn, request)
        except (EOFError, OSError, ValueError):
            self.closed.set()
            conn.close()

    def stop(self):
        self.sock.close()


class Dead:
    """A port that nobody listens on."""

    def __init__(self):
        self.port = free_port()
        self.requests = []


def route(instance, engines, account="acc_one", **more):
    out = {
        "instance_id": instance,
        "account_id": account,
        "served_name": "my-llama",
        "status": "running",
        "created_at_us": 1700000000000000,
        "replicas": [
            {"replica_id": i + 1, "region": f"region-{'abcdefgh'[i]}", "host": "127.0.0.1", "port": e.port}
            for i, e in enumerate(engines)
        ],
    }
    out.update(more)
    return out


def keys():
    def one(key, n, account="acc_one", **more):
        return {"key": key, "key_id": f"key_{n}", "account_id": account, "role": "inference", "rate_limit_per_minute": 1000000, **more}

    return [
        one(KEY, 1),
        one(OTHER_KEY, 2, account="acc_two"),
        one(REVOKED_KEY, 3, revoked=True),
        one(EXPIRED_KEY, 4, expires_at_us=1),
        one(OPERATOR_KEY, 5, account="", role="operator", operator_id="op_x"),
        one(OWNER_KEY, 8, role="owner", member_id="mem_x"),
        one(LIMITED_KEY, 6, rate_limit_per_minute=5),
    ]


class Gateway:
    def __init__(self, routes, binary=BUILD / "bin/ecolink-gateway", environment=None, **settings):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gwdata-"))
        self.port = free_port()
        self.admin_port = free_port()
        source = self.dir / "snapshot.json"
        source.write_text(json.dumps({"keys": keys(), "routes": routes}))
        self.binary = str(binary)
        subprocess.run([self.binary, "snapshot-from-json", str(source), str(self.dir / "snapshot")], check=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("ECOLINK_GATEWAY_")}
        env.update(
            ECOLINK_GATEWAY_LISTEN=f"127.0.0.1:{self.port}",
            ECOLINK_GATEWAY_ADMIN_LISTEN=f"127.0.0.1:{self.admin_port}",
            ECOLINK_GATEWAY_NATS_URL=f"nats://127.0.0.1:{free_port()}",
            ECOLINK_GATEWAY_SNAPSHOT_FILE=str(self.dir / "snapshot"),
            ECOLINK_GATEWAY_SPOOL_DIR=str(self.dir / "spool"),
            ECOLINK_GATEWAY_SEAL_PUBLIC_KEY="00" * 31 + "09",
            ECOLINK_GATEWAY_IDEMPOTENCY_SECRET="0123456789abcdef0123456789abcdef",
            ECOLINK_GATEWAY_LOG_FORMAT="text",
            ECOLINK_GATEWAY_PUBLIC_RATE_LIMIT="0",  # tests ask a lot without a key, from one address
        )
        env.update({f"ECOLINK_GATEWAY_{k}": str(v) for k, v in settings.items()})
        self.env = env
        self.log_path = self.dir / "log"
        self.process = self.spawn(self.log_path, environment or {})
        if self.binary != str(PLAIN):
            sanitized.check_binary(self.binary)
        came, _ = poll(self._listens, 20, 0.02, (OSError,))
        if not came or self.process.poll() is not None:
            raise RuntimeError("gateway did not start:\n" + self.log())

    def spawn(self, log_path, environment=(), **settings):
        """A process of its own with the same settings but for these."""
        env = {**self.env, **{f"ECOLINK_GATEWAY_{k}": str(v) for k, v in settings.items()}, **dict(environment)}
        with open(log_path, "wb") as log:
            return subprocess.Popen([self.binary], env=env, stderr=log)

    def _listens(self):
        if self.process.poll() is None:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        return True

    def log(self):
        return self.log_path.read_text(errors="replace")

    def connect(self, timeout=10):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        return Conn(s)

    def call(self, method="POST", path="/v1/chat/completions", body=b"", key=KEY, headers=(), conn=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        own = conn or self.connect()
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        names = {h.split(":")[0].lower() for h in headers}
        if body and "content-type" not in names:
            lines.append("Content-Type: application/json")
        if (body or method == "POST") and "content-length" not in names and "transfer-encoding" not in names:
            lines.append(f"Content-Length: {len(body)}")
        own.send(("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode("latin-1") + body)
        response = own.message(False)
        if not conn:
            own.close()
        return response

    def chat(self, model="my-llama:142", conn=None, **more):
        return self.call(body={"messages": [{"role": "user", "content": "hi"}], "model": model, **more}, conn=conn)

    def metrics(self):
        c = Conn(socket.create_connection(("127.0.0.1", self.admin_port), timeout=5))
        c.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return c.message(False).body.decode()

    def metric(self, name):
        return sum(float(l.split()[-1]) for l in self.metrics().splitlines() if l.startswith(name) and l[len(name)] in " {")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        return self.process.returncode


def status(response):
    return int(response.line.split()[1])


def code(response):
    return json.loads(response.body)["error"]["code"]
