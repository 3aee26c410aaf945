"""The scheduler's costs at some numbers of instances: see run. Inside the cluster's network: `run` sees to it."""
import concurrent.futures
import hashlib
import http.client
import json
import math
import os
import platform
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[:0] = [os.path.join(TREE, "tests", *folder) for folder in (("kube",), ("shared",), ("integration", "gateway"))]
# pylint: disable=wrong-import-position
from driver_world import KubeWorld  # noqa: E402
from ecotest import pb  # noqa: E402
from ecotest.postgres import Postgres  # noqa: E402
from ecotest.stack import BUILD, Stack, eventually, free_port  # noqa: E402
from gwbus import make_bucket  # noqa: E402
from gwtest import KEY  # noqa: E402

S = pb.scheduler
RUNNING = S.INSTANCE_STATUS_RUNNING
SIZES = [int(n) for n in os.environ.get("BENCH_INSTANCES", "100,250,1000").split(",")]
SAMPLES = int(os.environ.get("BENCH_SAMPLES", "50"))
LAUNCHERS = 8  # launches at a time, while an installation is filled
STEADY_S = int(os.environ.get("BENCH_STEADY_S", "60"))
TICKS = os.sysconf("SC_CLK_TCK")
ENGINE = {"engine": "", "image": "ecolink/builtin-engine:bench", "args": ["--model", "my-llama"]}

# what the figures are held against, at the largest number of instances
LIMITS = {"resync_cpu_s": 5.0, "steady_cpu_percent": 2.0, "rss_mb": 64.0, "ready_to_route_p99_ms": 100.0, "ready_to_answer_p99_ms": 100.0,
          "launch_to_deployments_p99_ms": 300.0}


def percentile(values, share):
    """By nearest rank."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * share) - 1] if ordered else float("nan")


class Watching:
    """When what was first seen: Deployments by name, Ready pods by uid, an instance's first Ready pod, and routes by (instance, pod)."""

    def __init__(self, world):
        self.world, self.deployments, self.pods, self.first, self.routes = world, {}, {}, {}, {}
        for region in world.api:
            threading.Thread(target=self.follow, args=(region, "deployments", self.on_deployment), daemon=True).start()
            threading.Thread(target=self.follow, args=(region, "pods", self.on_pod), daemon=True).start()
        self.subscription = world.stack.nats.subscribe("$KV.routes.>")
        threading.Thread(target=self.follow_routes, daemon=True).start()

    def follow(self, region, kind, told):
        api = self.world.planes[region].admin()
        while True:
            for event, obj in api.watch(self.world.path(kind), timeout=3600):
                told(time.monotonic(), region, event, obj)

    def on_deployment(self, now, region, event, obj):
        if event == "ADDED":
            self.deployments.setdefault((region, obj["metadata"]["name"]), now)

    def on_pod(self, now, region, event, obj):
        del region, event
        if any(c["type"] == "Ready" and c["status"] == "True" for c in obj["status"].get("conditions", [])):
            self.pods.setdefault(obj["metadata"]["uid"], now)
            self.first.setdefault(int(obj["metadata"]["labels"]["ecolink.io/instance"]), now)

    def follow_routes(self):
        while True:
            try:
                message = self.subscription.next(3600)
            except Exception:  # pylint: disable=broad-exception-caught
                return
            now = time.monotonic()
            if not message.subject.rsplit(".", 1)[1].isdigit():
                continue  # the bucket's generation
            entry, route = pb.common.KvEntry(), S.RouteEntry()
            entry.ParseFromString(message.data)
            route.ParseFromString(entry.value)
            for r in route.replicas:
                self.routes.setdefault((route.instance_id, r.run_id.split(".")[0]), now)


