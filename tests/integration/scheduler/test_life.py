"""The life of an instance, from launch to stop."""

import os
import time

import psycopg2
import pytest
from ecotest import pb
from ecotest.stack import RpcError, eventually
from world import S


@pytest.fixture(scope="module", autouse=True)
def scheduler(world):
    return world.start()


def test_a_launch_runs_in_two_regions_and_stops_without_a_trace(world):
    i = world.launch()
    assert i.status == S.INSTANCE_STATUS_PROVISIONING
    assert i.model == f"my-llama:{i.id}" and i.name == "my-llama"
    assert i.proxy_url == f"http://gw/inference-instances/{i.id}/proxy"
    assert i.hold.micros == 1_600_000 * 2 * 24
    assert {r.region for r in i.replicas} == {"east", "west"}
    i = world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert i.burn_rate_micros_per_hour == 3_200_000
    route = eventually(lambda: (r := world.route(i.id)) and len(r.replicas) == 2 and r)
    assert route.served_name == "my-llama" and route.status == S.INSTANCE_STATUS_RUNNING
    assert world.reserved() == 2
    assert len(world.replica_pids()) == 2
    stopping = world.stop(i.id)
    assert stopping.status == S.INSTANCE_STATUS_STOPPING
    i = world.until(i.id, S.INSTANCE_STATUS_STOPPED)
    assert i.termination_reason == S.TERMINATION_REASON_USER_REQUESTED
    assert world.reserved() == 0 and world.simulators() == []
    assert world.route(i.id) is None
    assert world.stop(i.id).status == S.INSTANCE_STATUS_STOPPED  # idempotent
    types = [e.type for e in world.events(i.id)]
    assert types[:2] == ["launch.accepted", "hold.placed"] and types[-1] == "instance.stopped"
    assert types.index("instance.running") < types.index("instance.stopping")


def test_a_restart_replaces_one_region_at_a_time_under_the_same_hold(world):
    i = world.running()
    holds = len(world.books.placed)
    before = dict(world.replica_pids())
    fewest = [2]
    world.restart(i.id)

    def replaced():
        fewest[0] = min(fewest[0], world.get(i.id).ready_replicas)
        now = world.replica_pids()
        return len(now) == 2 and not set(now.values()) & set(before.values()) and world.get(i.id).ready_replicas == 2
    eventually(replaced, 20, 0.05)
    assert fewest[0] == 1  # never both at once
    assert len(world.books.placed) == holds
    world.stopped(i.id)
    with pytest.raises(RpcError) as e:
        world.restart(i.id)
    assert e.value.code == "wrong_state"


def test_a_killed_replica_degrades_then_comes_back(world):
    i = world.running()
    name, pid = sorted(world.replica_pids().items())[0]
    os.kill(pid, 9)
    degraded = eventually(lambda: (x := world.get(i.id)).ready_replicas == 1 and x, 10, 0.05)
    assert degraded.status == S.INSTANCE_STATUS_RUNNING
    assert degraded.burn_rate_micros_per_hour == 1_600_000
    assert eventually(lambda: (r := world.route(i.id)) and len(r.replicas) == 1)
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    types = [e.type for e in world.events(i.id)]
    assert "replica.exited" in types or "replica.not_ready" in types
    world.stopped(i.id)


def test_no_ready_replica_means_recovering_and_back(world):
    i = world.running()
    for pid in world.replica_pids().values():
        os.kill(pid, 9)
    x = world.until(i.id, S.INSTANCE_STATUS_PROVISIONING)
    assert "recovering" in x.status_detail
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    world.stopped(i.id)


def test_a_clock_that_is_set_back_changes_nothing_that_was_proved(world):
    """What lies before the watermark may be charged already: no interval begins, ends or is cut off there."""
    i = world.running()
    began = world.stack.now_us()
    proved = eventually(lambda: (m := world.meter(i.id)).observed_until_us > began and m.observed_until_us, 15, 0.05)
    world.stack.advance(-45)
    name, pid = sorted(world.replica_pids().items())[0]
    os.kill(pid, 9)
    eventually(lambda: world.replica_pids().get(name, pid) != pid and world.get(i.id).ready_replicas == 2, 15, 0.05)
    world.stopped(i.id)
    reading = world.meter(i.id)
    world.stack.advance(45)
    assert reading.complete and reading.stop_requested_at_us >= proved
    assert len(reading.intervals) == 3
    assert all(v.ended_at_us >= proved for v in reading.intervals), (proved, reading)
    assert sum(v.started_at_us >= proved for v in reading.intervals) == 1, (proved, reading)


