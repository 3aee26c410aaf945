"""Money from launch to settlement with the real scheduler, registry, process driver and replicas; only the clock is moved."""

import ctypes
import ctypes.util
import glob
import json
import os
import secrets

import ports
import pytest
from billing_world import ALPHABET, S, USD, Billing
from ecotest import pb
from ecotest.stack import BUILD, NoAnswer, RpcError, eventually

SCHEDULER = pb.scheduler
HOUR = 3600
SEED = {"gpu_types": [{"name": "sim", "description": "simulated", "memory_gb": 24, "hourly_rate": "1.60"}],
        "regions": [{"name": r, "gpus": [{"gpu_type": "sim", "total": 8}]} for r in ("east", "west")]}


def key_pair():
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
    sodium.sodium_init()
    public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
    sodium.crypto_box_keypair(public, secret)
    return public.raw.hex(), secret.raw.hex()


class World:
    def __init__(self, stack, billing):
        self.stack, self.billing = stack, billing
        self.state_dir = os.path.join(stack.dir, "replicas")
        seed = os.path.join(stack.dir, "seed.json")
        with open(seed, "w", encoding="utf-8") as f:
            json.dump(SEED, f)
        public, secret = key_pair()
        stack.start("registry", BOOTSTRAP_KEY="eco_" + "".join(secrets.choice(ALPHABET) for _ in range(52)))
        self.scheduler = stack.start(
            "scheduler", SEAL_PUBLIC_KEY=public, SEAL_SECRET_KEY=secret, SEED_FILE=seed, PROCESS_STATE_DIR=self.state_dir,
            PROCESS_PORTS=ports.replica_range(), PROCESS_RUN_DIR=os.path.join(self.state_dir, "run"), PROCESS_ALLOW_COMMANDS="true",
            PROCESS_SIMULATOR=os.path.join(BUILD, "bin", "ecolink-simulator"), READY_INTERVAL_MS=100, METER_INTERVAL_MS=300,
            DRAIN_DEFAULT_S=1, LEASE_TTL_MS=2000, PUBLIC_URL="http://gateway")

    def account(self, usd):
        """A customer with a registered model. Returns (account, caller, model)."""
        made = self.stack.rpc("registry.CreateAccount", pb.registry.CreateAccountRequest(name="Acme", owner_email="a@b.cc"),
                              pb.registry.CreateAccountResponse, caller=self.stack.operator())
        caller = pb.common.Caller(role=pb.common.ROLE_OWNER, account_id=made.account.id, key_id=made.api_key.id)
        model = self.stack.rpc("registry.CreateModel", pb.registry.CreateModelRequest(
            name="my-llama", source=pb.registry.MODEL_SOURCE_CONTAINER, category=pb.registry.MODEL_CATEGORY_CHAT),
            pb.registry.Model, caller=caller)
        self.billing.top_up(made.account.id, usd)
        return made.account.id, caller, model.id

    def launch(self, caller, model):
        return self.stack.rpc("scheduler.Launch", SCHEDULER.LaunchRequest(model_id=model, engine="simulator"),
                              SCHEDULER.Instance, caller=caller, http_path="/inference-instances", timeout=15)

    def get(self, caller, instance):
        return self.stack.rpc("scheduler.GetInstance", SCHEDULER.GetInstanceRequest(id=instance), SCHEDULER.Instance,
                              caller=caller)

    def until(self, caller, instance, status, ready):
        def there():
            i = self.get(caller, instance)
            return i if (i.status, i.ready_replicas) == (status, ready) else None
        return eventually(there, 30, 0.1, f"instance {instance} reaches {SCHEDULER.InstanceStatus.Name(status)}")

    def running(self, caller, model):
        return self.until(caller, self.launch(caller, model).id, SCHEDULER.INSTANCE_STATUS_RUNNING, 2)

    def stop(self, caller, instance):
        return self.stack.rpc("scheduler.StopInstance", SCHEDULER.StopInstanceRequest(id=instance), SCHEDULER.Instance,
                              caller=caller)

    def simulators(self):
        found = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as f:
                    if self.state_dir.encode() in f.read():
                        found.append(int(path.split("/")[2]))
            except OSError:
                continue
        return found

    def close(self):
        for instance, in self.stack.sql("SELECT id FROM scheduler.instances WHERE status IN (2, 3)"):
            self.stack.rpc("scheduler.AdminStopInstance", SCHEDULER.AdminStopInstanceRequest(id=instance), SCHEDULER.Instance,
                           caller=self.stack.operator())
        eventually(lambda: not self.stack.sql("SELECT 1 FROM billing.holds WHERE status IN ('open', 'partial')"), 30,
                   what="every hold ends")
        self.scheduler.stop()
        for pid in self.simulators():
            os.kill(pid, 9)


