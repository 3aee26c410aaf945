"""Launching instances (product description, section 3)."""
import shutil
import uuid

import pytest
import requests
from eco.waiting import wait


def regions_of(instance):
    return [r["region"] for r in instance["replicas"]]


def test_a_huggingface_model_gets_two_replicas_in_two_regions(tenant):
    """[D] 3: HuggingFace- and platform-based -> 2 replicas across 2 separate regions"""
    instance = tenant.run(tenant.hf_model())
    assert instance["total_replicas"] == instance["ready_replicas"] == 2
    assert len(set(regions_of(instance))) == 2
    assert [r["id"] for r in instance["replicas"]] == [1, 2] and all(r["ready"] for r in instance["replicas"])


def test_a_platform_based_instance_gets_two_replicas_in_two_regions(stack, tenant):
    """[D] 3: HuggingFace- and platform-based -> 2 replicas across 2 separate regions"""
    name = f"platform-{uuid.uuid4().hex[:8]}"
    stack.admin.ok("PUT", f"/admin/platform-models/{name}", json={"repo": "org/platform", "category": "chat"})
    instance = tenant.ok("POST", "/inference-instances", 201, json={"platform_model": name, "engine": "simulator", "gpu_type": "cpu"})
    assert instance["total_replicas"] == 2 and len(set(regions_of(instance))) == 2
    assert instance["platform_model"] == name


def test_a_shared_filesystem_model_gets_one_replica_in_the_filesystems_region(tenant):
    """[D] 3: shared-filesystem -> 1 replica in the filesystem's region"""
    fs = tenant.ok("POST", "/filesystems", 201, json={"name": "weights", "region": "ap-south", "mount_path": "/shared"})
    model = tenant.model(source="shared_filesystem", filesystem_id=fs["id"], path="/shared/m")
    instance = tenant.launch(model, args=[])
    assert instance["total_replicas"] == 1 and regions_of(instance) == ["ap-south"]


def test_target_regions_restrict_the_choice(tenant):
    """[D] 3: Fields: target regions"""
    model = tenant.hf_model()
    instance = tenant.launch(model, regions=["us-east", "ap-south"])
    assert sorted(regions_of(instance)) == ["ap-south", "us-east"]
    tenant.refused("POST", "/inference-instances", 409, "insufficient_capacity",
                   json={"model_id": model["id"], "engine": "simulator", "gpu_type": "cpu", "regions": ["us-east"]})
    single = tenant.launch(model, regions=["us-east"], allow_single_region=True)
    assert set(regions_of(single)) == {"us-east"}


def test_gpu_type_and_count_are_taken_and_reserved(tenants):
    """[D] 3: Fields: GPU type, GPU count (per replica)"""
    tenant = tenants("10000.00")
    model = tenant.hf_model()
    free = lambda: {r["name"]: g["free"] for r in tenant.ok("GET", "/regions")["data"] for g in r["gpus"] if g["gpu_type"] == "l40s"}
    before = free()
    instance = tenant.launch(model, gpu_type="l40s", gpu_count=3)
    assert (instance["gpu_type"], instance["gpu_count"]) == ("l40s", 3)
    after = free()
    for region in regions_of(instance):
        assert after[region] == before[region] - 3
    tenant.stop(instance["id"])
    wait(lambda: free() == before, "the GPUs to be free again")


def test_too_little_capacity_is_refused_with_what_was_short(tenants):
    """fewer than two usable regions is refused with what was short"""
    tenant = tenants("10000.00")
    error = tenant.refused("POST", "/inference-instances", 409, "insufficient_capacity",
                           json={"model_id": tenant.hf_model()["id"], "engine": "simulator", "gpu_type": "scarce", "gpu_count": 2})
    assert "scarce" in error["message"]
    assert tenant.ok("GET", "/inference-instances")["data"] == []
    assert tenant.balance()["held_micros"] == 0


def test_a_container_of_the_users_own_is_run(stack, tenant):
    """[D] 3: Fields: container image (vLLM, TGI, custom)"""
    # A copy: replicas run as a user who may not be allowed into the build tree.
    command = [str(shutil.copy(stack.build / "bin/ecolink-simulator", stack.state / "own-container"))]
    instance = tenant.run(tenant.hf_model("own"), engine="", image="local/own", command=command,
                          args=["--host", "{host}", "--port", "{port}", "--model", "{model}"], env={"GREETING": "hi"})
    assert tenant.chat(instance["model"]).json()["model"]