def test_a_stop_does_not_wait_until_a_clock_that_was_set_back_after_it_has_caught_up(world):
    i = world.running()
    began = world.stack.now_us()
    eventually(lambda: world.meter(i.id).observed_until_us > began, 15, 0.05)
    held = psycopg2.connect(world.stack.pg.url("postgres", world.stack.database))
    held.cursor().execute("SELECT 1 FROM scheduler.leases WHERE name LIKE 'region:%' FOR UPDATE")
    time.sleep(1)  # act: the leases run out, and no pass begins until they can be had again
    world.stop(i.id)
    world.stack.advance(-300)
    held.close()
    world.until(i.id, S.INSTANCE_STATUS_STOPPED)
    reading = world.meter(i.id)
    world.stack.advance(300)
    assert reading.complete and len(reading.intervals) == 2
    # up to what was proved before, some hundred milliseconds ago
    assert all(0 <= reading.stop_requested_at_us - v.ended_at_us < 2_000_000 for v in reading.intervals), reading


def test_the_meter_proves_ready_time_and_is_complete_after_a_stop(world):
    began = world.stack.now_us()
    i = world.running()
    up_us = world.stack.now_us() + 1_500_000
    reading = eventually(lambda: (m := world.meter(i.id)).observed_until_us > up_us and m, 15, 0.05)
    assert reading.known and not reading.complete and len(reading.intervals) == 2
    assert began < reading.observed_until_us <= world.stack.now_us()
    asked = world.stack.now_us()
    world.stop(i.id)
    reading = eventually(lambda: (m := world.meter(i.id)).complete and m, 10, 0.02)
    assert abs(reading.stop_requested_at_us - asked) < 500_000
    for v in reading.intervals:
        assert v.ended_at_us == reading.stop_requested_at_us  # to the very moment: it was seen after the request
        assert v.ended_at_us - v.started_at_us > 1_000_000
    world.until(i.id, S.INSTANCE_STATUS_STOPPED)
    assert not world.meter(i.id, from_us=reading.stop_requested_at_us).intervals


def test_an_engine_that_never_answers_fails_at_its_deadline(world):
    i = world.launch(args=["--start-delay-ms", "60000"], startup_deadline_s=2)
    x = world.until(i.id, S.INSTANCE_STATUS_FAILED)
    assert x.termination_reason == S.TERMINATION_REASON_STARTUP_FAILED
    assert "deadline" in x.status_detail
    eventually(lambda: world.reserved() == 0 and not world.simulators(), 20, 0.1)
    reading = world.meter(i.id)
    assert reading.complete and not reading.intervals
    assert world.route(i.id) is None


def test_replicas_that_keep_exiting_fail_as_a_crash_loop(world):
    i = world.launch(command=["/bin/sh", "-c", "echo no such weights; exit 3"], engine="", image="any")
    x = world.until(i.id, S.INSTANCE_STATUS_FAILED, timeout=60)
    assert x.termination_reason == S.TERMINATION_REASON_CRASH_LOOP
    eventually(lambda: world.reserved() == 0, 20, 0.1)
    logs = world.stack.rpc("scheduler.ReadInstanceLogs", S.ReadInstanceLogsRequest(id=i.id), S.InstanceLogs, caller=world.owner)
    assert any("no such weights" in line.text for line in logs.data)  # the last lines are kept
    more = world.stack.rpc("scheduler.ReadInstanceLogs", S.ReadInstanceLogsRequest(id=i.id, cursor=logs.next_cursor),
                           S.InstanceLogs, caller=world.owner)
    assert more.ended and not more.data


def test_an_engine_under_the_wrong_name_is_not_ready(world):
    i = world.launch(args=["--model", "another"])
    x = eventually(lambda: "not under the name" in (y := world.get(i.id)).status_detail and y, 10, 0.1)
    assert x.status == S.INSTANCE_STATUS_PROVISIONING and x.ready_replicas == 0
    world.stopped(i.id)


def test_a_refused_hold_stops_the_instance(world):
    i = world.running()
    state = pb.billing.HoldState(instance_id=i.id, account_id="acc_a", cycle=2, status=pb.billing.HOLD_STATUS_REFUSED)
    world.stack.publish_event("billing", "hold.refused", str(i.id), 2, state)
    x = world.until(i.id, S.INSTANCE_STATUS_STOPPED)
    assert x.termination_reason == S.TERMINATION_REASON_CREDIT_DEPLETED
    assert any("credit balance depleted" in e.message for e in world.events(i.id))


