"""Who takes part: our gateway with everything on, and its peers set up for throughput. Each runs alone on the proxy's core."""
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from ports import free_port

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = pathlib.Path(__file__).resolve().parent / "peers"
BUILD = pathlib.Path(os.environ.get("ECOLINK_BUILD_DIR", ROOT / "build" / "release")).resolve()
CACHE = pathlib.Path(os.environ.get("ECOLINK_BENCH_CACHE", pathlib.Path.home() / ".cache" / "ecolink-bench"))
PROXY_CORE, RIG_CORE = 0, 1
START_S = 240  # LiteLLM takes its time


class Missing(Exception):
    """This peer cannot be had here; the message says why."""


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def pinned(core, command, **more):
    return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], **more)


def found(name, *places):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or next((str(p) for p in places if p.exists()), None)
    if not path:
        raise Missing(f"{name} is not installed")
    return path


def first_line(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, check=False)
    return ((done.stdout or done.stderr).strip().splitlines() or ["unknown"])[0]


class Proxy:
    """A contender: start(backend) -> running on self.port with self.pids; stop()."""
    peer = name = None
    headers = ()
    rewrites = False  # it writes answers anew, so that their length is its own

    def __init__(self):
        self.dir = self.process = self.log = None
        self.pids = []

    def start(self, backend, **settings):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-"))
        self.port = free_port()
        self.log = open(self.dir / "log", "wb")
        try:
            self.process = self.launch(backend, **settings)
            self.wait_until_ready()
            self.pids = self.workers()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_until_ready(self):
        until = time.monotonic() + START_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Missing(f"{self.name} did not start: {self.tail()}")
            time.sleep(0.05)  # act: until it listens

    def ready(self):
        return listens(self.port)

    def workers(self):
        return [self.process.pid]

    def children(self):
        out = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False).stdout
        return [int(pid) for pid in out.split()]

    def tail(self):
        return (self.dir / "log").read_text(errors="replace")[-300:].strip().replace("\n", " | ")

    def fill(self, name, backend):
        host, port = backend.split(":")
        text = (PEERS / name).read_text()
        for key, value in {"LISTEN": f"127.0.0.1:{self.port}", "HOST": "127.0.0.1", "PORT": self.port, "BACKEND": backend, "BACKEND_HOST": host,
                           "BACKEND_PORT": port, "DIR": self.dir}.items():
            text = text.replace("{%s}" % key, str(value))
        path = self.dir / name
        path.write_text(text)
        return path

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log:
            self.log.close()
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
        self.process = self.log = self.dir = None


class Ecolink(Proxy):
    """The release binary that `make up` runs, with authentication, limits, rewriting, balancing, metering and metrics on."""
    peer = name = "ecolink"
    binary = BUILD / "bin" / "ecolink-gateway"

    def __init__(self, snapshot, nats):
        super().__init__()
        self.snapshot, self.nats = snapshot, nats

    def launch(self, backend, **settings):
        shutil.copy(self.snapshot, self.dir / "snapshot")
        self.admin_port = free_port()
        values = {"LISTEN": f"127.0.0.1:{self.port}", "ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}", "NATS_URL": self.nats,
                  "SNAPSHOT_FILE": self.dir / "snapshot", "SPOOL_DIR": self.dir / "spool", "CLIENTS_MAX": 16000,
                  "SEAL_PUBLIC_KEY": "00" * 31 + "09", "IDEMPOTENCY_SECRET": "0123456789abcdef" * 2, **settings}
        env = {k: v for k, v in os.environ.items() if not k.startswith("ECOLINK_")}
        env.update({f"ECOLINK_GATEWAY_{k}": str(v) for k, v in values.items()})
        return pinned(PROXY_CORE, [self.binary], env=env, stderr=self.log)

    def ready(self):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=2).close()
            return super().ready()
        except OSError:
            return False

    def metric(self, name):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name) and line[len(name)] in " {")

    def version(self):
        return first_line(self.binary, "--version")

    def sha256(self):
        return hashlib.sha256(self.binary.read_bytes()).hexdigest()