class Gateway:
    """A gateway on the same bus, and one connection to it."""

    def __init__(self, stack, account):
        for bucket in ("keys", "health"):  # their owners do not run here
            make_bucket(stack, bucket)
            stack.nats.js_publish(f"$KV.{bucket}._generation", pb.common.KvEntry(version=1).SerializeToString())
        key = pb.registry.KeyEntry(key_id="key_bench", account_id=account, role=pb.common.ROLE_INFERENCE, rate_limit_per_minute=1000000)
        stack.nats.js_publish(f"$KV.keys.{hashlib.sha256(KEY.encode()).hexdigest()}",
                              pb.common.KvEntry(version=2, value=key.SerializeToString()).SerializeToString())
        port = free_port()
        stack.start("gateway", LISTEN=f"127.0.0.1:{port}", SEAL_PUBLIC_KEY="00" * 31 + "09", IDEMPOTENCY_SECRET="0123456789abcdef" * 2,
                    SPOOL_DIR=os.path.join(stack.dir, "spool"), SNAPSHOT_FILE=os.path.join(stack.dir, "snapshot"))
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def answers(self, instance):
        """Whether a replica of the instance is reached through it."""
        body = json.dumps({"model": f"my-llama:{instance}", "messages": []})
        try:
            self.connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
            answer = self.connection.getresponse()
            answer.read()
        except (http.client.HTTPException, OSError):  # a connection that was closed after a refusal
            self.connection.close()
            return False
        return answer.status == 200


