"""What the scheduler's tests share: the real scheduler with real PostgreSQL, NATS, process driver and simulator; registry and
billing as stand-ins whose answers a test may change (test_with_real_services.py has the real ones)."""

import ctypes
import ctypes.util
import glob
import json
import os
import time

import ports
from ecotest import pb
from ecotest.stack import BUILD, eventually, free_port  # noqa: F401

S, R, B, C = pb.scheduler, pb.registry, pb.billing, pb.common
LIVE = (S.INSTANCE_STATUS_PENDING, S.INSTANCE_STATUS_PROVISIONING, S.INSTANCE_STATUS_RUNNING, S.INSTANCE_STATUS_STOPPING)
SODIUM = ctypes.CDLL(ctypes.util.find_library("sodium"))
SODIUM.sodium_init()
_public, _secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
SODIUM.crypto_box_keypair(_public, _secret)
PUBLIC, SECRET = _public.raw.hex(), _secret.raw.hex()
SEED = {
    "gpu_types": [{"name": "sim", "description": "simulated", "memory_gb": 24, "hourly_rate": "1.60"},
                  {"name": "big", "description": "larger", "memory_gb": 80, "hourly_rate_micros": 3_000_000}],
    "regions": [{"name": "east", "gpus": [{"gpu_type": "sim", "total": 4}, {"gpu_type": "big", "total": 1}]},
                {"name": "west", "gpus": [{"gpu_type": "sim", "total": 4}]}],
}


