"""Probes, passive reports, the bucket `health`, events, and two copies of the service."""

import http.server
import threading
import time

import pytest
from ecotest import pb
from ecotest.stack import RpcError, eventually, next_event

INTERVAL_MS = 100
SETTINGS = {"PROBE_INTERVAL_MS": INTERVAL_MS, "PROBE_TIMEOUT_MS": 80, "UNHEALTHY_AFTER": 3, "HEALTHY_AFTER": 2}
HEALTHY, UNHEALTHY = pb.health.HEALTH_STATE_HEALTHY, pb.health.HEALTH_STATE_UNHEALTHY
READY = pb.scheduler.REPLICA_STATUS_READY


class Replica:
    """A stand-in for an engine: answers its health path with `status`; remembers what it was asked."""

    def __init__(self):
        self.status, self.delay_s, self.asked, self.body = 200, 0, [], b"ok"
        replica = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                replica.asked.append((self.path, self.headers.get("Authorization")))
                time.sleep(replica.delay_s)  # act: a slow replica
                self.send_response(replica.status)
                if replica.status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(replica.body)))
                self.end_headers()
                try:
                    self.wfile.write(replica.body)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def health(stack):
    return stack.start("health", **SETTINGS)


@pytest.fixture
def replica():
    r = Replica()
    yield r
    r.close()


class World:
    next_instance = 100
    versions = {}


def publish(stack, instance, replica_id, port, region="region-a", status=READY, run="run-1", token="", path="/health",
            removed=False, account="acc_a"):
    entity = f"{instance}-{replica_id}"
    World.versions[entity] = World.versions.get(entity, 0) + 1
    state = pb.scheduler.ReplicaState(
        instance_id=instance, replica_id=replica_id, account_id=account, region=region, status=status, host="127.0.0.1",
        port=port, health_path=path, run_id=run, token=token, removed=removed)
    stack.publish_event("scheduler", "replica.changed", entity, World.versions[entity], state)


@pytest.fixture
def instance(stack):
    World.next_instance += 1
    number = World.next_instance
    yield number
    for entity in [e for e in World.versions if e.startswith(f"{number}-")]:
        publish(stack, number, int(entity.split("-")[1]), 1, removed=True)


def region_entry(stack, region="region-a"):
    entry = stack.nats.kv_get("health", region)
    if entry is None:
        return None
    value = pb.health.RegionHealth()
    value.ParseFromString(entry.value)
    return value


def is_unhealthy(stack, instance, replica_id=1, region="region-a"):
    entry = region_entry(stack, region)
    return entry is not None and any(u.instance_id == instance and u.replica_id == replica_id for u in entry.unhealthy)


def status_of(stack, instance, caller=None):
    reply = stack.rpc("health.GetHealthStatus", pb.health.GetHealthStatusRequest(instance_id=instance),
                      pb.health.HealthStatus, caller=caller)
    return {r.replica_id: r for r in reply.data}


def becomes(stack, instance, state, replica_id=1):
    def check():
        found = status_of(stack, instance).get(replica_id)
        return found if found and found.state == state else None
    return eventually(check, 5, what=f"state {state} of {instance}")


def test_a_ready_replica_is_probed_with_its_path_and_token(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port, token="s3cret", path="/healthz?full=1")
    becomes(stack, instance, HEALTHY)
    assert replica.asked[0] == ("/healthz?full=1", "Bearer s3cret")
    assert not is_unhealthy(stack, instance)
    assert eventually(lambda: region_entry(stack)).interval_ms == INTERVAL_MS
    assert "s3cret" not in health.logs()


