"""Instances in Kubernetes regions, driven by the whole scheduler against two stand-ins of the API server: launch, drift, restart,
configuration, logs, stop. Its faults: test_kube_faults.py. What real API servers do: tests/kube."""

import contextlib
import json
import re
import threading
import time
import urllib.error
import urllib.request

import pytest

from ecotest import pb
from ecotest.stack import NoAnswer
from kube_fake import SPACE
from kube_world import RUNNING, S, eventually, gone, pods_of, put_region, rooms_are_seen


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
    assert sorted(r.host.split(".")[1] for r in route.replicas) == sorted(str(c.number) for c in kube.clusters())
    assert all(r.run_id.endswith(".0") for r in route.replicas)
    gone(kube, i.id)
    assert kube.reserved() == 0


def test_a_replica_answers_those_alone_who_have_its_token(kube):
    i = kube.running()
    replicas = eventually(lambda: len(r := kube.route(i.id).replicas) == 2 and r, 10, 0.05, "gateways know both")
    tokens = {r.token for r in replicas}
    assert len(tokens) == 2 and all(len(t) > 20 for t in tokens)
    for r in replicas:
        url = f"http://{r.host}:{r.port}/v1/models"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url, timeout=10)
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {r.token}"}), timeout=10) as answer:
            assert answer.status == 200
        assert r.token not in json.dumps(kube.objects("deployments")) and r.token not in kube.service.logs()
    kube.restart(i.id)
    kube.until(i.id, RUNNING, ready=2)
    assert {r.token for r in kube.route(i.id).replicas} <= tokens  # for as long as the replica lives
    gone(kube, i.id)


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
    eventually(lambda: not cluster.all("services"), 15, 0.1, "and what published it is gone")
    assert pods_of(kube) == before and all(r.port < 30000 for r in kube.route(i.id).replicas)
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
    """The launch whose answer may be lost with the scheduler that gave it: nobody waits for it."""
    before = kube.stack.sql("SELECT coalesce(max(id), 0) FROM scheduler.instances")[0][0]

    def ask():
        with contextlib.suppress(NoAnswer):
            kube.launch(timeout=30, **fields)
    threading.Thread(target=ask, daemon=True).start()
    found = eventually(lambda: kube.stack.sql(f"SELECT id FROM scheduler.instances WHERE id > {before} AND launch_state = 'done'"), 30, 0.02)
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


def test_a_race_for_the_last_gpus_has_one_winner(kube):
    first = kube.running(gpu_count=8)
    holds, outcomes = set(kube.books.open_holds()), []

    def race():
        try:
            outcomes.append(kube.launch(gpu_count=8).id)
        except Exception as e:  # pylint: disable=broad-exception-caught
            outcomes.append(e.code)
    racers = [threading.Thread(target=race) for _ in range(4)]
    for r in racers:
        r.start()
    for r in racers:
        r.join()
    winners = [o for o in outcomes if isinstance(o, int)]
    assert len(winners) == 1 and outcomes.count("insufficient_capacity") == 3
    kube.until(winners[0], RUNNING, ready=2)
    assert kube.reserved() == 32
    assert kube.books.open_holds() - holds == {(winners[0], 1)}  # nobody else's hold stays
    for i in (first.id, winners[0]):
        gone(kube, i)
    assert kube.reserved() == 0


def test_a_volume_that_nobody_uses_goes_after_its_time(kube):
    kube.service.stop()
    kube.start(WEIGHTS_KEEP_S=3600)
    cluster = kube.regions["kube-a"].cluster

    def volumes():
        return [(v["metadata"]["uid"], v["metadata"].get("annotations", {}).get("ecolink.io/unused-since")) for v in cluster.all("persistentvolumeclaims")]
    i = kube.running()
    assert len(volumes()) == 1
    kube.service.stop()
    kube.start(WEIGHTS_KEEP_S=20)  # looked for every two seconds
    kube.until(i.id, RUNNING, ready=2)
    time.sleep(3)  # absence: marks on what is used
    assert [since for _, since in volumes()] == [None]
    gone(kube, i.id)
    uid, _ = volumes()[0]
    eventually(lambda: volumes()[0][1], 10, 0.1, "it is marked as unused")
    j = kube.running()
    eventually(lambda: volumes() == [(uid, None)], 10, 0.1, "a launch uses it again, and the mark goes")
    gone(kube, j.id)
    eventually(lambda: volumes() and volumes()[0][1], 10, 0.1, "it is marked again")
    assert volumes()[0][0] == uid
    kube.stack.advance(30)
    eventually(lambda: not volumes(), 10, 0.1, "it is deleted")
    k = kube.running()
    assert len(volumes()) == 1 and volumes()[0][0] != uid
    gone(kube, k.id)


