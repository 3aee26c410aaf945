"""What the API server may do to the scheduler, and what the scheduler may do to itself: the faults of docs/kubernetes.md that a
real API server does not commit on demand. In each of them running replicas stay, and what was asked meanwhile happens afterwards."""

import signal
import time

import pytest
import tier

from ecotest.stack import NoAnswer
from kube_fake import SPACE, failure
from kube_world import FAILED, HEARTBEAT_MS, RUNNING, STALE_S, STOPPED, S, eventually, gone, pods_of, rooms_are_seen


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
        c.before = trouble(FAULTS[fault], 2, methods)
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


def standing(kube, name):
    return kube.stack.rpc("scheduler.GetRegion", S.GetRegionRequest(name=name), S.Region, caller=kube.stack.operator()).status


def test_a_region_that_is_cut_off_is_not_dead(kube):
    i = kube.running()
    before = pods_of(kube)
    region = kube.regions["kube-a"]
    eventually(lambda: len(kube.route(i.id).replicas) == 2, 10, 0.05, "gateways know both")
    region.cluster.before = lambda method, path: (503, {})
    region.cluster.drop_watches()
    time.sleep(2 * STALE_S)  # absence: a region's silence, for longer than what was seen is evidence
    assert kube.get(i.id).ready_replicas == 2  # nothing is concluded from silence
    assert len(kube.route(i.id).replicas) == 2
    assert standing(kube, "kube-a") == "available"  # it fails, but not for a minute yet
    aged = kube.stack.sql("UPDATE scheduler.regions SET failing_since = failing_since - interval '1 minute'"
                          " WHERE failing_since IS NOT NULL RETURNING name")
    assert aged == [("kube-a",)]
    assert standing(kube, "kube-a") == "unreachable"
    with pytest.raises(Exception) as refusal:
        kube.launch(regions=["kube-a"], allow_single_region=True)
    assert refusal.value.code == "insufficient_capacity"
    region.cluster.before = None
    eventually(lambda: standing(kube, "kube-a") == "available", 30, 0.1, "one good look at everything ends it")
    new = kube.launch()
    kube.until(new.id, RUNNING, ready=2, timeout=60)
    assert set(before) <= set(pods_of(kube))
    gone(kube, new.id)
    gone(kube, i.id)


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
    time.sleep(2 * STALE_S)  # absence: conclusions
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
    region.cluster.before = None
    eventually(lambda: watermark() > proved, 60, 0.2, "it goes on")
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
    time.sleep(1)  # act: the old token is refused meanwhile
    with open(region.token_file, "w", encoding="utf-8") as f:
        f.write("second")
    new = kube.launch()
    kube.until(new.id, RUNNING, ready=2, timeout=60)
    assert kube.get(i.id).ready_replicas == 2
    region.cluster.token = None
    gone(kube, new.id)
    gone(kube, i.id)


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
    time.sleep(2)  # absence: deletions, in some twenty passes
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


def test_a_slow_api_server_delays_and_spoils_nothing(kube):
    old = kube.running()
    before = pods_of(kube)
    until = time.monotonic() + 4

    def crawl(method, path):
        if time.monotonic() < until and "watch=1" not in path:
            time.sleep(0.75 * HEARTBEAT_MS / 1000)  # act: each answer comes late
    for c in kube.clusters():
        c.before = crawl
        c.drop_watches()
    new = kube.launch()
    kube.until(new.id, RUNNING, ready=2, timeout=60)
    assert kube.get(old.id).ready_replicas == 2
    assert set(before) <= set(pods_of(kube))
    for c in kube.clusters():
        c.before = None
    gone(kube, new.id)
    gone(kube, old.id)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_jumps_replaces_nobody(kube, seconds):
    i = kube.running()
    before = pods_of(kube)
    kube.stack.advance(seconds)
    try:
        time.sleep(1.5)  # absence: replacements
        assert pods_of(kube) == before and kube.get(i.id).ready_replicas == 2
        new = kube.launch()
        kube.until(new.id, RUNNING, ready=2, timeout=30)
        gone(kube, new.id)
        gone(kube, i.id)
    finally:
        kube.stack.advance(-seconds)


