

def test_an_instance_whose_hold_nobody_renews_runs_on_for_the_grace_and_then_stops(world):
    world.service.stop()
    world.start(HOLD_GRACE_S=6)
    i = world.running()
    world.stack.sql("UPDATE scheduler.instances SET hold_expires_at_us = 1 WHERE id = %s", i.id)
    eventually(lambda: "was not renewed" in world.service.logs(), 15, 0.2)
    assert world.get(i.id).status == S.INSTANCE_STATUS_RUNNING
    x = world.until(i.id, S.INSTANCE_STATUS_STOPPED, timeout=30)
    assert x.termination_reason == S.TERMINATION_REASON_CREDIT_DEPLETED


def test_logs_of_an_ended_instance_are_dropped_after_their_time(world):
    world.service.stop()
    world.start()
    i = world.running()
    world.stopped(i.id)
    assert [p for p in _files(world.state_dir) if f"{i.id}-1" in p]
    world.service.stop()
    world.start(LOG_KEEP_S=0)
    eventually(lambda: not [p for p in _files(world.state_dir) if f"{i.id}-1" in p], 20, 0.2)


def _files(root):
    return [os.path.join(d, f) for d, _, files in os.walk(root) for f in files]
