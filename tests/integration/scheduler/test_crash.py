"""kill -9 of the scheduler at every step of a launch and of a stop: the next start converges, with no orphan process, no
reservation and no hold left over. `make test` takes one passage of each of the scheduler's own points; the kit's and later passages
come with tier ci (and every point with the whole stack: tests/faults)."""

import pytest
import tier
from ecotest.stack import NoAnswer, RpcError, eventually
from world import S

DURING_LAUNCH = ["scheduler.launch.intent_committed", "scheduler.launch.model_acquired", "scheduler.launch.hold_placed",
                 "scheduler.launch.outcome_committed", "scheduler.reconcile.committed", "scheduler.reconcile.committed:3",
                 "scheduler.reconcile.applied", "scheduler.reconcile.applied:2", "scheduler.meter.watermark_committed:3",
                 "process.forked", "process.pid_recorded", "process.intent_recorded", "process.released",
                 "kit.relay.published", "kit.relay.deleted", "kit.rpc.called:2", "kit.rpc.handled"]
DURING_STOP = ["scheduler.reconcile.committed", "scheduler.reconcile.committed:2", "scheduler.reconcile.removed",
               "scheduler.reconcile.removed:2", "process.stop_recorded", "process.term_sent", "process.exit_recorded",
               "process.record_removed", "kit.relay.published", "kit.rpc.handled", "kit.tx.committed:2"]
ANSWERLESS = (RpcError, NoAnswer)


def points(listed):
    own = [p for p in listed if not p.startswith("kit.") and ":" not in p]
    return tier.scaled(test=own, ci=listed)


def visible(world):
    r = S.ListInstancesRequest(limit=100)
    listed = world.stack.rpc("scheduler.ListInstances", r, S.InstanceList, caller=world.owner).data
    return [i for i in listed if i.status not in (S.INSTANCE_STATUS_STOPPED, S.INSTANCE_STATUS_FAILED)]


def nothing_is_left(world):
    assert visible(world) == []
    eventually(lambda: world.reserved() == 0, 20, 0.1, "reservations are released")
    eventually(lambda: not world.simulators(), 20, 0.1, "no orphan process")
    unanswered = world.stack.sql("SELECT id FROM scheduler.instances WHERE launch_state IN ('open', 'closing')")
    assert unanswered == []
    discarded = world.stack.sql("SELECT id FROM scheduler.instances WHERE launch_state = 'discarded'")
    assert not {(i, 1) for (i,) in discarded} & world.books.open_holds()


@pytest.mark.parametrize("point", points(DURING_LAUNCH))
def test_a_launch_survives_kill_9_at(world, point):
    crashed = world.start(crash_point=point)
    eventually(lambda: crashed.get("/readyz")[0] == 200 or crashed.process.poll() is not None)
    key = "crash-" + point
    try:
        world.launch(key=key, timeout=4)
    except ANSWERLESS:
        pass
    assert crashed.wait_exit(20) == -9, "the point was never reached:\n" + crashed.logs()[-2000:]
    world.start()
    # The caller asks again with the same key until it is told: one launch, whatever happened to the first attempt.
    def again():
        try:
            return world.launch(key=key, timeout=15)
        except ANSWERLESS:
            return None
    i = eventually(again, 40, 0.3)
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    eventually(lambda: [x.id for x in visible(world)] == [i.id], 20, 0.2)
    eventually(lambda: world.reserved() == 2, 20, 0.1)
    eventually(lambda: len(world.simulators()) == 2, 20, 0.1)
    world.stopped(i.id)
    nothing_is_left(world)
    world.service.stop()


@pytest.mark.parametrize("point", points(DURING_STOP))
def test_a_stop_survives_kill_9_at(world, point):
    world.start()
    i = world.running()
    world.service.kill()
    crashed = world.start(crash_point=point)
    try:
        eventually(lambda: crashed.get("/readyz")[0] == 200 or crashed.process.poll() is not None, 15)
        world.stop(i.id)
    except ANSWERLESS:
        pass
    assert crashed.wait_exit(20) == -9, "the point was never reached:\n" + crashed.logs()[-2000:]
    world.start()
    x = world.stopped(i.id)
    assert x.stop_requested_at.micros > 0
    reading = world.meter(i.id)
    assert reading.complete and len(reading.intervals) >= 2
    assert all(0 < v.ended_at_us <= reading.stop_requested_at_us for v in reading.intervals)
    nothing_is_left(world)
    world.service.stop()