class HAProxy(Proxy):
    """The one in front of 400 servers, as many as the gateway has replicas to choose from, is a row of its own: what it costs to keep
    connections to all of them apart. The others have one server for everything."""

    def __init__(self, variant):
        super().__init__()
        self.peer = "haproxy-replicas" if variant == "replicas" else "haproxy"
        self.name, self.config = f"haproxy-{variant}", f"haproxy-{variant}.cfg"
        self.binary = found("haproxy")

    def launch(self, backend):
        return pinned(PROXY_CORE, [self.binary, "-db", "-f", self.fill(self.config, backend)], stdout=self.log, stderr=self.log)

    def version(self):
        return first_line(self.binary, "-v")


class Nginx(Proxy):
    peer = name = "nginx"

    def __init__(self):
        super().__init__()
        self.binary = found("nginx")

    def launch(self, backend):
        return pinned(PROXY_CORE, [self.binary, "-c", self.fill("nginx.conf", backend)], stdout=self.log, stderr=self.log)

    def workers(self):
        while not self.children():
            time.sleep(0.05)  # act: the master listens before it has its worker
        return self.children()

    def version(self):
        return first_line(self.binary, "-v")


class Envoy(Proxy):
    peer = name = "envoy"

    def __init__(self):
        super().__init__()
        self.binary = found("envoy", *CACHE.glob("envoy/lib/python3*/site-packages/envoy/_bin/envoy"))

    def launch(self, backend):
        return pinned(PROXY_CORE, [self.binary, "-c", self.fill("envoy.yaml", backend), "--concurrency", "1", "--log-level", "error",
                                   "--disable-hot-restart"], stdout=self.log, stderr=self.log)

    def version(self):
        return first_line(self.binary, "--version").split()[-1]


class LiteLLM(Proxy):
    peer = name = "litellm"
    rewrites = True

    def __init__(self):
        super().__init__()
        self.binary = found("litellm", CACHE / "litellm" / "bin" / "litellm")

    def launch(self, backend):
        env = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        return pinned(PROXY_CORE, [self.binary, "--config", self.fill("litellm.yaml", backend), "--host", "127.0.0.1", "--port", self.port,
                                   "--num_workers", "1"], env=env, stdout=self.log, stderr=self.log)

    def version(self):
        return first_line(pathlib.Path(self.binary).parent / "python", "-c", "import importlib.metadata as m; print(m.version('litellm'))")


class Portkey(Proxy):
    peer = name = "portkey"

    def __init__(self):
        super().__init__()
        self.binary = found("node")
        self.script = CACHE / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        if not self.script.exists():
            raise Missing("the npm package @portkey-ai/gateway is not installed")

    def launch(self, backend):
        self.headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://{backend}/v1")
        return pinned(PROXY_CORE, [self.binary, self.script, "--headless", f"--port={self.port}"], stdout=self.log, stderr=self.log,
                      env={**os.environ, "NODE_ENV": "production"})

    def version(self):
        return first_line(self.binary, "-p", f"require('{self.script.parents[1]}/package.json').version")


class Relay(Proxy):
    """A raw TCP relay: the least that any process in between costs."""
    peer = name = "tcp-relay"

    def launch(self, backend):
        return pinned(PROXY_CORE, [BUILD / "bin" / "bench-rig", "relay", "--listen", f"127.0.0.1:{self.port}", "--target", backend],
                      stdout=self.log, stderr=self.log)

    def version(self):
        return "bench-rig"


# Named in the table with the reason; nobody has measured them here.
ABSENT = {
    "bifrost": "the Go module proxy lists no version of github.com/maximhq/bifrost/transports",
    "agentgateway": "no release in Debian, PyPI, npm, crates.io or the Go module proxy",
}


class Nats:
    """nats-server with JetStream on the rig's core: the gateway's usage goes there."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="bench-nats-")
        self.port = free_port()
        self.process = pinned(RIG_CORE, [found("nats-server"), "-a", "127.0.0.1", "-p", self.port, "-js", "-sd", self.dir],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not listens(self.port):
            time.sleep(0.05)  # act: until it listens
        return self

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
