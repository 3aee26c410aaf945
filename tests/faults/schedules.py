"""Random schedules: users at work, one to three faults chosen by a seed, then the question whether the world is still one.

A seed decides which faults come, in which order, on whom, for how long, and what the users do; how the processes interleave
under it is the machine's. `Crowd` lives as long as its stack: a canary instance that is called without a pause, and users."""
import base64
import itertools
import random
import signal
import threading
import time

import world
from eco.stack import SERVICES
from eco.waiting import wait
from ecotest import pb
from lab import CYCLE_S, DATABASE_SERVICES, PARTS
from workload import Caller

VICTIMS = (*PARTS, "replica")
PATIENCE_S = 60
TENANT_KEPT = 5  # schedules, then the users get an account of their own
REPLACED_EVERY = 6  # schedules: then it begins with a new gateway in the old one's place


class Crowd:
    def __init__(self, lab, tenants):
        self.lab, self.tenants = lab, tenants
        self.canary_owner = tenants.new("1000000.00")
        self.canary = self.canary_owner.running()
        self.user = None
        self.survivors, self.lock = [], threading.Lock()
        self.count = 0

    def take(self, rng):
        """One of the survivors, for one user alone: another one's stop would make a restart wrong. None: there is none."""
        with self.lock:
            return self.survivors.pop(rng.randrange(len(self.survivors))) if self.survivors else None

    def keep(self, instance):
        with self.lock:
            self.survivors.append(instance)

    def pids(self):
        return {r.name: r.pid for r in self.lab.replicas(self.canary["id"])}

    def begin(self):
        if self.count % TENANT_KEPT == 0:
            for instance in self.survivors:
                self.user.want_stop(instance["id"]).ok(200)
            self.survivors = []
            self.user = self.tenants.new("10000.00")
        self.count += 1
        self.canary_owner.wait_running(self.canary["id"], ready=2, seconds=PATIENCE_S)  # it begins whole


# ---- what users do: each a function of (crowd, rng), run in a thread of its own ----

def launch_and_stop(crowd, rng):
    user = crowd.user
    instance = user.want_launch(user.want_model().ok(seconds=PATIENCE_S)).ok(seconds=PATIENCE_S)
    if rng.random() < 0.7:
        user.wait_status(instance["id"], "running", "failed", seconds=PATIENCE_S)
    user.want_stop(instance["id"]).ok(200, PATIENCE_S)
    user.wait_status(instance["id"], "stopped", seconds=PATIENCE_S)


def launch_and_keep(crowd, rng):
    user = crowd.user
    instance = user.want_launch(user.want_model().ok(seconds=PATIENCE_S), gpu_count=rng.choice([1, 2])).ok(seconds=PATIENCE_S)
    crowd.keep(instance)


def restart_one(crowd, rng):
    instance = crowd.take(rng)
    if instance is None:
        return launch_and_keep(crowd, rng)
    crowd.user.want_restart(instance["id"]).ok(200, PATIENCE_S)
    crowd.keep(instance)
    return None


def stop_one(crowd, rng):
    instance = crowd.take(rng)
    if instance is None:
        return launch_and_stop(crowd, rng)
    crowd.user.want_stop(instance["id"]).ok(200, PATIENCE_S)
    return None


def keys_and_money(crowd, rng):
    user = crowd.user
    key = user.want_key().ok(seconds=PATIENCE_S)
    for _ in range(rng.randint(1, 3)):
        user.top_up(f"{rng.randint(1, 50)}.00").ok(seconds=PATIENCE_S)
    user.want("DELETE", f"/api-keys/{key['id']}").ok(200, PATIENCE_S)


USERS = (launch_and_stop, launch_and_keep, restart_one, stop_one, keys_and_money)


class Worker(threading.Thread):
    """One user's program; what went wrong in it is told when it is joined."""

    def __init__(self, program, crowd, seed):
        super().__init__(daemon=True)
        self.program, self.crowd, self.rng, self.trouble = program, crowd, random.Random(seed), None

    def run(self):
        try:
            self.program(self.crowd, self.rng)
        except BaseException as e:  # noqa: B902 - told below
            self.trouble = e

    def finish(self):
        self.join(PATIENCE_S + 60)
        assert not self.is_alive(), f"user {self.program.__name__} is not done yet"
        if self.trouble is not None:
            raise AssertionError(f"user {self.program.__name__}: {self.trouble}") from self.trouble


