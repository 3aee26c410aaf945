"""The scheduler drives two real API servers: launch, drift, restart, loss, outage and return, two schedulers at once. Faults that
a real API server does not commit on demand are in tests/integration/scheduler/test_kube_faults.py."""
import json
import os
import signal
import threading
import time

import driver_world
import pytest
from driver_world import GPUS_PER_TYPE, TENANTS, KubeWorld
from ecotest import pb
from ecotest.postgres import Postgres
from ecotest.stack import Stack
from kubetest.objects import http_get, until


S = pb.scheduler
RUNNING = S.INSTANCE_STATUS_RUNNING


@pytest.fixture(scope="module")
def world():
    with Postgres() as pg, Stack(pg) as stack:
        w = KubeWorld(stack)
        w.start()
        until("the GPUs of both regions are seen",
              lambda: stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] == GPUS_PER_TYPE)
        yield w
        w.close()


@pytest.fixture(autouse=True)
def no_instance_outlives_its_test(world):
    """A test that fails half-way spoils no other."""
    yield
    for i in world.live():
        world.gone(i)


def secret(world, text="s3cret-value"):
    return [pb.common.SealedKeyValue(name="TOKEN", value=world.seal(text))]


def test_instance_runs_in_two_clusters_and_leaves_nothing(world):
    i = world.running(secret_env=secret(world))
    assert len(world.objects("deployments")) == len(world.objects("secrets")) == len(world.objects("pods")) == 2
    assert "s3cret-value" not in json.dumps(world.objects("deployments"))
    assert len(world.objects("networkpolicies")) == 4
    assert len(world.objects("persistentvolumeclaims")) == 2
    route = world.route(i.id)
    for replica in route.replicas:  # the very address that gateways use answers under the model's name
        status, body = http_get(replica.host, replica.port, "/v1/models", token=replica.token)
        assert status == 200 and json.loads(body)["data"][0]["id"] == "my-llama"
        assert http_get(replica.host, replica.port, "/v1/models")[0] == 401  # gateways and probes alone have it
    uids = {p["metadata"]["uid"] for p in world.objects("pods")}
    assert {r.run_id.split(".")[0] for r in route.replicas} == uids
    logs = world.stack.rpc("scheduler.ReadInstanceLogs", S.ReadInstanceLogsRequest(id=i.id), S.InstanceLogs, caller=world.owner)
    assert {line.region for line in logs.data} == {"kube-a", "kube-b"}
    world.gone(i.id)
    assert world.reserved() == 0
    meter = world.meter(i.id)
    assert meter.complete and len(meter.intervals) == 2 and all(m.ended_at_us for m in meter.intervals)


def test_restart_replaces_one_region_at_a_time(world):
    i = world.running(secret_env=secret(world))
    before, deployments = set(world.uids("pods")), world.uids("deployments")
    fewest, done = [2], threading.Event()

    def watch():
        while not done.is_set():
            fewest[0] = min(fewest[0], world.get(i.id).ready_replicas)
            time.sleep(0.02)  # act: samples, until it is told to end
    watcher = threading.Thread(target=watch)
    watcher.start()
    world.restart(i.id)
    until("both pods are new and Ready", lambda: not before & set(world.uids("pods")) and world.get(i.id).ready_replicas == 2)
    done.set()
    watcher.join()
    assert fewest[0] == 1
    assert world.uids("deployments") == deployments  # changed in place, by server-side apply
    managers = {(e["manager"], e["operation"]) for d in world.objects("deployments") for e in d["metadata"]["managedFields"]
                if not e.get("subresource")}
    assert ("ecolink-scheduler", "Apply") in managers and ("ecolink-scheduler", "Update") not in managers
    world.gone(i.id)


@pytest.mark.parametrize("kind", ["deployments", "secrets", "pods"])
def test_deleted_object_is_made_again(world, kind):
    i = world.running(secret_env=secret(world))
    victim = world.objects(kind, "kube-a")[0]
    world.api["kube-a"].call("DELETE", world.path(kind, victim["metadata"]["name"]))
    until("another one is there", lambda: [o for o in world.objects(kind, "kube-a")
                                           if o["metadata"]["uid"] != victim["metadata"]["uid"]
                                           and "deletionTimestamp" not in o["metadata"]])
    until("both are Ready", lambda: world.get(i.id).ready_replicas == 2)
    assert len(world.objects("deployments")) == 2
    world.gone(i.id)


def patch(world, region, kind, name, body):
    return world.api[region].call("PATCH", world.path(kind, name) + "?fieldManager=kubectl-edit", body,
                                  "application/merge-patch+json")


def test_edited_objects_are_set_right(world):
    i = world.running(secret_env=secret(world))
    name = f"eco-{i.id}-" + next(str(r.id) for r in i.replicas if r.region == "kube-b")
    patch(world, "kube-b", "deployments", name, {"spec": {"replicas": 3}})
    patch(world, "kube-b", "secrets", name, {"data": {"TOKEN": "b3RoZXI="}})
    until("the count is ours", lambda: world.api["kube-b"].get(world.path("deployments", name))["spec"]["replicas"] == 1)
    until("the secret is ours",
          lambda: world.api["kube-b"].get(world.path("secrets", name))["data"]["TOKEN"] == "czNjcmV0LXZhbHVl")
    until("one pod", lambda: len(world.objects("pods", "kube-b")) == 1)
    until("both are Ready", lambda: world.get(i.id).ready_replicas == 2)
    world.gone(i.id)


