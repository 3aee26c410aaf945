"""From the last release to this one and back, service by service, under traffic (tier ci).

The last release's binaries are built from its commit (tests/surface/previous-release). They run on this tree's schema and bus;
then every part is replaced in turn while requests to a running instance go on: none may fail. A gateway of either release works
with a control plane of the other, and the new one reads the old one's snapshot file and usage spool.
"""
import pathlib
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import BUILD, TREE
from eco.stack import Stack
from eco.waiting import wait

pytestmark = pytest.mark.ci_tier
CONTROL = ("registry", "scheduler", "billing", "health")


@pytest.fixture(scope="module")
def old_build():
    done = subprocess.run([TREE / "tests/surface/previous-release", BUILD.name], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


class EitherRelease(Stack):
    """Starts parts of either release, each by its own release's scripts and with the settings that it knows."""

    def __init__(self, folder, old_build):
        super().__init__(folder)
        self.old_build = old_build

    def builds(self):
        return (BUILD, self.old_build)

    def run(self, *args, seconds=180):
        tree = TREE if self.build == BUILD else self.build.with_name(f"{self.build.name}-source")
        done = subprocess.run([tree / "deploy/local/stack", *args], env=self._env(), timeout=seconds, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, f"stack {' '.join(args)} of {tree.name} failed:\n{done.stdout}"
        return done.stdout

    def _env(self):
        known = "".join(subprocess.run([self.build / f"bin/ecolink-{name}", "--help"], capture_output=True, text=True).stdout
                        for name in (*CONTROL, "gateway"))
        prefixes = tuple(f"ECOLINK_{name.upper()}_" for name in (*CONTROL, "gateway"))
        return {k: v for k, v in super()._env().items() if not k.startswith(prefixes) or k in known}


class World:
    """A stack whose parts come from either release, an account, and an instance that is called all the time."""

    def __init__(self, stack, old, new):
        self.stack, self.builds, self.runs = stack, {"old": old, "new": new}, {}

    def replace(self, name, release):
        if self.stack.runs(name):
            self.stack.stop(name)
        self.stack.build = self.builds[release]
        self.stack.start(name)
        exe = pathlib.Path(f"/proc/{self.stack.pid(name)}/exe").resolve()
        assert exe.is_relative_to(self.builds[release]), f"{name} runs {exe}"
        self.runs[name] = release
        wait(lambda: self.stack.ready(name), f"{release} {name}", 60)

    def works(self, what):
        """The whole main job, through HTTP: register, launch, call, stop, and a ledger that adds up."""
        owner = self.owner
        wait(lambda: owner.get("/gpu-types").status_code == 200, f"management after {what}", 60)
        instance = owner.run(owner.model(), allow_single_region=True)
        assert owner.chat(instance["model"]).status_code == 200, what
        before = owner.balance()["available_micros"]
        owner.stop(instance["id"])

        def settled():
            rows = [r for r in owner.ledger() if r.get("instance_id") == instance["id"]]
            kinds = [r["type"] for r in rows]
            assert kinds and kinds[0] == "hold" and "refund" in kinds, kinds
            hold, cost = -rows[0]["amount_micros"], -sum(r["amount_micros"] for r in rows if r["type"] == "gpu_usage")
            assert sum(r["amount_micros"] for r in rows) == -cost and 0 <= cost <= hold, rows
            assert owner.balance()["available_micros"] == before + hold - cost
            return True
        wait(settled, f"settlement after {what}", 60)


class Traffic:
    """Calls to one instance, one after another without a pause, until the block ends; each must succeed."""

    def __init__(self, client, model):
        self.client, self.model, self.count, self.failures = client, model, 0, []
        self.end, self.thread = threading.Event(), threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.end.is_set():
            try:
                answer = self.client.chat(self.model, max_tokens=2)
                if answer.status_code != 200:
                    self.failures.append((time.time(), answer.status_code, answer.text[:300]))
            except OSError as e:
                self.failures.append((time.time(), repr(e)))
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.end.set()
        self.thread.join(60)
        if error[0] is None:
            assert self.failures == [], f"{len(self.failures)} of {self.count} calls failed: {self.failures[:3]}"
            assert self.count >= 10, f"only {self.count} calls were made"


@pytest.fixture(scope="module")
def world(old_build):
    """This release's schema and bus, the last release's services on them."""
    stack = EitherRelease(tempfile.mkdtemp(prefix="ecolink-upgrade-"), old_build)
    assert stack.build == BUILD
    w = World(stack, old_build, BUILD)
    try:
        stack.up()  # migrates and configures the bus with this release
        for name in ("gateway", *reversed(CONTROL)):
            stack.stop(name)
        for name in (*CONTROL, "gateway"):
            w.replace(name, "old")
        w.owner = stack.account("100000.00", "upgrade")
        w.instance = w.owner.run(w.owner.hf_model("my-llama"))
        yield w
    finally:
        stack.build = BUILD
        try:
            stack.down()
        finally:
            stack.remove()


def test_the_last_releases_services_run_on_this_releases_schema_and_bus(world):
    assert set(world.runs.values()) == {"old"}
    world.works("the start of the old release")


def test_the_new_gateway_serves_from_the_old_ones_snapshot_and_sends_its_spool(world):
    owner, stack = world.owner, world.stack
    model = world.instance["model"]

    def counted():
        rows = owner.ok("GET", "/billing/usage", params={"instance_id": world.instance["id"]})["data"]
        return sum(r["requests"] for r in rows)

    def still():
        first = counted()
        time.sleep(1)  # absence: further usage
        return counted() == first and first
    before = wait(still, "usage of earlier calls")
    saved = stack.state / "gateway/snapshot"
    wait(lambda: not saved.exists() or time.time() - saved.stat().st_mtime > 11, "the newest routes in the file", 60)
    spool = stack.state / "gateway/spool/usage.spool"
    before_outage = time.time()
    stack.stop("nats")
    for _ in range(7):
        assert owner.chat(model).status_code == 200

    def spooled():
        """The spool has taken the calls, and all of them: the gateway sums for a fifth of a second before it writes."""
        file = spool.stat()
        return file.st_size > 0 and before_outage < file.st_mtime < time.time() - 2
    wait(spooled, "the calls in the spool")
    stack.kill("gateway")
    stack.build = BUILD
    stack.start("gateway")  # without a bus: it knows keys and routes from the file alone
    world.runs["gateway"] = "new"

    def answered():
        answer = owner.chat(model)
        assert answer.status_code == 200, (answer.status_code, answer.text, stack.log("gateway")[-1500:])
        return True
    wait(answered, "a call from the snapshot file", 30)
    stack.start("nats")
    for name in stack_services(stack):
        wait(lambda n=name: stack.ready(n), f"{name} after the bus came back", 60)

    def all_counted():
        assert counted() >= before + 8, f"{counted()} of {before} + 8 calls"
        return True
    wait(all_counted, "the spooled usage", 60)


def stack_services(stack):
    return [name for name in (*CONTROL, "gateway") if stack.runs(name)]


def test_the_new_gateway_works_with_the_old_control_plane(world):
    world.replace("gateway", "new")
    world.works("a new gateway before an old control plane")


@pytest.mark.parametrize("order", [CONTROL, tuple(reversed(CONTROL)), ("scheduler", "health", "registry", "billing")],
                         ids=["callers last", "callers first", "scheduler first"])
def test_services_are_replaced_one_by_one_under_traffic(world, order):
    for name in CONTROL:
        if world.runs[name] != "old":
            world.replace(name, "old")
    wait(lambda: world.owner.chat(world.instance["model"]).status_code == 200, "the instance that is called")
    with Traffic(world.owner, world.instance["model"]) as traffic:
        for name in order:
            world.replace(name, "new")
            world.works(f"the new {name} beside {sorted(world.runs.items())}")
    print(f"{traffic.count} calls, none failed")
    after = world.owner.wait_running(world.instance["id"])
    assert [r["restarts"] for r in after["replicas"]] == [0, 0], "a replica did not outlive an upgrade"


def test_the_old_gateway_works_with_the_new_control_plane(world):
    assert {world.runs[name] for name in CONTROL} == {"new"}
    world.replace("gateway", "old")
    world.works("an old gateway before a new control plane")


def test_the_new_gateway_takes_over_again(world):
    world.replace("gateway", "new")
    with Traffic(world.owner, world.instance["model"]):
        world.works("the whole new release")