def test_a_scheduler_that_dies_while_it_looks_after_volumes_loses_none_and_leaves_none(kube):
    def volumes():
        return {c.number: (v["metadata"]["uid"], v["metadata"].get("annotations", {}).get("ecolink.io/unused-since"))
                for c in kube.clusters() for v in c.all("persistentvolumeclaims")}
    kube.service.stop()
    kube.start(WEIGHTS_KEEP_S=20)  # looked for every two seconds
    i = kube.running()
    eventually(lambda: [since for _, since in volumes().values()] == [None, None], 10, 0.1, "both are in use")
    before = volumes()
    kube.service.stop()
    crash = kube.start(crash_point="kubernetes.volume_written", WEIGHTS_KEEP_S=20)
    kube.stop(i.id)
    crash.process.wait(30)
    marks = volumes()
    assert len([1 for _, since in marks.values() if since]) in (1, 2)  # it died after its first mark; each region writes for itself
    kube.start(WEIGHTS_KEEP_S=20)
    eventually(lambda: all(since for _, since in volumes().values()), 10, 0.1, "both are marked as unused")
    gone(kube, i.id)
    after = volumes()
    assert {n: uid for n, (uid, _) in after.items()} == {n: uid for n, (uid, _) in before.items()}
    assert all(after[n] == mark for n, mark in marks.items() if mark[1])  # a mark that was written stays as it is
    kube.service.stop()
    kube.stack.advance(30)
    crash = kube.start(crash_point="kubernetes.volume_written", WEIGHTS_KEEP_S=20)
    crash.process.wait(30)
    assert len(volumes()) < 2
    kube.start(WEIGHTS_KEEP_S=20)
    eventually(lambda: not volumes(), 10, 0.1, "the other one goes, too")
    j = kube.running()
    assert len(volumes()) == 2 and not {uid for uid, _ in volumes().values()} & {uid for uid, _ in before.values()}
    gone(kube, j.id)


def test_a_pass_judges_what_has_changed_or_is_due_and_not_the_whole_region(kube):
    def judged():
        return int(re.search(r"^ecolink_scheduler_judged_total (\d+)$", kube.service.get("/metrics")[1], re.M).group(1))
    settled = [kube.running() for _ in range(4)]
    for c in kube.clusters():
        c.kubelet_on = False
    waiting = kube.launch()
    kube.until(waiting.id, S.INSTANCE_STATUS_PROVISIONING)
    eventually(lambda: len(kube.objects("deployments")) == 10, 10, 0.1, "everything is written")
    time.sleep(3)  # absence: news of what was written
    before = judged()
    time.sleep(6)  # act: it waits for its pods, and is looked at every two seconds in each region
    assert 2 <= judged() - before <= 10  # with all the others it would be five times as many
    for c in kube.clusters():
        c.kubelet_on = True
    kube.until(waiting.id, RUNNING, ready=2)
    before = judged()
    kube.restart(settled[0].id)  # a changed row alone
    kube.until(settled[0].id, RUNNING, ready=2)
    assert judged() > before
    for i in (*settled, waiting):
        gone(kube, i.id)


def test_a_start_tells_how_long_the_last_ones_took(kube):
    first = kube.running()
    for c in kube.clusters():
        c.kubelet_on = False  # pods are not made for a while
    second = kube.launch()
    eventually(lambda: "less than a minute to go" in kube.get(second.id).status_detail, 10, 0.1, "an estimate from the first start")
    for c in kube.clusters():
        c.kubelet_on = True
    kube.until(second.id, RUNNING, ready=2)
    gone(kube, first.id)
    gone(kube, second.id)


def test_a_replica_that_its_node_calls_ready_and_that_never_answers_is_asked_now_and_then(kube):
    kube.service.stop()
    kube.start(METER_INTERVAL_MS=3000)  # a pass that takes two seconds is no gap then, after which nothing that was known counts
    i = kube.launch(engine="", image="ecolink/simulator:test", args=["--host", "0.0.0.0", "--port", "8000", "--model", "my-llama", "--hang-health", "true"])
    eventually(lambda: all("timeout" in r.status_detail.lower() for r in kube.get(i.id).replicas), 30, 0.1, "its silence is told")

    def asked():
        """How many questions the first region's replica has had, this one among them."""
        pod = next(p for p in kube.clusters()[0].all("pods") if p["metadata"]["labels"]["ecolink.io/instance"] == str(i.id))
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8000/_simulator/state", timeout=5) as answer:
            return json.load(answer)["requests"]
    before = asked()
    time.sleep(16)  # act: a question waits for two seconds; without a pause there would be seven in this time
    assert 1 <= asked() - before - 1 <= 3
    gone(kube, i.id)
    kube.service.stop()
    kube.start()
