"""Instances in Kubernetes regions, driven by the whole scheduler against two API servers whose faults the test chooses
(kube_fake.py): launch, drift, stop, and every fault of the table in docs/kubernetes.md. What real API servers do: tests/kube."""

import json
import os
import shutil
import threading
import time

import pytest

import world as world_module
from ecotest import pb
from kube_fake import SPACE, Cluster, failure
from test_kube_client import Api, make_authority
from world import World, eventually

S = pb.scheduler
RUNNING, STOPPED, PROVISIONING, FAILED = (S.INSTANCE_STATUS_RUNNING, S.INSTANCE_STATUS_STOPPED, S.INSTANCE_STATUS_PROVISIONING,
                                          S.INSTANCE_STATUS_FAILED)


class Region:
    def __init__(self, name, number, folder, configs):
        self.name, self.cluster, self.api = name, Cluster(number), Api(folder)
        self.token_file = os.path.join(configs, f"{name}.token")
        with open(self.token_file, "w", encoding="utf-8") as f:
            f.write("first")
        self.api.script(lambda h, body: self.cluster.answer(h, body))
        shutil.copy(self.api.config(user={"tokenFile": self.token_file}), os.path.join(configs, f"{name}.yaml"))

    def close(self):
        self.cluster.close()
        self.api.close()


class KubeWorld(World):
    def __init__(self, stack, folder):
        super().__init__(stack)
        self.configs = os.path.join(stack.dir, "kubeconfigs")
        os.makedirs(self.configs)
        self.regions = {name: Region(name, 100 + i, folder, self.configs) for i, name in enumerate(("kube-a", "kube-b"))}
        with open(self.seed, "w", encoding="utf-8") as f:
            json.dump({"gpu_types": world_module.SEED["gpu_types"],
                       "regions": [{"name": name, "driver": "kubernetes", "gpus": [{"gpu_type": "sim", "total": 1}],
                                    "kubernetes": {"kubeconfig": f"{name}.yaml", "weights_gb": 10}} for name in self.regions]}, f)

    def settings(self, **more):
        out = super().settings(KUBECONFIG_DIR=self.configs, KUBERNETES_SIMULATOR="true", **more)
        for name in ("PROCESS_STATE_DIR", "PROCESS_RUN_DIR", "PROCESS_ALLOW_COMMANDS", "PROCESS_SIMULATOR"):
            out.pop(name)
        return out

    def until(self, instance, status, timeout=20, ready=None):
        try:
            return super().until(instance, status, timeout, ready)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.get(instance)}\n{[c.said for c in self.clusters()]}\n{self.service.logs()[-3000:]}") from e

    def clusters(self):
        return [r.cluster for r in self.regions.values()]

    def objects(self, kind):
        return [o for c in self.clusters() for o in c.all(kind)]

    def close(self):
        for i in list(self.stack.sql("SELECT id FROM scheduler.instances WHERE status IN (2, 3) AND launch_state = 'done'")):
            self.stop(i[0])
        self.service.stop()
        for r in self.regions.values():
            r.close()
        if self.end_billing:
            self.end_billing()
        for end in self.ends:
            end()


def rooms_are_seen(kube):
    eventually(lambda: kube.stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] == 16, 30, 0.1, "free GPUs are seen")


@pytest.fixture(scope="module")
def kube(stack, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("kube-pki"))
    make_authority(folder)
    w = KubeWorld(stack, folder)
    w.start()
    rooms_are_seen(w)
    yield w
    w.close()


def gone(kube, instance):
    kube.stopped(instance)
    eventually(lambda: not [o for k in ("deployments", "secrets", "services", "pods") for o in kube.objects(k)
                            if o["metadata"]["labels"].get("ecolink.io/instance") == str(instance)], 20, 0.1, "nothing is left")