def test_a_failing_replica_is_condemned_and_acquitted(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)
    events = stack.events("ecolink.evt.health.>")
    replica.status = 500
    eventually(lambda: is_unhealthy(stack, instance))
    verdict = becomes(stack, instance, UNHEALTHY)
    assert "500" in verdict.reason
    event = next_event(events)
    assert (event.type, event.entity_id, event.entity_version) == ("replica.health_changed", f"{instance}-1", 2)
    state = pb.health.ReplicaHealth()
    state.ParseFromString(event.state)
    assert state.state == UNHEALTHY and state.region == "region-a"
    replica.status = 200
    becomes(stack, instance, HEALTHY)
    eventually(lambda: not is_unhealthy(stack, instance))
    history = stack.sql("SELECT state FROM health.changes WHERE target_id = %s ORDER BY id", f"{instance}-1")
    assert [s for (s,) in history] == [HEALTHY, UNHEALTHY, HEALTHY]


def test_one_failure_condemns_nobody(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)
    seen = len(replica.asked)
    replica.status = 503
    eventually(lambda: len(replica.asked) > seen, every=0.005)
    replica.status = 200
    time.sleep(INTERVAL_MS * 8 / 1000)  # absence: of a second change
    history = stack.sql("SELECT count(*) FROM health.changes WHERE target_id = %s", f"{instance}-1")
    assert history == [(1,)]


def test_a_hanging_replica_is_condemned(stack, health, replica, instance):
    replica.delay_s = 1
    publish(stack, instance, 1, replica.port)
    assert "health path" in becomes(stack, instance, UNHEALTHY).reason


def test_a_dead_port_is_condemned_and_others_are_not(stack, health, replica, instance):
    dead = Replica()
    dead.close()
    publish(stack, instance, 1, replica.port)
    publish(stack, instance, 2, dead.port, region="region-b")
    becomes(stack, instance, UNHEALTHY, replica_id=2)
    becomes(stack, instance, HEALTHY, replica_id=1)
    assert eventually(lambda: is_unhealthy(stack, instance, 2, "region-b"))
    assert not is_unhealthy(stack, instance, 1)


def test_redirects_are_not_followed(stack, health, replica, instance):
    replica.status = 302
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)
    assert {path for path, _ in replica.asked} == {"/health"}


def test_an_endless_body_is_cut(stack, health, replica, instance):
    replica.body = b"x" * 300_000
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)


def test_a_replica_that_is_not_ready_is_not_probed(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port, status=pb.scheduler.REPLICA_STATUS_STARTING)
    time.sleep(INTERVAL_MS * 4 / 1000)  # absence: of a probe
    assert replica.asked == []
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)


def test_a_new_run_starts_without_the_old_verdict(stack, health, replica, instance):
    replica.status = 500
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, UNHEALTHY)
    replica.status = 200
    publish(stack, instance, 1, replica.port, run="run-2")
    becomes(stack, instance, HEALTHY)
    eventually(lambda: not is_unhealthy(stack, instance))
    history = stack.sql("SELECT state, run_id FROM health.changes WHERE target_id = %s ORDER BY id", f"{instance}-1")
    # the old run may have recovered in its last moment; what counts is how the new one begins
    assert history[0] == (UNHEALTHY, "run-1")
    assert [state for state, run in history if run == "run-2"] == [0, HEALTHY]


def test_gateways_reports_condemn_a_replica_whose_health_path_answers(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)
    report = pb.gateway.UpstreamFailure(instance_id=instance, replica_id=1, region="region-a", kind="timeout", count=9, successes=1)
    stack.publish_event("gateway", "upstream.failed", f"{instance}-1", 0, report)
    verdict = becomes(stack, instance, UNHEALTHY)
    assert "9 of 10" in verdict.reason and "timeout" in verdict.reason
    becomes(stack, instance, HEALTHY)  # the window passes, the health path answers


def test_a_bad_minute_among_successes_condemns_nobody(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, HEALTHY)
    report = pb.gateway.UpstreamFailure(instance_id=instance, replica_id=1, region="region-a", kind="status_5xx", count=5,
                                        successes=100)
    stack.publish_event("gateway", "upstream.failed", f"{instance}-1", 0, report)
    time.sleep(INTERVAL_MS * 6 / 1000)  # absence: of a verdict
    assert status_of(stack, instance)[1].state == HEALTHY