def test_label_taken_away_is_put_back(world):
    i = world.running()
    name = f"eco-{i.id}-" + next(str(r.id) for r in i.replicas if r.region == "kube-a")
    before = world.uids("pods")
    patch(world, "kube-a", "deployments", name, {"metadata": {"labels": {"ecolink.io/account": None}}})
    patch(world, "kube-a", "deployments", name, {"spec": {"paused": True}})  # what we do not say stays the user's
    until("the label is back",
          lambda: world.api["kube-a"].get(world.path("deployments", name))["metadata"]["labels"].get("ecolink.io/account"))
    assert world.api["kube-a"].get(world.path("deployments", name))["spec"]["paused"] is True
    assert world.uids("pods") == before
    assert world.get(i.id).ready_replicas == 2
    world.gone(i.id)


def test_foreign_deployment_under_our_name_is_left_alone(world):
    highest = world.stack.sql("SELECT coalesce(max(id), 0) FROM scheduler.instances")[0][0]
    labels = {"app": "other"}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"eco-{highest + 1}-1"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}}
    made = [api.post(world.path("deployments"), body) for api in world.api.values()]
    i = world.launch()
    until("one replica runs", lambda: world.get(i.id).ready_replicas == 1)
    region = next(r.region for r in world.get(i.id).replicas if r.id == 1)
    assert "somebody else" in next(r.status_detail for r in world.get(i.id).replicas if r.id == 1)
    now = world.api[region].get(world.path("deployments", f"eco-{i.id}-1"))
    assert now["metadata"]["uid"] in {m["metadata"]["uid"] for m in made} and "labels" not in now["metadata"]
    for api in world.api.values():
        api.call("DELETE", world.path("deployments", f"eco-{i.id}-1"))
    until("then both run", lambda: world.get(i.id).ready_replicas == 2)
    world.gone(i.id)


@pytest.mark.parametrize("image,words", [("ecolink/missing:1", "cannot be pulled"), ("ecolink/out-of-memory:1", "ran out of memory"),
                                         ("ecolink/broken-start:1", "cannot be created")])
def test_container_trouble_is_told_in_words(world, image, words):
    i = world.launch(engine="", image=image, args=["--host", "0.0.0.0", "--port", "8000", "--model", "my-llama"])
    until(words, lambda: all(words in r.status_detail for r in world.get(i.id).replicas))
    world.gone(i.id)


def test_last_gpu_has_one_winner_and_one_clear_refusal(world):
    i = world.running(gpu_count=8)
    j = world.running(gpu_count=8)
    with pytest.raises(Exception) as refusal:
        world.launch(gpu_count=1)
    assert refusal.value.code == "insufficient_capacity"
    world.gone(i.id)
    world.gone(j.id)
    assert world.reserved() == 0


def test_foreign_pod_takes_its_gpus_from_the_room(world):
    api = world.api["kube-a"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "foreign"},
           "spec": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L40S"}, "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "a", "image": "ecolink/simulator:test", "args": ["--host", "0.0.0.0", "--port", "8000", "--model", "x"],
                                    "resources": {"limits": {"nvidia.com/gpu": "3"}}}]}}
    def total():
        return world.stack.sql("SELECT total FROM scheduler.gpu_rooms WHERE region = 'kube-a'")[0][0]
    api.post("/api/v1/namespaces/default/pods", pod)
    until("three are taken", lambda: total() == GPUS_PER_TYPE - 3)
    api.call("DELETE", "/api/v1/namespaces/default/pods/foreign")
    until("and given back", lambda: total() == GPUS_PER_TYPE)


def test_replica_of_a_dead_node_is_withdrawn_and_runs_on_another(world):
    i = world.running()
    pod = world.objects("pods", "kube-a")[0]
    node = pod["spec"]["nodeName"]
    down = world.planes["kube-a"].region.path("pods", f"{node}.down")
    with open(down, "w", encoding="ascii"):
        pass
    try:
        until("its route is withdrawn", lambda: [r.region for r in world.route(i.id).replicas] == ["kube-b"], 60)
        until("it runs on another node", lambda: world.get(i.id).ready_replicas == 2 and node not in {
            p["spec"]["nodeName"] for p in world.objects("pods", "kube-a") if "deletionTimestamp" not in p["metadata"]}, 60)
    finally:
        os.unlink(down)
    until("the node is back", lambda: any(c["type"] == "Ready" and c["status"] == "True" for c in world.api["kube-a"].get(
        f"/api/v1/nodes/{node}")["status"]["conditions"]))
    world.gone(i.id)
    until("its GPUs count again", lambda: world.stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] == GPUS_PER_TYPE)