def test_a_launch_runs_in_two_clusters_and_leaves_nothing(kube):
    secret = pb.common.SealedKeyValue(name="TOKEN", value=kube.seal("s3cret-value"))
    i = kube.running(secret_env=[secret])
    deployments, secrets = kube.objects("deployments"), kube.objects("secrets")
    assert sorted(d["metadata"]["name"] for d in deployments) == [f"eco-{i.id}-1", f"eco-{i.id}-2"]
    assert "s3cret-value" not in json.dumps(deployments)
    assert {s["data"]["TOKEN"] for s in secrets} == {"czNjcmV0LXZhbHVl"}
    owners = {s["metadata"]["ownerReferences"][0]["uid"] for s in secrets}
    assert owners == {d["metadata"]["uid"] for d in deployments}
    assert all(len(c.all("networkpolicies")) == 2 and len(c.all("persistentvolumeclaims")) == 1 for c in kube.clusters())
    route = kube.route(i.id)
    assert sorted(r.host.split(".")[1] for r in route.replicas) == ["100", "101"]
    assert all(r.run_id.endswith(".0") for r in route.replicas)
    gone(kube, i.id)
    assert kube.reserved() == 0


def test_a_restart_replaces_one_region_at_a_time(kube):
    i = kube.running()
    before = {p["metadata"]["name"] for p in kube.objects("pods")}
    fewest = [2]
    done = threading.Event()

    def watch():
        while not done.is_set():
            fewest[0] = min(fewest[0], kube.get(i.id).ready_replicas)
            time.sleep(0.05)  # act: samples, until it is told to end
    watcher = threading.Thread(target=watch)
    watcher.start()
    kube.restart(i.id)
    eventually(lambda: len(kube.objects("pods")) == 2 and not before & {p["metadata"]["name"] for p in kube.objects("pods")}
               and kube.get(i.id).ready_replicas == 2, 30, 0.1, "both are new")
    done.set()
    watcher.join()
    assert fewest[0] >= 1
    assert len(kube.objects("deployments")) == 2
    gone(kube, i.id)


@pytest.mark.parametrize("kind", ["deployments", "secrets", "networkpolicies"])
def test_what_a_user_deletes_is_made_again(kube, kind):
    i = kube.running(secret_env=[pb.common.SealedKeyValue(name="TOKEN", value=kube.seal("x"))])
    cluster = kube.regions["kube-a"].cluster
    victim = cluster.all(kind)[0]
    cluster.drop((kind, SPACE, victim["metadata"]["name"]))
    if kind == "networkpolicies":
        kube.restart(i.id)  # policies are looked after whenever something is written
    eventually(lambda: (cluster.get(kind, victim["metadata"]["name"]) or victim)["metadata"]["uid"] != victim["metadata"]["uid"],
               15, 0.1, "it is made again")
    kube.until(i.id, RUNNING, ready=2)
    gone(kube, i.id)