def test_a_tenant_sees_his_own_replicas_alone(stack, health, replica, instance):
    publish(stack, instance, 1, replica.port, account="acc_a")
    becomes(stack, instance, HEALTHY)
    mine = pb.common.Caller(role=pb.common.ROLE_MEMBER, account_id="acc_a")
    other = pb.common.Caller(role=pb.common.ROLE_OWNER, account_id="acc_b")
    assert list(status_of(stack, instance, mine)) == [1]
    assert status_of(stack, instance, other) == {}
    with pytest.raises(RpcError) as e:
        stack.rpc("health.ListRegionHealth", pb.health.ListRegionHealthRequest(), caller=mine)
    assert e.value.code == "forbidden"


def test_regions_are_listed_for_operators(stack, health, replica, instance):
    replica.status = 500
    publish(stack, instance, 1, replica.port, region="region-c")
    becomes(stack, instance, UNHEALTHY)
    reply = stack.rpc("health.ListRegionHealth", pb.health.ListRegionHealthRequest(), pb.health.RegionHealthList,
                      caller=stack.operator())
    region = next(r for r in reply.data if r.region == "region-c")
    assert region.probed == 1 and [u.instance_id for u in region.unhealthy] == [instance]


def test_a_second_copy_takes_over_and_keeps_the_verdicts(stack, health, replica, instance):
    second = stack.start("health", **SETTINGS)
    replica.status = 500
    publish(stack, instance, 1, replica.port)
    becomes(stack, instance, UNHEALTHY)
    version = stack.sql("SELECT version FROM health.targets WHERE id = %s", f"{instance}-1")
    holder = stack.sql("SELECT holder FROM health.leases WHERE name = 'prober'")
    health.kill()
    eventually(lambda: stack.sql("SELECT holder FROM health.leases WHERE name = 'prober'") != holder, 15)
    seen = region_entry(stack).observed_at_us
    eventually(lambda: region_entry(stack).observed_at_us > seen, 5)
    assert is_unhealthy(stack, instance)
    assert stack.sql("SELECT version FROM health.targets WHERE id = %s", f"{instance}-1") == version
    replica.status = 200
    becomes(stack, instance, HEALTHY)
    second.stop()


@pytest.mark.parametrize("point", ["kit.tx.committed:6", "health.pass.committed:4", "health.region.told:4",
                                   "kit.event.applied", "kit.relay.published", "kit.relay.deleted"])
def test_a_kill_while_verdicts_change_ends_in_the_true_verdict(stack, replica, instance, point):
    for running in stack.services:
        if running.name == "health" and running.process.poll() is None:
            running.stop()
    crashing = stack.start("health", crash_point=point, **SETTINGS)
    publish(stack, instance, 1, replica.port)
    end = time.monotonic() + 20
    while crashing.process.poll() is None and time.monotonic() < end:
        replica.status = 500 if replica.status == 200 else 200
        time.sleep(INTERVAL_MS * 6 / 1000)  # act: changes its mind at the pace of the probes
    assert crashing.process.poll() is not None, "the crash point was not reached"
    events = stack.events("ecolink.evt.health.>")
    replica.status = 500
    stack.start("health", **SETTINGS)
    becomes(stack, instance, UNHEALTHY)
    eventually(lambda: is_unhealthy(stack, instance))
    replica.status = 200
    becomes(stack, instance, HEALTHY)
    version = stack.sql("SELECT version FROM health.targets WHERE id = %s", f"{instance}-1")[0][0]
    history = stack.sql("SELECT state FROM health.changes WHERE target_id = %s ORDER BY id", f"{instance}-1")
    assert version == len(history)
    assert all(a != b for a, b in zip(history, history[1:]))
    last = None
    while last is None or last.entity_id != f"{instance}-1" or last.entity_version < version:
        last = next_event(events)
    state = pb.health.ReplicaHealth()
    state.ParseFromString(last.state)
    assert state.state == HEALTHY