@pytest.fixture(scope="module")
def world(stack):
    billing = Billing(stack, None)
    billing.start(CYCLE_S=HOUR)
    w = World(stack, billing)
    yield w
    w.close()
    print(billing.check_ledger())


def uptime_s(stack, instance):
    """Replica-seconds by the scheduler's intervals, roughly: whole microseconds, not whole seconds."""
    return stack.sql("SELECT sum(ended_at_us - started_at_us) FROM scheduler.ready_intervals WHERE instance_id = %s",
                     instance)[0][0] / S


def test_stopped_instance_pays_for_its_ready_time_and_gets_the_rest_back(stack, world):
    account, caller, model = world.account(10)
    i = world.running(caller, model)
    assert world.billing.rows(account) == [("topup", 10, 10), ("hold", -3.2, 6.8)]
    stack.advance(HOUR // 2)
    eventually(lambda: world.billing.balance(account).burn_rate_micros_per_hour == 3_200_000)
    world.stop(caller, i.id)
    world.until(caller, i.id, SCHEDULER.INSTANCE_STATUS_STOPPED, 0)
    eventually(lambda: world.billing.statuses(i.id) == ["settled"])
    charged = world.billing.holds(i.id)[0]
    assert 0 <= uptime_s(stack, i.id) - charged[4] < 4  # two intervals, each rounded by less than two seconds
    assert charged[4] > HOUR - 60
    types = [r[0] for r in world.billing.rows(account)]
    assert types == ["topup", "hold", "hold_release", "gpu_usage", "refund"]
    assert world.billing.balance(account).available.micros == 10 * USD - charged[3]


def test_launch_beyond_the_balance_leaves_nothing_behind(stack, world):
    account, caller, model = world.account(3)
    with pytest.raises(RpcError) as e:
        world.launch(caller, model)
    assert e.value.code == "insufficient_balance"
    assert "$3.20" in e.value.message and "$3.00 is available" in e.value.message
    assert world.billing.rows(account) == [("topup", 3, 3)]


def test_depleted_credit_stops_the_instance(stack, world):
    account, caller, model = world.account(3.2)
    i = world.running(caller, model)
    stack.advance(HOUR)
    stopped = eventually(lambda: (lambda x: x if x.status == SCHEDULER.INSTANCE_STATUS_STOPPED else None)(
        world.get(caller, i.id)), 30, 0.1)
    assert stopped.termination_reason == SCHEDULER.TERMINATION_REASON_CREDIT_DEPLETED
    assert world.billing.statuses(i.id) == ["settled", "refused"]
    notices = [n.message for n in world.billing.notices(account)]
    assert "Instance terminated: credit balance depleted." in notices
    balance = world.billing.balance(account)
    assert balance.held.micros == 0 and balance.available.micros < 0.06 * USD  # less than a minute's worth is left


def test_renewed_instance_runs_on_and_pays_for_both_cycles(stack, world):
    account, caller, model = world.account(20)
    i = world.running(caller, model)
    stack.advance(HOUR)
    eventually(lambda: world.billing.statuses(i.id) == ["settled", "open"], 20)
    assert world.get(caller, i.id).status == SCHEDULER.INSTANCE_STATUS_RUNNING
    stack.advance(HOUR // 4)
    world.stop(caller, i.id)
    world.until(caller, i.id, SCHEDULER.INSTANCE_STATUS_STOPPED, 0)
    eventually(lambda: world.billing.statuses(i.id) == ["settled", "settled"])
    seconds = sum(h[4] for h in world.billing.holds(i.id))
    assert 0 <= uptime_s(stack, i.id) - seconds < 4


def test_billing_killed_during_the_stop_settles_after_its_restart(stack, world):
    account, caller, model = world.account(10)
    i = world.running(caller, model)
    stack.advance(600)
    world.billing.service.kill()
    world.stop(caller, i.id)
    world.until(caller, i.id, SCHEDULER.INSTANCE_STATUS_STOPPED, 0)
    with pytest.raises(NoAnswer):
        world.billing.balance(account)
    world.billing.start(CYCLE_S=HOUR)
    eventually(lambda: world.billing.statuses(i.id) == ["settled"], 20)
    assert 0 <= uptime_s(stack, i.id) - world.billing.holds(i.id)[0][4] < 4