class Bench(KubeWorld):
    def settings(self, **more):
        return super().settings(READY_INTERVAL_MS=1000, METER_INTERVAL_MS=5000, LEASE_TTL_MS=10000, **more)

    def grow(self, size):
        have = self.stack.sql("SELECT count(*) FROM scheduler.instances WHERE status IN (2, 3)")[0][0]
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(LAUNCHERS) as launchers:
            for done in [launchers.submit(self.launch, timeout=120, **ENGINE) for _ in range(size - have)]:
                done.result()
        launched = time.monotonic()
        eventually(lambda: self.stack.sql("SELECT count(*) FROM scheduler.replicas WHERE NOT gone AND NOT ready")[0][0] == 0, 900, 0.5,
                   "every replica is Ready")
        return size - have, launched - began, time.monotonic() - began

    # ---- what the process costs ----
    def cpu_s(self):
        with open(f"/proc/{self.service.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self, name):
        with open(f"/proc/{self.service.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(name)) / 1024

    def steady(self):
        time.sleep(15)  # act: what was begun settles
        cpu, began = self.cpu_s(), time.monotonic()
        time.sleep(STEADY_S)  # act: the steady state is measured
        return 100 * (self.cpu_s() - cpu) / (time.monotonic() - began)

    def observed(self):
        return self.stack.sql("SELECT min(observed_until_us) FROM scheduler.regions")[0][0]

    def resync(self):
        """From the start of a new process until both regions were listed, judged and proved anew."""
        self.service.stop()
        began, moment_us = time.monotonic(), int(time.time() * 1e6)
        self.start()
        ready = time.monotonic()
        eventually(lambda: self.observed() > moment_us, 120, 0.02, "both regions are observed again")
        return {"resync_wall_s": time.monotonic() - began, "resync_cpu_s": self.cpu_s(), "start_s": ready - began}

    def sample(self, watching, gateway):
        """One launch on a quiet installation: seconds to both Deployments, from the first pod's Ready to a first answer, from each
        pod's Ready to its route."""
        i = self.launch(**ENGINE)
        accepted = time.monotonic()
        names = {(r.region, f"eco-{i.id}-{r.id}") for r in i.replicas}
        eventually(lambda: names <= set(watching.deployments), 30, 0.005, "both Deployments are there")
        created = max(watching.deployments[n] for n in names) - accepted
        eventually(lambda: i.id in watching.first, 60, 0.002, "a pod is Ready")
        eventually(lambda: gateway.answers(i.id), 60, 0.002, "the gateway answers")
        answered = time.monotonic() - watching.first[i.id]
        eventually(lambda: len([1 for key in watching.routes if key[0] == i.id]) == 2, 60, 0.01, "both replicas are routed")
        routed = [at - watching.pods[pod] for (instance, pod), at in list(watching.routes.items())
                  if instance == i.id and pod in watching.pods]
        return created, answered, routed

    def measure(self, size, watching, gateway):
        out = {"load_1_min": os.getloadavg()[0]}
        grown, out["launching_s"], out["all_ready_s"] = self.grow(size)
        out["launched"] = grown
        out["steady_cpu_percent"] = self.steady()
        out["rss_mb"] = self.memory_mb("VmRSS")
        out["peak_rss_mb"] = self.memory_mb("VmHWM")
        out.update(self.resync())
        created, answered, routed = [], [], []
        for _ in range(SAMPLES):
            one, two, three = self.sample(watching, gateway)
            created.append(1000 * one)
            answered.append(1000 * two)
            routed += [1000 * t for t in three]
        for name, values in (("launch_to_deployments", created), ("ready_to_answer", answered), ("ready_to_route", routed)):
            out[f"{name}_p50_ms"], out[f"{name}_p99_ms"] = percentile(values, 0.5), percentile(values, 0.99)
            out[f"{name}_samples"] = len(values)
        return out


ROWS = [("launching_s", "launches accepted, s"), ("all_ready_s", "until every replica is Ready, s"),
        ("steady_cpu_percent", "steady state, % of a core"), ("rss_mb", "resident, MB"), ("peak_rss_mb", "resident at most, MB"),
        ("resync_cpu_s", "resync after a restart, CPU s"), ("resync_wall_s", "resync after a restart, s"),
        ("launch_to_deployments_p50_ms", "launch -> Deployments, p50 ms"), ("launch_to_deployments_p99_ms", "launch -> Deployments, p99 ms"),
        ("ready_to_route_p50_ms", "pod Ready -> route, p50 ms"), ("ready_to_route_p99_ms", "pod Ready -> route, p99 ms"),
        ("ready_to_answer_p50_ms", "first Ready -> answer, p50 ms"), ("ready_to_answer_p99_ms", "first Ready -> answer, p99 ms"),
        ("load_1_min", "load of the machine before it, 1 min")]


def table(result):
    sizes = list(result["instances"])
    lines = ["".join([f"{'instances (2 replicas each)':36}", *(f"{n:>10}" for n in sizes), f"{'limit':>10}"])]
    for key, words in ROWS:
        limit = LIMITS.get(key)
        values = [result["instances"][n][key] for n in sizes]
        missed = "  missed" if limit and values[-1] > limit else ""
        lines.append("".join([f"{words:36}", *(f"{v:10.2f}" for v in values), f"{limit if limit else '':>10}", missed]))
    p = result["planner"]
    lines.append(f"placement over {p['rooms']} rooms {p['place_us'] / 1000:.3f} ms; counting {p['nodes']} nodes and {p['replicas']} pods "
                 f"{p['count_us'] / 1000:.1f} ms, once per METER_INTERVAL; limit 1 ms per placement")
    return "\n".join(lines)


def main(path):
    planner = json.loads(subprocess.run([os.path.join(BUILD, "tests", "planner_bench")], check=True, capture_output=True, text=True).stdout)
    load = os.getloadavg()
    result = {"load_before": load, "kubernetes": os.path.basename(os.environ["ECOLINK_KUBE_PROGRAMS"]), "processors": os.cpu_count(), "machine": platform.machine(),
              "planner": planner, "limits": LIMITS, "instances": {}}
    with Postgres(durable=True) as pg, Stack(pg) as stack:
        world = Bench(stack)
        try:
            world.start()
            eventually(lambda: stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] >= SIZES[-1] + SAMPLES * len(SIZES), 60, 0.2,
                       "the GPUs of both regions are seen")
            watching, gateway = Watching(world), Gateway(stack, world.owner.account_id)
            for size in SIZES:
                result["instances"][str(size)] = world.measure(size, watching, gateway)
                print(f"bench: {size} instances: {json.dumps(result['instances'][str(size)])}", file=sys.stderr, flush=True)
            result["load_after"] = os.getloadavg()
            with open(path, "w", encoding="utf-8") as f:
                json.dump(result, f, indent=1)
            print(table(result))
            print(f"load of the machine (1, 5, 15 min) before: {load}, after: {result['load_after']}", flush=True)
        finally:
            if world.service:
                world.service.stop()
            if os.environ.get("BENCH_KEEP") == "1":  # else the cluster goes, and they with it
                for kind in ("deployments", "persistentvolumeclaims", "networkpolicies"):
                    for api in world.api.values():
                        api.call("DELETE", world.path(kind))


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