def test_what_a_user_edits_is_set_right(kube):
    i = kube.running()
    cluster = kube.regions["kube-b"].cluster
    d = cluster.all("deployments")[0]
    d["spec"]["replicas"] = 0
    d["metadata"]["managedFields"].append({"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {}}})
    cluster.put("deployments", SPACE, d)
    eventually(lambda: cluster.all("deployments")[0]["spec"]["replicas"] == 1, 10, 0.1, "it is set right")
    kube.until(i.id, RUNNING, ready=2)
    gone(kube, i.id)


def test_a_copy_of_our_object_is_deleted(kube):
    """kubectl get -o yaml, another name, kubectl apply: labels and all. It would hold GPUs for ever."""
    i = kube.running()
    cluster = kube.regions["kube-a"].cluster
    original = cluster.all("deployments")[0]
    twin = {**original, "metadata": {k: v for k, v in original["metadata"].items() if k not in ("uid", "resourceVersion")}}
    twin["metadata"]["name"] = "my-own-copy"
    cluster.put("deployments", SPACE, twin)
    eventually(lambda: not cluster.get("deployments", "my-own-copy"), 10, 0.1, "the copy goes")
    assert cluster.get("deployments", original["metadata"]["name"])["metadata"]["uid"] == original["metadata"]["uid"]
    kube.until(i.id, RUNNING, ready=2)
    gone(kube, i.id)


def put_region(kube, name, **kubernetes):
    request = S.PutRegionRequest(name=name, driver="kubernetes", kubernetes=S.KubernetesRegion(kubeconfig=f"{name}.yaml", weights_gb=10, **kubernetes))
    request.gpus.add(gpu_type="sim", total=1)
    return kube.stack.rpc("scheduler.PutRegion", request, S.Region, caller=kube.stack.operator())


def test_a_region_configured_anew_is_followed_at_once(kube):
    i = kube.running()
    before = pods_of(kube)
    cluster = kube.regions["kube-a"].cluster
    put_region(kube, "kube-a", node_labels=[pb.common.KeyValue(name="zone", value="z1")], endpoint_mode="node_port",
               allowed_source_ranges=["10.0.0.0/8"])
    eventually(lambda: [s["spec"]["type"] for s in cluster.all("services")] == ["NodePort"], 15, 0.1, "the other mode has its Service")
    assert pods_of(kube) == before  # nothing restarts for it
    eventually(lambda: any(r.port >= 30000 for r in kube.route(i.id).replicas) or kube.get(i.id).ready_replicas == 1, 15, 0.1,
               "the address is the other mode's, and asked before it is believed")
    put_region(kube, "kube-a")
    kube.until(i.id, RUNNING, ready=2, timeout=30)
    j = kube.running()
    assert all("zone" not in d["spec"]["template"]["spec"]["nodeSelector"] for d in cluster.all("deployments"))
    gone(kube, i.id)
    gone(kube, j.id)
    rooms_are_seen(kube)


def test_a_region_with_replicas_keeps_its_namespace(kube):
    i = kube.running()
    with pytest.raises(Exception) as refusal:
        put_region(kube, "kube-a", namespace="elsewhere")
    assert refusal.value.code == "in_use"
    gone(kube, i.id)


def test_a_configuration_that_cannot_be_used_leaves_the_region_as_it_was(kube):
    request = S.PutRegionRequest(name="kube-a", driver="kubernetes", kubernetes=S.KubernetesRegion(kubeconfig="nowhere.yaml"))
    request.gpus.add(gpu_type="sim", total=1)
    kube.stack.rpc("scheduler.PutRegion", request, S.Region, caller=kube.stack.operator())
    eventually(lambda: "region cannot be reached as it is configured" in kube.service.logs(), 10, 0.1, "it is told")
    i = kube.running()
    gone(kube, i.id)
    put_region(kube, "kube-a")
    rooms_are_seen(kube)


def test_a_foreign_object_under_our_name_is_left_alone(kube):
    highest = kube.stack.sql("SELECT coalesce(max(id), 0) FROM scheduler.instances")[0][0]
    cluster = kube.regions["kube-a"].cluster
    name = f"eco-{highest + 1}-1"
    foreign = {"metadata": {"name": name, "labels": {}}, "spec": {"replicas": 0, "template": {"metadata": {}}}}
    cluster.put("deployments", SPACE, foreign)
    i = kube.launch()
    kube.until(i.id, RUNNING, ready=1)
    eventually(lambda: any("somebody else" in r.status_detail for r in kube.get(i.id).replicas), 10, 0.1, "the owner reads why")
    assert cluster.get("deployments", name)["metadata"]["labels"] == {}
    cluster.drop(("deployments", SPACE, name))
    kube.until(i.id, RUNNING, ready=2, timeout=60)
    gone(kube, i.id)


def test_a_lost_pod_is_withdrawn_and_replaced(kube):
    i = kube.running()
    cluster = kube.regions["kube-a"].cluster
    pod = cluster.all("pods")[0]
    cluster.kubelet_on = False  # its successor takes a while
    cluster.end(pod["metadata"]["name"])
    cluster.drop(("pods", SPACE, pod["metadata"]["name"]))
    eventually(lambda: kube.get(i.id).ready_replicas == 1, 5, 0.02, "its route is withdrawn")
    cluster.kubelet_on = True
    kube.until(i.id, RUNNING, ready=2)
    assert len(kube.objects("deployments")) == 2
    gone(kube, i.id)


def pods_of(kube):
    return sorted(p["metadata"]["uid"] for p in kube.objects("pods"))


def trouble(answer, seconds, methods=("GET", "POST", "PATCH", "DELETE")):
    until = time.monotonic() + seconds
    return lambda method, path: answer if time.monotonic() < until and method in methods else None


FAULTS = {
    "429": (429, *failure(429, "TooManyRequests", "slow down")[1:], {"Retry_After": "1"}),
    "500": failure(500, "InternalError", "etcdserver: request timed out"),
    "401": failure(401, "Unauthorized", "Unauthorized"),
    "409": failure(409, "Conflict", "the object has been modified"),
    "terminating": failure(403, "Forbidden", "namespace is being terminated", details={"causes": [{"reason": "NamespaceTerminating"}]}),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_trouble_at_the_api_server_passes_and_touches_no_running_replica(kube, fault):
    old = kube.running()
    before = pods_of(kube)
    methods = ("POST", "PATCH", "DELETE") if fault in ("409", "terminating") else ("GET", "POST", "PATCH", "DELETE")
    for c in kube.clusters():
        c.before = trouble(FAULTS[fault], 4, methods)
        c.drop_watches()
    new = kube.launch()
    assert kube.get(old.id).ready_replicas == 2
    kube.until(new.id, RUNNING, ready=2, timeout=60)
    assert set(before) <= set(pods_of(kube))
    assert len(kube.objects("deployments")) == 4
    for c in kube.clusters():
        c.before = None
    gone(kube, new.id)
    gone(kube, old.id)


def test_a_region_that_is_cut_off_is_not_dead(kube):
    i = kube.running()
    before = pods_of(kube)
    region = kube.regions["kube-a"]
    region.cluster.before = trouble((503, {}), 20)
    region.cluster.drop_watches()
    time.sleep(18)  # absence: a region's silence, longer than a watch may idle
    assert kube.get(i.id).ready_replicas == 2  # nothing is concluded from silence
    assert len(kube.route(i.id).replicas) == 2
    region.cluster.before = None
    new = kube.launch()
    kube.until(new.id, RUNNING, ready=2, timeout=60)
    assert set(before) <= set(pods_of(kube))
    gone(kube, new.id)
    gone(kube, i.id)


def standing(kube, name):
    return kube.stack.rpc("scheduler.GetRegion", S.GetRegionRequest(name=name), S.Region, caller=kube.stack.operator()).status


def declare(kube, name, lost):
    request = S.PutRegionRequest(name=name, driver="kubernetes", lost=lost,
                                 kubernetes=S.KubernetesRegion(kubeconfig=f"{name}.yaml", weights_gb=10))
    request.gpus.add(gpu_type="sim", total=16)
    return kube.stack.rpc("scheduler.PutRegion", request, S.Region, caller=kube.stack.operator())


def test_a_region_is_lost_by_an_operators_word_alone(kube):
    pair, alone = kube.running(), kube.launch(regions=["kube-a"], allow_single_region=True)
    kube.until(alone.id, RUNNING, ready=1)
    ending = kube.running()
    cluster = kube.regions["kube-a"].cluster
    cluster.before = lambda method, path: (503, {})
    cluster.drop_watches()
    kube.stop(ending.id)
    time.sleep(4)  # absence: conclusions
    assert kube.get(alone.id).status == RUNNING and kube.get(ending.id).status == S.INSTANCE_STATUS_STOPPING
    assert declare(kube, "kube-a", True).status == "lost"
    failed = kube.until(alone.id, FAILED)
    assert failed.termination_reason == S.TERMINATION_REASON_CAPACITY_LOST
    kube.until(ending.id, STOPPED)  # what was to end there has ended
    half = kube.until(pair.id, RUNNING, ready=1)
    assert [r.status_detail for r in half.replicas if r.region == "kube-a"] == ["its region was lost: waiting for room in another one"]
    assert [r.region for r in kube.route(pair.id).replicas] == ["kube-b"]
    for i in (pair, alone, ending):  # what was proved is charged, and settlements do not wait for the dead
        meter = kube.meter(i.id)
        assert all(m.ended_at_us for m in meter.intervals if m.region == "kube-a")
    eventually(lambda: kube.meter(alone.id).complete, 10, 0.1, "its meter is complete")
    with pytest.raises(Exception) as refusal:
        kube.launch(regions=["kube-a"], allow_single_region=True)
    assert refusal.value.code == "insufficient_capacity"
    # it came back after all: its running pod is adopted, and what should have ended there ends
    before = cluster.pods_made
    cluster.before = None
    declare(kube, "kube-a", False)
    kube.until(pair.id, RUNNING, ready=2, timeout=60)
    assert cluster.pods_made == before
    eventually(lambda: len(cluster.all("deployments")) == 1, 20, 0.1, "nothing is left of the others")
    gone(kube, pair.id)
    rooms_are_seen(kube)
    assert kube.reserved() == 0


def test_a_scheduler_that_dies_while_it_gives_a_region_up_goes_on(kube):
    both = [kube.running(), kube.running()]
    kube.service.stop()
    crash = kube.start(crash_point="scheduler.lost.given_up")
    cluster = kube.regions["kube-a"].cluster
    cluster.before = lambda method, path: (503, {})
    cluster.drop_watches()
    declare(kube, "kube-a", True)
    crash.process.wait(30)
    kube.start()
    for i in both:
        kube.until(i.id, RUNNING, ready=1)
    cluster.before = None
    declare(kube, "kube-a", False)
    for i in both:
        kube.until(i.id, RUNNING, ready=2, timeout=60)
        gone(kube, i.id)
    assert kube.reserved() == 0


def test_a_position_that_is_too_old_is_listed_anew(kube):
    i = kube.running()
    cluster = kube.regions["kube-a"].cluster
    name = cluster.all("deployments")[0]["metadata"]["name"]
    cluster.before = lambda method, path: failure(410, "Expired", "too old") if "watch=1" in path else None
    cluster.drop_watches()
    cluster.compact()
    cluster.drop(("deployments", SPACE, name))
    eventually(lambda: cluster.get("deployments", name), 20, 0.1, "what was missed is seen by listing")
    cluster.before = None
    kube.until(i.id, RUNNING, ready=2, timeout=60)
    gone(kube, i.id)


def test_a_kind_that_cannot_be_followed_any_more_proves_nothing(kube):
    """The API server answers, but for pods: what was seen of them before is no evidence any more."""
    i = kube.running()
    region = kube.regions["kube-a"]
    region.cluster.before = lambda method, path: failure(403, "Forbidden", "no pods for you") if "/pods" in path else None
    region.cluster.drop_watches()
    told = len(kube.service.logs())
    eventually(lambda: "cannot be followed any more" in kube.service.logs()[told:], 40, 0.2, "the scheduler says it")
    def watermark():
        return kube.stack.sql("SELECT observed_until_us FROM scheduler.regions WHERE name = 'kube-a'")[0][0]
    proved = watermark()
    time.sleep(2)  # absence: conclusions
    assert watermark() == proved
    assert kube.get(i.id).ready_replicas == 2
    assert standing(kube, "kube-a") == "available"  # it fails, but not for a minute yet
    aged = kube.stack.sql("UPDATE scheduler.regions SET failing_since = failing_since - interval '1 minute'"
                          " WHERE failing_since IS NOT NULL RETURNING name")
    assert aged == [("kube-a",)]
    assert standing(kube, "kube-a") == "unreachable"
    with pytest.raises(Exception) as refusal:
        kube.launch(regions=["kube-a"], allow_single_region=True)
    assert refusal.value.code == "insufficient_capacity"
    region.cluster.before = None
    eventually(lambda: watermark() > proved, 60, 0.2, "it goes on")
    eventually(lambda: standing(kube, "kube-a") == "available", 10, 0.1, "one good look ends it")
    gone(kube, i.id)


def test_an_older_past_is_noticed(kube):
    i = kube.running()
    cluster = kube.regions["kube-b"].cluster
    with cluster.lock:
        cluster.version -= 500
        cluster.log = []
        name = cluster.all("deployments")[0]["metadata"]["name"]
        cluster.objects.pop(("deployments", SPACE, name))  # the restored past does not know it, and no watch tells
    eventually(lambda: cluster.get("deployments", name), 30, 0.1, "it is made again")
    kube.until(i.id, RUNNING, ready=2, timeout=60)
    gone(kube, i.id)


def test_an_expired_token_is_renewed(kube):
    i = kube.running()
    region = kube.regions["kube-a"]
    region.cluster.token = "second"
    region.cluster.drop_watches()
    time.sleep(2)  # act: the old token is refused meanwhile
    with open(region.token_file, "w", encoding="utf-8") as f:
        f.write("second")
    new = kube.launch()
    kube.until(new.id, RUNNING, ready=2, timeout=60)
    assert kube.get(i.id).ready_replicas == 2
    region.cluster.token = None
    gone(kube, new.id)
    gone(kube, i.id)


def test_a_killed_scheduler_finds_everything_again(kube):
    i = kube.running()
    before = pods_of(kube)
    requests = [len(c.requests) for c in kube.clusters()]
    kube.service.kill()
    kube.start()
    kube.until(i.id, RUNNING, ready=2)
    time.sleep(2)  # absence: writes
    assert pods_of(kube) == before
    for c, n in zip(kube.clusters(), requests):
        assert not [r for r in c.requests[n:] if r[0] != "GET"]  # what is in order is not written again
    gone(kube, i.id)


def launched(kube, **fields):
    """The launch whose answer may be lost with the scheduler that gave it."""
    before = kube.stack.sql("SELECT coalesce(max(id), 0) FROM scheduler.instances")[0][0]
    try:
        return kube.launch(timeout=5, **fields)
    except Exception:  # pylint: disable=broad-exception-caught
        found = kube.stack.sql(f"SELECT id FROM scheduler.instances WHERE id > {before} AND launch_state = 'done'")
        return S.Instance(id=found[0][0])


@pytest.mark.parametrize("point", ["kubernetes.object_created", "kubernetes.object_created:2", "scheduler.reconcile.applied",
                                   "kubernetes.object_deleted", "scheduler.reconcile.removed"])
def test_a_scheduler_that_dies_half_way_leaks_nothing(kube, point):
    kube.service.stop()
    crash = kube.start(crash_point=point)
    secret = [pb.common.SealedKeyValue(name="TOKEN", value=kube.seal("x"))]
    i = launched(kube, secret_env=secret)
    if "deleted" in point or "removed" in point:
        kube.until(i.id, RUNNING, ready=2)
        kube.stop(i.id)
    crash.process.wait(30)
    kube.start()
    if "deleted" not in point and "removed" not in point:
        kube.until(i.id, RUNNING, ready=2, timeout=60)
    gone(kube, i.id)
    assert kube.reserved() == 0


def logs_of(kube, instance, **fields):
    return kube.stack.rpc("scheduler.ReadInstanceLogs", S.ReadInstanceLogsRequest(id=instance, **fields), S.InstanceLogs, caller=kube.owner)


def test_last_lines_outlive_their_pod(kube):
    i = kube.running()
    live = logs_of(kube, i.id)
    assert len(live.data) == 2 and not live.ended
    gone(kube, i.id)
    kept = logs_of(kube, i.id)
    assert sorted(line.text for line in kept.data) == sorted(line.text for line in live.data)
    assert {line.replica_id for line in kept.data} == {1, 2}
    after = logs_of(kube, i.id, cursor=kept.next_cursor)
    assert not after.data and after.ended


def test_yesterdays_database_kills_nobody(kube):
    """Objects without rows: too many, so nothing is removed before an operator confirms it."""
    running = [kube.running() for _ in range(7)]
    before = pods_of(kube)
    kube.service.stop()
    ids = ",".join(str(i.id) for i in running)
    saved = kube.stack.sql(f"SELECT id, instance_id, gone FROM (SELECT id, instance_id, gone FROM scheduler.replicas "
                           f"WHERE instance_id IN ({ids})) r")
    assert len(saved) == 14
    kube.stack.sql(f"UPDATE scheduler.replicas SET gone = true WHERE instance_id IN ({ids})")
    kube.start()
    time.sleep(5)  # absence: deletions
    assert pods_of(kube) == before
    assert "confirm" in kube.stack.sql("SELECT trouble FROM scheduler.regions WHERE name = 'kube-a'")[0][0]
    kube.stack.sql(f"UPDATE scheduler.replicas SET gone = false WHERE instance_id IN ({ids})")
    for i in running:
        kube.until(i.id, RUNNING, ready=2)
    eventually(lambda: not kube.stack.sql("SELECT 1 FROM scheduler.regions WHERE trouble <> ''"), 10, 0.1, "the alarm ends")
    for i in running:
        kube.stop(i.id)
    for i in running:
        gone(kube, i.id)


def test_a_stop_at_any_moment_of_the_start_is_clean(kube):
    """Regions are opened by a timer that still runs while the service stops."""
    for k in range(12):
        kube.service.stop()
        kube.start()
        time.sleep(k * 0.01)  # act: another moment each time
        began = time.monotonic()
        kube.service.process.terminate()
        assert kube.service.process.wait(15) == 0
        assert time.monotonic() - began < 10
    kube.start()
    i = kube.running()
    gone(kube, i.id)