# ---- faults ----

class Run:
    """One schedule under way: what is allowed to happen to callers because of what was done."""

    def __init__(self, crowd, seed, say=print):
        self.crowd, self.lab, self.seed = crowd, crowd.lab, seed
        self.rng = random.Random(seed)
        self.say = say
        self.done = []
        self.gateway_died = self.replicas_killed = 0
        self.hit = set()  # instances that lost a replica: the other one must be enough until it is back
        self.usage_may_differ = False

    def note(self, text):
        self.done.append(text)

    def pause_between(self, longest):
        """Lets the stack run on under the fault: this is the fault's length, not a wait for a condition."""
        time.sleep(self.rng.uniform(0.05, longest))  # act: the length of the fault

    def kill(self, name):
        self.note(f"kill {name}")
        if name == "replica":
            alive = [(i["id"], r) for i in (self.crowd.canary, *self.crowd.survivors) if i["id"] not in self.hit
                     for r in self.lab.replicas(i["id"])]
            if alive:
                instance, replica = self.rng.choice(alive)
                replica.kill()
                self.hit.add(instance)
                self.replicas_killed += 1
                self.usage_may_differ = True
            return
        if name == "gateway":
            self.gateway_died += 1
            self.usage_may_differ = True
        self.lab.stop_part(name)

    def start(self, name):
        if name != "replica":
            self.lab.start_part(name, ready=False)


def kill_one(run):
    victim = run.rng.choice(VICTIMS)
    run.kill(victim)
    run.pause_between(0.8)
    run.start(victim)


def kill_two(run):
    one, other = run.rng.sample(VICTIMS, 2)
    run.kill(one)
    run.kill(other)
    run.pause_between(0.8)
    run.start(other)
    run.start(one)


def away(run):
    name = run.rng.choice(["postgres", "nats"])
    sig = run.rng.choice([signal.SIGKILL, signal.SIGINT])
    run.note(f"{name} away after {sig.name}")
    run.lab.stop_part(name, sig)
    run.pause_between(2.5)
    run.start(name)


def lose_jetstream(run):
    run.note("JetStream's files deleted")
    run.usage_may_differ = True  # what the stream had taken and nobody had read is gone: the one thing that is not kept twice
    run.lab.lose_jetstream()


def full_disk(run):
    name = run.rng.choice(["nats", "postgres"])
    if run.lab.disk_of(name) is None:
        return
    run.note(f"disk full under {name}")
    run.lab.fill(name)
    run.pause_between(1.0)
    run.lab.make_room()
    run.start(name)