class Refusal(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Books:
    """A stand-in for billing: remembers holds, and which were closed."""

    def __init__(self):
        self.placed, self.closed, self.refuse = {}, set(), None
        self.stubborn = set()  # instances whose hold cannot be closed

    def place(self, r):
        if self.refuse:
            raise self.refuse
        if (r.instance_id, r.cycle) in self.closed:
            raise Refusal("wrong_state", "this hold was closed")
        self.placed[(r.instance_id, r.cycle)] = r
        amount = r.rate_micros_per_gpu_hour * r.gpu_count * r.total_replicas * 24
        return B.PlaceHoldResponse(hold=B.HoldState(instance_id=r.instance_id, account_id=r.account_id, cycle=r.cycle,
                                                    status=B.HOLD_STATUS_OPEN, amount_micros=amount,
                                                    expires_at_us=int(time.time() + 86400) * 1_000_000))

    def close(self, r):
        if r.instance_id in self.stubborn:
            raise Refusal("internal", "this hold cannot be closed")
        self.closed.add((r.instance_id, r.cycle))
        return B.CloseHoldResponse(hold=B.HoldState(instance_id=r.instance_id, cycle=r.cycle, status=B.HOLD_STATUS_CLOSED))

    def open_holds(self):
        return set(self.placed) - self.closed


class Shelf:
    """A stand-in for the registry."""

    def __init__(self):
        self.acquired, self.refuse, self.region, self.repo = [], None, "", "org/name"

    def answer(self, model_id):
        if model_id == "mdl_unknown":
            raise Refusal("not_found", "no such model")
        model = R.Model(id=model_id, account_id="acc_a", name="my-llama", source=R.MODEL_SOURCE_HUGGINGFACE, repo=self.repo,
                        revision="main", category=R.MODEL_CATEGORY_CHAT)
        out = R.AcquireModelResponse(model=model)
        if self.region:
            out.model.source = R.MODEL_SOURCE_SHARED_FILESYSTEM
            out.model.path = "/shared/models/x"
            out.filesystems.add(id="fs_1", name="shared", region=self.region, mount_path="/shared")
        return out

    def describe(self, r):
        return self.answer(r.model_id)

    def acquire(self, r):
        if self.refuse:
            raise self.refuse
        self.acquired.append(r.instance_id)
        return self.answer(r.model_id)


class World:
    def __init__(self, stack, fakes=True):
        self.stack, self.books, self.shelf = stack, Books(), Shelf()
        self.state_dir = os.path.join(stack.dir, "replicas")
        self.seed = os.path.join(stack.dir, "seed.json")
        with open(self.seed, "w", encoding="utf-8") as f:
            json.dump(SEED, f)
        self.ends, self.end_billing = [], None
        if fakes:
            self.serve_all()
        self.owner = C.Caller(account_id="acc_a", role=C.ROLE_OWNER, key_id="key_a", member_id="mem_a")
        self.service = None

    def serve_all(self):
        self.ends.append(self.stack.serve("registry", {"DescribeModel": (R.DescribeModelRequest, self.shelf.describe),
                                                       "AcquireModel": (R.AcquireModelRequest, self.shelf.acquire)}))
        self.serve_billing()

    def serve_billing(self):
        self.end_billing = self.stack.serve("billing", {"PlaceHold": (B.PlaceHoldRequest, self.books.place),
                                                        "CloseHold": (B.CloseHoldRequest, self.books.close)})

    def settings(self, **more):
        out = {"SEAL_PUBLIC_KEY": PUBLIC, "SEAL_SECRET_KEY": SECRET, "SEED_FILE": self.seed, "PROCESS_STATE_DIR": self.state_dir,
               "PROCESS_PORTS": ports.replica_range(), "PROCESS_RUN_DIR": os.path.join(self.state_dir, "run"), "PROCESS_ALLOW_COMMANDS": "true",
               "PROCESS_SIMULATOR": os.path.join(BUILD, "bin", "ecolink-simulator"), "READY_INTERVAL_MS": 100,
               "METER_INTERVAL_MS": 300, "DRAIN_DEFAULT_S": 1, "LEASE_TTL_MS": 800, "PUBLIC_URL": "http://gw"}
        out.update(more)
        return out

    def start(self, crash_point=None, **more):
        self.service = self.stack.start("scheduler", crash_point=crash_point, **self.settings(**more))
        return self.service

    # ---- calls ----
    def launch(self, key="", timeout=15, args=(), **fields):
        fields.setdefault("model_id", "mdl_1")
        fields.setdefault("engine", "simulator")
        return self.stack.rpc("scheduler.Launch", S.LaunchRequest(args=args, **fields), S.Instance, caller=self.owner,
                              idempotency_key=key, http_path="/inference-instances", timeout=timeout)

    def get(self, instance, caller=None):
        return self.stack.rpc("scheduler.GetInstance", S.GetInstanceRequest(id=instance), S.Instance, caller=caller or self.owner)

    def stop(self, instance):
        return self.stack.rpc("scheduler.StopInstance", S.StopInstanceRequest(id=instance), S.Instance, caller=self.owner)

    def restart(self, instance):
        return self.stack.rpc("scheduler.RestartInstance", S.RestartInstanceRequest(id=instance), S.Instance, caller=self.owner)

    def meter(self, instance, from_us=0):
        r = S.ReadMeterRequest(queries=[S.MeterQuery(instance_id=instance, from_us=from_us)])
        return self.stack.rpc("scheduler.ReadMeter", r, S.ReadMeterResponse).readings[0]

    def events(self, instance):
        r = S.ListInstanceEventsRequest(id=instance, limit=1000)
        return self.stack.rpc("scheduler.ListInstanceEvents", r, S.InstanceEventList, caller=self.owner).data

    def until(self, instance, status, timeout=20, ready=None):
        seen = []

        def there():
            seen[:] = [self.get(instance)]
            return seen[0] if seen[0].status == status and (ready is None or seen[0].ready_replicas == ready) else None
        try:
            return eventually(there, timeout, 0.1, f"instance {instance} reaches {S.InstanceStatus.Name(status)}")
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {seen}, after {[(v.type, v.message) for v in self.events(instance)]}") from e

    def running(self, ready=2, **fields):
        i = self.launch(**fields)
        return self.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=ready)

    def stopped(self, instance):
        self.stop(instance)
        return self.until(instance, S.INSTANCE_STATUS_STOPPED)

    def seal(self, text):
        box = ctypes.create_string_buffer(len(text) + 48)
        SODIUM.crypto_box_seal(box, text.encode(), ctypes.c_ulonglong(len(text)), _public)
        return C.Sealed(box=box.raw)

    # ---- what is ----
    def route(self, instance):
        entry = self.stack.nats.kv_get("routes", str(instance))
        if entry is None or entry.deleted:
            return None
        route = S.RouteEntry()
        route.ParseFromString(entry.value)
        return route

    def reserved(self):
        return self.stack.sql("SELECT coalesce(sum(reserved), 0)::int FROM scheduler.gpu_rooms")[0][0]

    def replica_pids(self):
        pids = {}
        for path in glob.glob(os.path.join(self.state_dir, "run", "*.pid")):
            try:
                with open(path, encoding="utf-8") as f:
                    pid = int(f.read())
                os.kill(pid, 0)
            except (OSError, ValueError):
                continue
            pids[os.path.basename(path)[:-4]] = pid
        return pids

    def simulators(self):
        """Every simulator process that runs on behalf of this world, recorded or not."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    line = f.read()
                with open(path.replace("cmdline", "environ"), "rb") as f:
                    environ = f.read()
            except OSError:
                continue
            if b"ecolink-simulator" in line and self.state_dir.encode() in environ:
                found.append(int(path.split("/")[2]))
        return found

    def close(self):
        if self.service and self.service.process.poll() is None:
            for (i,) in self.stack.sql("SELECT id FROM scheduler.instances WHERE status IN (2, 3) AND launch_state = 'done'"):
                self.stop(i)
            eventually(lambda: not self.simulators(), 20, 0.1, "every replica ends")
            self.service.stop()
        for pid in self.simulators():
            os.kill(pid, 9)
        if self.end_billing:
            self.end_billing()
        for end in self.ends:
            end()