def answered(call):
    """A request may reach the one that sleeps: then it is made again."""
    def attempt():
        try:
            return call() or True
        except NoAnswer:
            return False
    eventually(attempt, 30, 0.1, "somebody answers")


def test_a_leader_that_slept_writes_nothing_old(kube):
    """SIGSTOP for longer than the lease: when it goes on, it still wants what was true before."""
    first = kube.service
    doomed = kube.running()
    second = kube.start()
    first.process.send_signal(signal.SIGSTOP)
    try:
        kube.service = second
        request = S.StopInstanceRequest(id=doomed.id)
        answered(lambda: kube.stack.rpc("scheduler.StopInstance", request, S.Instance, caller=kube.owner, timeout=1))
        eventually(lambda: kube.stack.sql(f"SELECT status FROM scheduler.instances WHERE id = {doomed.id}")[0][0] == STOPPED, 40, 0.1,
                   "the other one has ended it")
        requests = [len(c.requests) for c in kube.clusters()]
    finally:
        first.process.send_signal(signal.SIGCONT)
    time.sleep(2)  # absence: writes, for twice the lease
    assert not [r for c, n in zip(kube.clusters(), requests) for r in c.requests[n:] if r[0] != "GET"]
    assert not kube.objects("deployments")
    first.stop()


if tier.NAME != "test":  # the database takes its ten seconds
    def test_a_leader_that_stops_within_a_transaction_holds_up_nobody_for_long(kube):
        """SIGSTOP between two statements: the database ends what it holds, its lease among that, after seconds."""
        i = kube.running()
        first, cluster = kube.service, kube.regions["kube-a"].cluster
        ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'scheduler_app' AND "
        with kube.stack.pg.connect(kube.stack.database) as c, c.cursor() as cursor:
            cursor.execute("BEGIN; SELECT 1 FROM scheduler.instances WHERE id = %s FOR UPDATE", (i.id,))
            next(iter(cluster.processes.values())).kill()  # the leader has to write that down
            eventually(lambda: kube.stack.sql(ours + "wait_event_type = 'Lock'")[0][0], 20, 0.02, "it waits for the row")
            first.process.send_signal(signal.SIGSTOP)
        try:  # the row is its own now, and its statement was answered
            eventually(lambda: kube.stack.sql(ours + "state = 'idle in transaction'")[0][0], 10, 0.02, "it stands within a transaction")
            kube.service = kube.start()
            eventually(lambda: kube.stack.sql("SELECT 1 FROM scheduler.instances WHERE id = %s FOR UPDATE SKIP LOCKED", i.id), 15, 0.1, "the row is free")
            state = f"SELECT bool_and(ready) AND max(restarts) > 0 FROM scheduler.replicas WHERE instance_id = {i.id}"
            eventually(lambda: kube.stack.sql(state)[0][0], 20, 0.1, "the other one leads: it has written what became of the replica")
        finally:
            first.process.send_signal(signal.SIGCONT)
        gone(kube, i.id)
        first.stop()


def test_what_slipped_through_is_undone_by_the_next_pass(kube):
    """A write that was on its way when its leader lost the region: it makes an instance that has ended live again."""
    i = kube.running()
    cluster = kube.regions["kube-a"].cluster
    late = cluster.all("deployments")[0]
    gone(kube, i.id)
    for field in ("uid", "resourceVersion"):
        late["metadata"].pop(field)
    cluster.put("deployments", SPACE, late)
    eventually(lambda: not cluster.all("deployments") and not cluster.all("pods"), 15, 0.1, "it is gone again")
    assert kube.get(i.id).status == STOPPED and kube.reserved() == 0
