"""What a scheduler finds when it comes back, and two of them at once."""

import os
import socket
import threading
import time

import pytest
from ecotest.stack import RpcError, eventually
from world import S


@pytest.fixture(autouse=True)
def scheduler(world):
    world.start()
    yield
    for s in world.stack.services:
        if s.process.poll() is None:
            s.stop()


def test_replicas_outlive_a_killed_scheduler_and_are_adopted(world):
    i = world.running()
    pids = world.replica_pids()
    world.service.kill()
    time.sleep(0.5)  # absence: nobody ends them
    assert world.replica_pids() == pids  # nobody noticed
    world.start()
    x = world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert world.replica_pids() == pids
    assert [r.restarts for r in x.replicas] == [0, 0]
    # an adopted replica is restarted like any other: the new scheduler gave the driver its specification
    os.kill(sorted(pids.values())[0], 9)
    eventually(lambda: world.replica_pids() != pids and world.get(i.id).ready_replicas == 2, 20, 0.1)
    world.stopped(i.id)


def test_uptime_goes_on_over_a_gap_for_the_same_run(world):
    i = world.running()
    time.sleep(0.8)  # act: is up for a while
    world.service.kill()
    time.sleep(1.5)  # act: nobody watches for a while
    world.start()
    eventually(lambda: world.meter(i.id).observed_until_us > world.stack.now_us() - 1_000_000, 15, 0.1)
    world.stop(i.id)
    reading = eventually(lambda: (m := world.meter(i.id)).complete and m, 15, 0.05)
    assert len(reading.intervals) == 2  # one each: the gap was bridged by the same run being Ready
    assert all(v.ended_at_us == reading.stop_requested_at_us for v in reading.intervals)
    world.until(i.id, S.INSTANCE_STATUS_STOPPED)


def test_a_replica_that_died_during_a_gap_was_up_to_the_last_watermark(world):
    i = world.running()
    eventually(lambda: world.meter(i.id).observed_until_us > max(v.started_at_us for v in world.meter(i.id).intervals))
    world.service.kill()
    watermark = dict(world.stack.sql("SELECT name, observed_until_us FROM scheduler.regions"))
    dead = {int(name.split("-")[1]) for name in world.replica_pids()}
    for pid in world.replica_pids().values():
        os.kill(pid, 9)
    time.sleep(1)  # act: nobody watches for a while
    world.start()
    ended = eventually(lambda: len(e := [v for v in world.meter(i.id).intervals if v.ended_at_us]) == 2 and e, 30, 0.1)
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert {v.replica_id for v in ended} == dead
    for v in ended:
        assert v.ended_at_us == max(watermark[v.region], v.started_at_us)
    world.stopped(i.id)


def test_a_second_scheduler_stands_by_and_takes_over(world):
    first = world.service
    i = world.running()
    pids = world.replica_pids()
    second = world.stack.start("scheduler", wait=False, **world.settings())
    time.sleep(1)  # absence: it does not take over
    assert second.get("/readyz")[0] != 200
    assert world.get(i.id).ready_replicas == 2
    first.kill()
    second.wait_ready(30)
    world.service = second
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert world.replica_pids() == pids
    world.stopped(i.id)
    assert world.reserved() == 0


def test_the_routes_bucket_is_filled_again_when_it_was_lost(world):
    i = world.running()
    eventually(lambda: world.route(i.id))
    world.stack.stop_nats(lose_files=True)
    world.stack.start_nats()
    world.ends.clear()  # the stand-ins spoke through the old connection
    world.serve_all()
    eventually(lambda: (r := world.route(i.id)) and len(r.replicas) == 2, 90, 0.2)
    world.stopped(i.id)


def test_a_scheduler_without_its_lease_writes_nothing(world):
    i = world.running()
    world.stack.sql("UPDATE scheduler.leases SET holder = 'somebody', epoch = epoch + 1, "
                    "expires_at = clock_timestamp() + interval '4 seconds' WHERE name LIKE 'region:%%'")
    before = dict(world.stack.sql("SELECT name, observed_until_us FROM scheduler.regions"))
    world.stop(i.id)  # may be decided, not carried out
    time.sleep(2)  # absence: no write without the lease
    assert dict(world.stack.sql("SELECT name, observed_until_us FROM scheduler.regions")) == before
    assert len(world.simulators()) == 2
    world.until(i.id, S.INSTANCE_STATUS_STOPPED, timeout=20)


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


def launch_state(world, instance):
    return world.stack.sql("SELECT launch_state FROM scheduler.instances WHERE id = %s", instance)[0][0]


def test_one_launch_that_cannot_be_undone_keeps_no_other_waiting(world):
    world.end_billing()
    for _ in range(2):
        with pytest.raises(RpcError) as refused:
            world.launch()
        assert refused.value.code == "control_plane_unavailable"
    stuck, other = (i for (i,) in world.stack.sql("SELECT id FROM scheduler.instances WHERE launch_state = 'closing' ORDER BY id"))
    world.books.stubborn = {stuck}
    world.serve_billing()
    eventually(lambda: launch_state(world, other) == "discarded")
    assert launch_state(world, stuck) == "closing"
    assert world.reserved() == 2  # what is not undone stays reserved
    world.books.stubborn = set()
    eventually(lambda: launch_state(world, stuck) == "discarded")
    assert world.reserved() == 0


class CommitCutter:
    """Stands between a service and PostgreSQL. The first COMMIT of a transaction that sent `word` takes effect, and its answer
    is lost with the connection."""

    def __init__(self, stack, word):
        self.word, self.cuts = word.encode(), 0
        self.dir = os.path.join(stack.dir, "cutter")
        self._server = os.path.join(stack.pg.dir, ".s.PGSQL.5432")
        os.makedirs(self.dir)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(self.dir, ".s.PGSQL.5432"))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            said = {"word": False, "cut": False}
            threading.Thread(target=self._requests, args=(client, server, said), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, server, said), daemon=True).start()

    def _requests(self, client, server, said):
        try:
            while data := client.recv(65536):
                said["word"] = said["word"] or self.word in data
                if said["word"] and b"COMMIT\0" in data and not self.cuts:
                    self.cuts += 1
                    said["cut"] = True
                server.sendall(data)
        except OSError:
            pass
        self._end(client, server)

    def _answers(self, client, server, said):
        try:
            while data := server.recv(65536):
                if said["cut"]:
                    break
                client.sendall(data)
        except OSError:
            pass
        self._end(client, server)

    @staticmethod
    def _end(*sockets):
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.close()


def test_a_launch_whose_last_commit_lost_its_answer_is_answered_by_what_happened(world):
    world.service.stop()
    cutter = CommitCutter(world.stack, "launch.accepted")
    world.start(DATABASE_URL=f"host={cutter.dir} user=scheduler_app dbname={world.stack.database}")
    i = world.launch(key="lost-answer")
    assert cutter.cuts == 1
    assert world.launch(key="lost-answer").id == i.id
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert (i.id, 1) in world.books.open_holds()
    world.stopped(i.id)
    cutter.close()
