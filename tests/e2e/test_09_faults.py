"""kill -9 of each service in the middle of a launch, a stop and a stream; restarts of NATS and PostgreSQL. The next start recovers
by itself: nothing is lost, doubled or charged twice."""
import threading
import time
import uuid

import pytest
import requests
from eco.client import events
from eco.waiting import wait
from test_06_billing import check_ledger

SERVICES = ["registry", "scheduler", "billing", "health"]


def launch_until_definite(client, body, key, seconds=60):
    """Asks again with the same key until there is a final answer, as a careful client does."""
    def ask():
        try:
            answer = client.post("/inference-instances", json=body, headers={"Idempotency-Key": key}, timeout=15)
        except requests.exceptions.RequestException:
            return None
        return answer if answer.status_code in (201, 402) else None
    return wait(ask, "a definite answer to the launch", seconds, every=0.3)


@pytest.mark.parametrize("service", [*SERVICES, "gateway"])
def test_a_service_killed_in_the_middle_of_a_launch_leaves_one_instance_and_one_hold(stack, tenant, service):
    """kill -9 of each service in the middle of a launch: the next start recovers by itself"""
    body = {"model_id": tenant.hf_model()["id"], "engine": "simulator", "gpu_type": "l40s"}
    key = uuid.uuid4().hex
    first = {}

    def ask():
        try:
            first["answer"] = tenant.post("/inference-instances", json=body, headers={"Idempotency-Key": key}, timeout=20)
        except requests.exceptions.RequestException as e:
            first["answer"] = e
    thread = threading.Thread(target=ask)
    thread.start()
    stack.kill(service)
    stack.start(service)
    thread.join()
    stack.heal()
    launched = launch_until_definite(tenant, body, key).json()
    instance = tenant.wait_running(launched["id"], seconds=60)
    listed = tenant.ok("GET", "/inference-instances")["data"]
    assert [i["id"] for i in listed if i["status"] != "stopped"] == [instance["id"]]
    wait(lambda: tenant.balance()["held_micros"] == 76_800_000, "exactly one hold")
    check_ledger(tenant)
    wait(lambda: tenant.chat(instance["model"]).status_code == 200, "an answer")
    tenant.stop(instance["id"])
    wait(lambda: tenant.balance()["held_micros"] == 0, "the settlement")
    check_ledger(tenant)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_killed_in_the_middle_of_a_stop_settles_once(stack, tenant, service):
    """kill -9 of each service in the middle of a stop: the next start recovers by itself"""
    instance = tenant.run(tenant.hf_model(), gpu_type="l40s")
    stack.wait_proved(2)
    tenant.ok("POST", f"/inference-instances/{instance['id']}/stop")
    stack.kill(service)
    stack.start(service)
    tenant.wait_status(instance["id"], "stopped", seconds=60)
    rows = tenant.settled(instance["id"], 60)
    assert sorted(r["type"] for r in rows) == ["gpu_usage", "hold", "hold_release", "refund"]
    wait(lambda: not stack.replicas(instance["id"]), "no replica to be left")
    check_ledger(tenant)


@pytest.mark.parametrize("service", [*SERVICES, "nats", "postgres"])
def test_a_stream_and_new_calls_outlive_every_part_but_the_gateway(stack, tenant, service):
    """kill -9 of each service in the middle of a stream; restarts of NATS and PostgreSQL"""
    instance = tenant.run(tenant.hf_model(), args=["--token-ms", "50"])
    stream = events(tenant.chat(instance["model"], stream=True, max_tokens=40))
    got = [next(stream)]
    stack.kill(service)
    got += list(stream)
    assert got[-1] == "[DONE]"
    for _ in range(5):
        assert tenant.chat(instance["model"], max_tokens=2).status_code == 200
    pids = {r.name: r.pid for r in stack.replicas(instance["id"])}
    stack.start(service)
    stack.heal()
    instance = tenant.wait_running(instance["id"], seconds=60)
    assert {r.name: r.pid for r in stack.replicas(instance["id"])} == pids  # no replica was touched
    # And the whole way works again.
    after = tenant.run(tenant.hf_model())
    tenant.stop(after["id"])


def test_a_gateway_that_is_killed_serves_again_at_once(stack, tenant):
    """kill -9 of each service: the gateway"""
    instance = tenant.run(tenant.hf_model())
    stack.kill("gateway")
    stack.start("gateway")
    wait(lambda: tenant.chat(instance["model"]).status_code == 200, "an answer", 10)


def test_a_gateway_starts_from_its_snapshot_when_the_bus_is_away(stack, tenant):
    """nothing durable but a snapshot"""
    instance = tenant.run(tenant.hf_model())
    stack.stop("gateway")  # in order: the snapshot is written
    stack.kill("nats")
    try:
        # It cannot become ready, but it must serve: started without waiting for readiness.
        import subprocess
        started = subprocess.run([str(stack_tool()), "start", "gateway"], env=stack._env() | {"TERM": "dumb"}, timeout=90,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert started is not None
        wait(lambda: tenant.chat(instance["model"]).status_code == 200, "an answer without the bus", 15)
    finally:
        stack.start("nats")
        stack.heal()


def stack_tool():
    from eco.stack import TREE
    return TREE / "deploy/local/stack"


def test_the_scheduler_adopts_its_replicas(stack, tenant):
    """replicas survive a crash of the scheduler and are adopted by the next"""
    instance = tenant.run(tenant.hf_model())
    before = {r.name: r.pid for r in stack.replicas(instance["id"])}
    for _ in range(3):
        stack.kill("scheduler")
        stack.start("scheduler")
    tenant.wait_running(instance["id"], seconds=40)
    assert {r.name: r.pid for r in stack.replicas(instance["id"])} == before
    # Adopted is not abandoned: one that dies is started again.
    victim = stack.replicas(instance["id"])[0]
    victim.kill()
    wait(lambda: (r := {x.name: x.pid for x in stack.replicas(instance["id"])}) and victim.name in r and r[victim.name] != victim.pid, "its restart")
    tenant.wait_running(instance["id"])
    tenant.stop(instance["id"])
    wait(lambda: not stack.replicas(instance["id"]), "both to be gone")


def test_without_the_control_plane_management_says_so(stack, tenant):
    """503 `control_plane_unavailable`"""
    stack.kill("registry")
    try:
        tenant.refused("GET", "/models", 503, "control_plane_unavailable")
    finally:
        stack.start("registry")
    wait(lambda: tenant.get("/models").status_code == 200, "management again")


def test_usage_of_the_time_without_bus_is_not_lost(stack, tenant):
    """Without NATS it spools and replays"""
    instance = tenant.run(tenant.hf_model())
    stack.kill("nats")
    for _ in range(7):
        assert tenant.chat(instance["model"], max_tokens=11).status_code == 200
    stack.start("nats")
    stack.heal()

    def counted():
        rows = [r for r in tenant.ok("GET", "/billing/usage")["data"] if r["instance_id"] == instance["id"]]
        return sum(int(r["completion_tokens"]) for r in rows) >= 77
    wait(counted, "the usage", 30)