def step_clock(run):
    seconds = run.rng.choice([-45, -7, -1, 3, CYCLE_S // 2, CYCLE_S + 1, 2 * CYCLE_S + 5])
    run.note(f"clock {seconds:+d} s")
    run.lab.advance(seconds)
    run.pause_between(0.4)


def second_copy(run):
    name = run.rng.choice(SERVICES)
    run.note(f"two copies of {name}")
    run.lab.second(name)
    run.pause_between(1.0)
    if name != "gateway" and run.rng.random() < 0.5:
        run.kill(name)
        run.pause_between(0.5)
        run.start(name)


def pause_one(run):
    """A leader that sleeps for longer than its lease and wakes up in another's reign."""
    name = run.rng.choice(DATABASE_SERVICES)
    successor = run.rng.random() < 0.5
    run.note(f"pause {name}" + (", a second copy takes over" if successor else ""))
    run.lab.pause(name)
    if successor:
        run.lab.second(name)
    time.sleep(run.rng.uniform(0.3, 2.2))  # act: how long it is paused
    run.lab.resume(name)
    run.pause_between(0.3)


def pause_bus(run):
    name = run.rng.choice(["nats", "postgres", "gateway"])
    run.note(f"pause {name}")
    run.lab.pause(name)
    run.pause_between(1.5)
    run.lab.resume(name)


def recent_messages(lab, count):
    """[(sequence, subject, data)] of the stream's end."""
    last = lab.nats.js("STREAM.INFO.ECOLINK")["state"]["last_seq"]
    out = []
    for seq in range(max(1, last - count + 1), last + 1):
        try:
            m = lab.nats.js("STREAM.MSG.GET.ECOLINK", {"seq": seq})["message"]
        except RuntimeError:
            continue  # deleted
        out.append((seq, m["subject"], base64.b64decode(m.get("data", ""))))
    return out


def stir_messages(run):
    """Messages come twice (under the same id and another), late, and in another order."""
    how = run.rng.choice(["duplicated", "reordered", "delayed"])
    run.note(f"messages {how}")
    try:
        messages = recent_messages(run.lab, run.rng.randint(5, 60))
        if how != "duplicated":
            run.rng.shuffle(messages)
        if how == "delayed":
            taken = messages[: len(messages) // 2]
            for seq, _, _ in taken:
                run.lab.nats.js("STREAM.MSG.DELETE.ECOLINK", {"seq": seq})
            run.pause_between(0.5)
            messages = taken
        for n, (seq, subject, data) in enumerate(messages):
            event = pb.common.Event.FromString(data)
            same = how == "duplicated" and run.rng.random() < 0.5
            run.lab.nats.publish_with_id(subject, data, event.id if same else f"{event.id}-{run.seed}-{n}-{seq}")
        run.lab.nats.flush()
    except (OSError, RuntimeError, AssertionError) as e:
        run.note(f"(not all of it: {type(e).__name__})")  # an earlier fault of this schedule has the bus


def replace_gateway(run):
    """Under traffic, by hand-over: what no caller may notice. Only in a world that is whole: a successor needs the bus to be ready."""
    run.note("gateway replaced")
    run.lab.replace_gateway()


FAULTS = (kill_one, kill_one, kill_two, kill_two, away, lose_jetstream, full_disk, step_clock, step_clock, second_copy, pause_one,
          pause_one, pause_bus, stir_messages, stir_messages)


# ---- one schedule ----

def run_schedule(crowd, seed, say=print):
    """Returns (what was done, calls answered, calls failed). Raises AssertionError with the seed's story when something is wrong."""
    run = Run(crowd, seed, say)
    lab = crowd.lab
    lab.heal()
    crowd.begin()
    pids = crowd.pids()
    used = usage(crowd)
    workers = [Worker(run.rng.choice(USERS), crowd, (seed << 8) + n) for n in range(2)]
    faults = [run.rng.choice(FAULTS) for _ in range(run.rng.choice([1, 1, 2, 2, 3]))]
    if seed % REPLACED_EVERY == 0:
        faults.insert(0, replace_gateway)
    try:
        with Caller(crowd.canary_owner, crowd.canary) as caller:
            for worker in workers:
                worker.start()
            for fault in faults:
                run.pause_between(0.4)
                fault(run)
            for name in list(lab.paused):
                lab.resume(name)
            lab.start_missing()
            lab.end_copies()  # first: a copy of the scheduler that has the replicas' folder keeps the other from being ready
            lab.heal()
            for worker in workers:
                worker.finish()
            caller.reaches(5)
        judge_schedule(run, pids, caller)
        world.settle(lab, crowd.tenants.call, 40, expect=lambda _: crowd.user.kept_promises())
        if not run.usage_may_differ:
            calls = caller.answered + caller.failures
            wait(lambda: usage(crowd) - used >= calls, f"the usage of {calls} calls, of which {usage(crowd) - used} came", 20)
    except AssertionError as e:
        story = f"seed {seed}: users {[w.program.__name__ for w in workers]}, faults {run.done}"
        raise AssertionError(f"{story}\n{e}") from e
    return run.done, caller.answered, caller.failures


def usage(crowd):
    rows = crowd.lab.sql("SELECT coalesce(sum(requests), 0) FROM billing.usage_daily WHERE instance_id = %s", (crowd.canary["id"],))
    return int(rows[0][0])


def judge_schedule(run, pids, caller):
    if run.replicas_killed == 0:
        assert run.crowd.pids() == pids, f"replicas of the canary changed: {pids} -> {run.crowd.pids()}"
    if run.gateway_died == 0:
        allowed = 2 * run.replicas_killed  # a stream whose content had begun ends with its replica
        assert caller.failures <= allowed, f"{caller.failures} calls failed, {caller.answered} were answered: {caller.why[:5]}"


def seeds(first, count):
    return list(itertools.islice(itertools.count(first), count))