def test_openai_compatible_is_on_by_default(tenant):
    """[D] 3: "container is OpenAI-compatible" (default on)"""
    assert tenant.launch(tenant.hf_model())["openai_compatible"] is True


def test_a_custom_api_path_belongs_to_a_container_that_is_not_openai_compatible(tenant):
    """[D] 3: `custom_api_path` when it is off (e.g. `/generate`)"""
    model = tenant.hf_model()
    instance = tenant.launch(model, openai_compatible=False, custom_api_path="/generate")
    assert instance["openai_compatible"] is False
    assert instance["proxy_url"].endswith(f"/inference-instances/{instance['id']}/proxy")


def test_a_quote_tells_price_and_hold_and_changes_nothing(tenant):
    """The answer to a quote shows rate per GPU, replicas, regions chosen and the hold"""
    model = tenant.hf_model()
    quote = tenant.ok("POST", "/inference-instances?dry_run=true", json={"model_id": model["id"], "engine": "simulator", "gpu_type": "l40s"})
    assert (quote["hourly_rate"], quote["total_replicas"], len(set(quote["regions"]))) == ("1.60", 2, 2)
    assert quote["hold"] == "76.80" and quote["burn_rate_micros_per_hour"] == 3_200_000
    assert tenant.ok("GET", "/inference-instances")["data"] == [] and tenant.balance()["held_micros"] == 0


def test_the_states_of_a_life_are_told_in_order(tenant):
    """[D] 1: Flow: register a model -> launch an instance -> wait for `running` -> call it"""
    instance = tenant.launch(tenant.hf_model(), args=["--start-delay-ms", "1500"])
    assert instance["status"] in ("pending", "provisioning")
    error = tenant.refused("POST", "/v1/chat/completions", 503, "instance_starting", json={"model": instance["model"], "messages": []})
    assert error["type"] == "server_error"
    tenant.wait_running(instance["id"])
    wait(lambda: tenant.chat(instance["model"]).status_code == 200, "the route")
    end = tenant.stop(instance["id"])
    assert end["termination_reason"] == "user_requested" and end["stopped_at"]
    events = tenant.ok("GET", f"/inference-instances/{instance['id']}/events", params={"limit": 100})["data"]
    seen = [e["status"] for e in events]
    order = [s for s in ("provisioning", "running", "stopping", "stopped") if s in seen]
    assert [seen.index(s) for s in order] == sorted(seen.index(s) for s in order) and order[-3:] == ["running", "stopping", "stopped"]
    assert [int(e["id"]) for e in events] == sorted(int(e["id"]) for e in events)
    tenant.refused("POST", "/v1/chat/completions", 404, "model_not_found", json={"model": instance["model"], "messages": []})
    tenant.refused("POST", f"/inference-instances/{instance['id']}/restart", 409, "wrong_state")


def test_stop_is_legal_again_and_again(tenant):
    """Stop is legal in every live state"""
    instance = tenant.launch(tenant.hf_model())
    tenant.stop(instance["id"])
    assert tenant.ok("POST", f"/inference-instances/{instance['id']}/stop")["status"] == "stopped"
    assert tenant.ok("DELETE", f"/inference-instances/{instance['id']}")["status"] == "stopped"


def test_restart_replaces_the_replicas_under_the_same_hold(stack, tenant):
    """`restart` replaces replicas one region at a time under the same hold"""
    instance = tenant.run(tenant.hf_model())
    before = {r.name: r.pid for r in stack.replicas(instance["id"])}
    held = tenant.balance()["held_micros"]
    tenant.ok("POST", f"/inference-instances/{instance['id']}/restart")

    def replaced():
        now = {r.name: r.pid for r in stack.replicas(instance["id"])}
        return len(now) == 2 and all(now[n] != before[n] for n in before)
    wait(replaced, "both replicas to be new", 40)
    tenant.wait_running(instance["id"])
    assert tenant.balance()["held_micros"] == held


