"""The management API while parts of the stack are away: what answers, what waits, and what is found again afterwards."""

import json
import threading
import uuid

import pytest

from management import Api, LocalStack, eventually

LAUNCH = {"engine": "simulator", "gpu_type": "local-cpu"}


@pytest.fixture(scope="module")
def stack():
    local = LocalStack()
    try:
        env = local.up()
        yield local, Api(env["ECOLINK_URL"], env["ECOLINK_ADMIN_KEY"])
    finally:
        local.close()


@pytest.fixture(scope="module")
def owner(stack):
    api = stack[1]
    return api.key(api.account()[1], "owner")


def stop(local, name):
    done = local.run("stop", name)
    assert done.returncode == 0, done.stderr


def start(local, name):
    done = local.run("start", name)
    assert done.returncode == 0, done.stderr


def model(owner):
    return owner.post("/models", {"name": f"m-{uuid.uuid4().hex[:8]}", "source": "huggingface", "repo": "acme/m",
                                  "category": "chat"}).json()


def running(owner, instance_id):
    return eventually(lambda: owner.get("/inference-instances/{id}", id=instance_id).json()["status"] == "running", 60,
                      0.2, f"instance {instance_id} runs")


@pytest.mark.parametrize("service,mine,others", [
    ("registry", "/models", ["/billing/balance", "/inference-instances"]),
    ("billing", "/billing/balance", ["/models", "/inference-instances"]),
    ("scheduler", "/inference-instances", ["/models", "/billing/balance"])])
def test_a_service_that_is_away_is_answered_503_and_the_others_go_on(stack, owner, service, mine, others):
    local = stack[0]
    owner.get(mine)
    stop(local, service)
    try:
        away = owner.get(mine, expect=503)
        assert away.json()["error"]["code"] == "control_plane_unavailable"
        assert int(away.headers["retry-after"]) > 0
        for path in others:
            owner.get(path)
    finally:
        start(local, service)
    owner.get(mine)


def test_without_the_bus_management_says_503_and_comes_back_by_itself(stack, owner):
    local = stack[0]
    stop(local, "nats")
    try:
        owner.get("/models", expect=503)
        owner.get("/v1/models")  # the data plane needs nobody
    finally:
        start(local, "nats")
    for path in ("/models", "/billing/balance", "/inference-instances"):  # each service comes back in its own time
        eventually(lambda p=path: owner.call("GET", p).status_code == 200, 30, what=f"{path} after the bus is back")


def test_a_launch_repeated_after_a_restart_is_the_same_launch(stack, owner):
    local = stack[0]
    body = dict(LAUNCH, model_id=model(owner)["id"])
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = owner.post("/inference-instances", body, headers=key).json()
    stop(local, "scheduler")
    start(local, "scheduler")
    again = owner.post("/inference-instances", body, headers=key).json()
    assert again["id"] == first["id"]
    assert len([i for i in owner.get("/inference-instances").json()["data"] if i["id"] == first["id"]]) == 1
    owner.delete("/inference-instances/{id}", id=first["id"])


def test_followed_events_survive_a_restart_of_their_owner(stack, owner):
    local = stack[0]
    launched = owner.post("/inference-instances", dict(LAUNCH, model_id=model(owner)["id"])).json()
    running(owner, launched["id"])
    answer = owner.get("/inference-instances/{id}/events", id=launched["id"], query={"follow": "true"}, stream=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(answer.iter_lines(decode_unicode=True)))
    reader.start()
    stop(local, "scheduler")
    start(local, "scheduler")
    owner.delete("/inference-instances/{id}", id=launched["id"])
    reader.join(60)
    assert not reader.is_alive(), "the stream did not end"
    assert "event: end" in lines
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: {\"object\"")]
    assert [e["id"] for e in told] == list(range(1, len(told) + 1)), "an event is missing, repeated or out of order"
    assert told[-1]["status"] == "stopped"