def test_a_renewed_hold_is_shown(world):
    i = world.running()
    state = pb.billing.HoldState(instance_id=i.id, account_id="acc_a", cycle=2, status=pb.billing.HOLD_STATUS_PARTIAL,
                                 amount_micros=72_000_000, expires_at_us=world.stack.now_us() + 1000)
    world.stack.publish_event("billing", "hold.partial", str(i.id), 2, state)
    x = eventually(lambda: (y := world.get(i.id)).hold.micros == 72_000_000 and y)
    assert x.hold_expires_at.micros == state.expires_at_us
    world.stopped(i.id)


def test_a_custom_container_is_ready_by_its_health_alone(world):
    i = world.launch(openai_compatible=False, custom_api_path="/generate", health_path="/health", args=["--model", "x"])
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert world.route(i.id).custom_api_path == "/generate"
    world.stopped(i.id)


def test_secrets_reach_the_replica_and_nothing_else(world):
    sealed = world.seal("hunter2-very-secret")
    i = world.running(secret_env=[pb.common.SealedKeyValue(name="MY_SECRET", value=sealed)])
    pid = next(iter(world.replica_pids().values()))
    with open(f"/proc/{pid}/environ", "rb") as f:
        assert b"MY_SECRET=hunter2-very-secret" in f.read()
    world.stopped(i.id)
    for table in ("instances", "outbox", "idempotency", "instance_events"):
        assert world.stack.sql(f"SELECT 1 FROM scheduler.{table} t WHERE t::text LIKE '%hunter2%'") == []
    assert "hunter2" not in world.service.logs()


def test_a_replica_that_is_no_longer_probed_is_not_told_as_healthy(world):
    i = world.running()
    verdicts = (pb.health.HEALTH_STATE_UNSPECIFIED, pb.health.HEALTH_STATE_UNHEALTHY)
    for version, state in enumerate(verdicts, 1):
        world.stack.publish_event("health", "replica.health_changed", f"{i.id}-1", version, pb.health.ReplicaHealth(
            instance_id=i.id, replica_id=1, region="east", state=state, reason="not yet judged"))
    types = eventually(lambda: (t := [e.type for e in world.events(i.id)]) and "replica.unhealthy" in t and t)
    assert "replica.healthy" not in types
    world.stopped(i.id)


def test_the_meter_tells_a_flapping_replica_in_bounded_answers(world):
    i, calm = world.running(), world.running()
    began, n = world.stack.now_us() - 86_400_000_000, 20_000
    world.stack.sql("INSERT INTO scheduler.ready_intervals SELECT %s, 1, %s + k * 2000000::bigint, 'run-of-that-flapping-replica-' || k, "
                    "'east', %s + k * 2000000::bigint + 1000000 FROM generate_series(1, %s) k", i.id, began, began, n)
    told, from_us = set(), 0
    for _ in range(50):
        queries = [S.MeterQuery(instance_id=i.id, from_us=from_us), S.MeterQuery(instance_id=calm.id)]
        flapping, other = world.stack.rpc("scheduler.ReadMeter", S.ReadMeterRequest(queries=queries),
                                          S.ReadMeterResponse).readings
        told |= {(v.replica_id, v.started_at_us, v.ended_at_us) for v in flapping.intervals}
        assert flapping.known and other.known and not flapping.next_from_us or flapping.next_from_us > from_us
        from_us = flapping.next_from_us
        if not from_us:
            break
    assert len(told) == n + 2
    assert len(other.intervals) == 2 and not other.next_from_us
    world.stopped(i.id)
    world.stopped(calm.id)


def test_a_replica_that_never_starts_in_one_region_is_moved_to_another(world):
    op = world.stack.operator()
    put = S.PutRegionRequest(name="south", driver="process", gpus=[S.GpuRoom(gpu_type="sim", total=1)])
    world.stack.rpc("scheduler.PutRegion", put, S.Region, caller=op)
    # Runs for replica 1 alone until replica 2 has left its first region.
    script = 'case "$PWD" in *[0-9]-1|*[0-9]-1/*) ;; *) [ -e %s ] || exec sleep 1000;; esac; exec %s --host {host} --port {port} --model {model}'
    flag = os.path.join(world.stack.dir, "moved")
    command = ["/bin/sh", "-c", script % (flag, world.settings()["PROCESS_SIMULATOR"])]
    i = world.launch(engine="", image="any", command=command, regions=["east", "west", "south"], startup_deadline_s=3)
    first = {r.id: r.region for r in i.replicas}
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=1)
    moved = eventually(lambda: {r.id: r.region for r in world.get(i.id).replicas} != first and world.get(i.id), 30, 0.1)
    open(flag, "w").close()
    assert moved.status == S.INSTANCE_STATUS_RUNNING
    assert "replica.moved" in [e.type for e in world.events(i.id)]
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert world.reserved() == 2
    world.stopped(i.id)
    assert world.reserved() == 0