def test_an_idempotency_key_launches_once(tenant):
    """an idempotency key"""
    model = tenant.hf_model()
    body = {"model_id": model["id"], "engine": "simulator", "gpu_type": "cpu"}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = tenant.ok("POST", "/inference-instances", 201, json=body, headers=headers)
    again = tenant.ok("POST", "/inference-instances", 201, json=body, headers=headers)
    assert again["id"] == first["id"] and len(tenant.ok("GET", "/inference-instances")["data"]) == 1
    tenant.refused("POST", "/inference-instances", 409, "idempotency_mismatch", json=body | {"gpu_count": 2}, headers=headers)


def test_a_crash_loop_fails_the_instance_and_keeps_its_last_words(stack, tenant):
    """`crash_loop` (5 exits within 10 minutes); the last log lines are kept"""
    instance = tenant.launch(tenant.hf_model(), engine="", image="local/own", command=["/bin/sh", "-c", "echo no such weights; exit 3"])
    # Back-off lets the fifth exit come after 1 + 2 + 4 + 8 s.
    end = tenant.wait_status(instance["id"], "failed", seconds=40)
    assert end["termination_reason"] == "crash_loop"
    lines = tenant.ok("GET", f"/inference-instances/{instance['id']}/logs")["data"]
    assert any("no such weights" in line["text"] for line in lines)
    assert sum(r["amount_micros"] for r in tenant.settled(instance["id"])) == 0  # never Ready: nothing is charged


def test_logs_are_read_and_followed(tenant):
    """/inference-instances/{id}/events, /logs: GET (`?follow=true` streams SSE)"""
    instance = tenant.run(tenant.hf_model(), args=["--log-lines", "3", "--log-ms", "100"])
    lines = tenant.ok("GET", f"/inference-instances/{instance['id']}/logs")["data"]
    assert {"start line 1 of 3", "start line 3 of 3"} <= {line["text"] for line in lines}
    with tenant.get(f"/inference-instances/{instance['id']}/logs", params={"follow": "true"}, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines(chunk_size=1):
            if b"written now and then" in line:
                break
        else:
            pytest.fail("the followed log ended")


def test_secret_environment_reaches_the_replica_and_nobody_else(stack, tenant):
    """env (name -> value, and secret env)"""
    import pathlib
    instance = tenant.run(tenant.hf_model(), env={"PLAIN": "seen"}, secret_env={"HIDDEN": "top-secret-value-1"})
    for replica in stack.replicas(instance["id"]):
        env = pathlib.Path(f"/proc/{replica.pid}/environ").read_text().split("\0")
        assert "PLAIN=seen" in env and "HIDDEN=top-secret-value-1" in env
        assert not any(e.startswith("ECOLINK_SCHEDULER") or "DATABASE_URL" in e for e in env)
    assert "top-secret-value-1" not in tenant.get(f"/inference-instances/{instance['id']}").text
    for name in ("scheduler", "gateway"):
        assert "top-secret-value-1" not in stack.log(name)


@pytest.mark.parametrize("fields,param", [
    ({"gpu_count": 0}, "gpu_count"), ({"gpu_count": 1000}, "gpu_count"), ({"engine": "no-such"}, "engine"),
    ({"regions": ["atlantis"]}, "regions"), ({"gpu_type": "abacus"}, "gpu_type"), ({"custom_api_path": "generate", "openai_compatible": False}, "custom_api_path"),
    ({"startup_deadline_s": -1}, "startup_deadline_s"), ({"nonsense": 1}, "nonsense"),
])
def test_a_launch_of_wrong_form_names_the_field(chat_client, chat_instance, fields, param):
    """each gets the documented status, an error that says what to do"""
    body = {"model_id": chat_instance["model_id"], "engine": "simulator", "gpu_type": "cpu"} | fields
    answer = chat_client.post("/inference-instances", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["param"] == param


def test_another_accounts_model_cannot_be_launched(tenants, chat_instance):
    """[D] 5: account-scoped"""
    tenants().refused("POST", "/inference-instances", 403, "forbidden",
                      json={"model_id": chat_instance["model_id"], "engine": "simulator", "gpu_type": "cpu"})