def test_deleted_volume_is_made_again(world):
    i = world.running()
    claim = world.objects("persistentvolumeclaims", "kube-a")[0]
    world.api["kube-a"].call("DELETE", world.path("persistentvolumeclaims", claim["metadata"]["name"]))
    assert world.get(i.id).ready_replicas == 2  # Kubernetes keeps it while a pod has it
    world.gone(i.id)
    until("then it goes", lambda: claim["metadata"]["uid"] not in world.uids("persistentvolumeclaims", "kube-a"))
    j = world.running()
    assert len(world.objects("persistentvolumeclaims", "kube-a")) == 1
    world.gone(j.id)


def test_last_lines_of_a_failure_are_kept(world):
    i = world.launch(engine="", image="ecolink/out-of-memory:1", args=["--host", "0.0.0.0", "--port", "8000", "--model", "my-llama"])
    until("it has written", lambda: world.logs(i.id))
    world.gone(i.id)
    kept = world.logs(i.id)
    assert kept and {line.region for line in kept} <= {"kube-a", "kube-b"}


def test_dead_api_server_leaves_replicas_alone(world):
    i = world.running()
    pods, elsewhere = world.uids("pods"), world.uids("pods", "kube-b")
    world.planes["kube-a"].stop("apiserver")
    time.sleep(20)  # absence: conclusions
    assert world.get(i.id).ready_replicas == 2  # nothing is concluded from silence
    assert len(world.route(i.id).replicas) == 2
    assert world.uids("pods", "kube-b") == elsewhere
    world.planes["kube-a"].start("apiserver")
    world.planes["kube-a"].wait_ready()
    j = world.launch()
    world.until(j.id, RUNNING, ready=2, timeout=90)
    # The cluster itself may call a node not Ready whose heartbeats it missed while it was down, until the next one; the pods stay.
    world.until(i.id, RUNNING, ready=2, timeout=30)
    assert set(pods) <= set(world.uids("pods"))
    world.gone(j.id)
    world.gone(i.id)


def test_frozen_api_server_is_noticed_and_nothing_is_lost(world):
    i = world.running()
    pid = world.planes["kube-a"].process("apiserver").pid()
    told = len(world.service.logs())
    os.kill(pid, signal.SIGSTOP)
    until("the silence is noticed", lambda: any("region cannot be observed" in line and "kube-a" in line
                                                for line in world.service.logs()[told:].splitlines()))
    assert world.get(i.id).ready_replicas == 2
    os.kill(pid, signal.SIGCONT)
    j = world.launch()
    world.until(j.id, RUNNING, ready=2, timeout=90)
    world.gone(j.id)
    world.gone(i.id)


def test_killed_scheduler_writes_nothing_that_is_in_order(world):
    i = world.running(secret_env=secret(world))
    versions = {o["metadata"]["uid"]: o["metadata"]["generation"] for o in world.objects("deployments")}
    pods = world.uids("pods")
    secrets = {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in world.objects("secrets")}
    world.service.kill()
    world.start()
    time.sleep(4)  # absence: writes
    assert world.get(i.id).ready_replicas == 2
    assert {o["metadata"]["uid"]: o["metadata"]["generation"] for o in world.objects("deployments")} == versions
    assert {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in world.objects("secrets")} == secrets
    assert world.uids("pods") == pods
    world.gone(i.id)


def test_two_schedulers_and_a_hand_over(world):
    i = world.running()
    first = world.service
    second = world.start()
    pods = world.uids("pods")
    first.kill()
    world.service = second
    j = world.launch()
    world.until(j.id, RUNNING, ready=2, timeout=60)
    assert set(pods) <= set(world.uids("pods"))
    assert len(world.objects("deployments")) == 4
    world.gone(j.id)
    world.gone(i.id)


@pytest.mark.parametrize("point", ["kubernetes.object_created:1", "kubernetes.object_created:2", "kubernetes.object_created:3",
                                   "kubernetes.object_created:4", "kubernetes.object_deleted:1", "kubernetes.object_deleted:2"])
def test_scheduler_that_dies_between_two_objects_leaks_nothing(world, point):
    world.service.stop()
    crash = world.start(crash_point=point)
    before = world.stack.sql("SELECT coalesce(max(id), 0) FROM scheduler.instances")[0][0]
    try:
        world.launch(timeout=5, secret_env=secret(world))
    except Exception:  # pylint: disable=broad-exception-caught
        pass  # its answer died with it
    i = world.stack.sql(f"SELECT id FROM scheduler.instances WHERE id > {before} AND launch_state = 'done'")[0][0]
    if "deleted" in point:
        world.until(i, RUNNING, ready=2)
        world.stop(i)
    crash.process.wait(40)
    world.start()
    if "created" in point:
        world.until(i, RUNNING, ready=2)
    world.gone(i)
    assert world.reserved() == 0


def test_driver_asks_for_no_right_that_its_role_lacks(world):
    assert "403" not in world.service.logs() and "Forbidden" not in world.service.logs()
    assert TENANTS == driver_world.TENANTS
