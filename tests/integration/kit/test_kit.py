"""The service kit, through a service made for it (main.c here): real PostgreSQL, real nats-server, real kit."""

import base64
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

import pytest

from ecotest import pb
from ecotest.doorman import Doorman
from ecotest.stack import RpcError, eventually

KV = pb.common.KeyValue


@pytest.fixture
def probe(stack):
    service = stack.start("probe", LEASE_TTL_MS=1000)
    yield service
    service.stop()


def put(stack, name, value, **how):
    return stack.rpc("probe.Put", KV(name=name, value=value), KV, **how)


def copy_of(stack, name):
    rows = stack.sql("SELECT value, applied FROM probe.copies WHERE name = %s", name)
    return rows[0] if rows else None


def bucket_value(stack, name):
    entry = stack.nats.kv_get("probe", name)
    return KV.FromString(entry.value).value if entry is not None and not entry.deleted else None


def outbox_is_empty(stack):
    return stack.sql("SELECT count(*) FROM probe.outbox")[0][0] == 0


def test_a_start_that_fails_takes_nothing_from_the_threads_that_run(stack):
    """Exit handlers would: OpenSSL's frees the locks that a thread needs which is just connecting to the database."""
    service = stack.start("probe", wait=False, FAIL_START="true")
    assert service.wait_exit() == 1
    assert "told to fail" in service.logs() and "exit handlers ran" not in service.logs()


@pytest.fixture
def doorman(stack):
    made = []

    def make(**how):
        made.append(Doorman(stack.nats_port, **how))
        return made[-1], {"NATS_URL": f"nats://127.0.0.1:{made[-1].port}"}
    yield make
    for d in made:
        d.close()


def test_a_bus_that_hangs_up_before_its_welcome_is_asked_again(stack, doorman):
    door, settings = doorman(refused=3)
    service = stack.start("probe", **settings)
    assert door.seen > 3
    put(stack, "after-the-door", "1")
    service.stop()


def test_a_wrong_password_of_the_bus_is_told_as_such(stack):
    service = stack.start("probe", wait=False, NATS_PASSWORD="not-it")
    assert service.wait_exit(40) == 1
    assert "not started" in service.logs() and "auth" in service.logs().lower() and "not-it" not in service.logs()


def test_a_service_whose_bus_connection_is_given_up_ends_for_a_new_start(stack, doorman):
    door, settings = doorman()
    service = stack.start("probe", **settings)
    door.say_to_all(b"-ERR 'something that no client knows'\r\n")
    assert service.wait_exit() == 0
    assert "bus connection given up" in service.logs() and "something that no client knows" in service.logs()


def test_a_write_reaches_the_consumer_and_the_bucket(stack, probe):
    put(stack, "first", "1")
    eventually(lambda: copy_of(stack, "first") == ("1", 1))
    eventually(lambda: bucket_value(stack, "first") == "1")
    eventually(lambda: outbox_is_empty(stack))


def test_a_refused_write_leaves_nothing(stack, probe):
    with pytest.raises(RpcError) as refused:
        put(stack, "refused", "boom")
    assert (refused.value.code, refused.value.param) == ("invalid_request", "value")
    assert stack.sql("SELECT 1 FROM probe.items WHERE name = 'refused'") == []


def test_the_same_idempotency_key_has_one_effect_and_one_answer(stack, probe):
    for _ in range(3):
        assert put(stack, "once", "1", idempotency_key="k-once").value == "1"
    assert stack.sql("SELECT version FROM probe.items WHERE name = 'once'") == [(1,)]


def test_an_idempotency_key_with_another_body_is_refused(stack, probe):
    put(stack, "mismatch", "1", idempotency_key="k-mismatch", http_path="/x")
    with pytest.raises(RpcError) as refused:
        put(stack, "mismatch", "2", idempotency_key="k-mismatch", http_path="/x")
    assert refused.value.code == "idempotency_mismatch"


def test_a_final_refusal_is_replayed_and_its_work_undone(stack, probe):
    for _ in range(2):
        with pytest.raises(RpcError) as refused:
            put(stack, "kept", "boom", idempotency_key="k-kept")
        assert refused.value.code == "invalid_request"
    assert stack.sql("SELECT 1 FROM probe.items WHERE name = 'kept'") == []
    assert stack.sql("SELECT done FROM probe.idempotency WHERE scope LIKE '%%k-kept'") == [(True,)]


def test_an_answer_that_held_a_secret_is_replayed_without_it(stack, probe):
    first = stack.rpc("probe.Secret", KV(name="s", value="1"), pb.registry.ApiKey, idempotency_key="k-secret")
    again = stack.rpc("probe.Secret", KV(name="s", value="1"), pb.registry.ApiKey, idempotency_key="k-secret")
    assert (first.key.value, again.key.value, again.id) == ("the-very-secret", "", "s")
    stored = bytes(stack.sql("SELECT reply FROM probe.idempotency WHERE scope LIKE '%%k-secret'")[0][0])
    assert b"the-very-secret" not in stored


def test_concurrent_calls_with_one_key_have_one_effect(stack, probe):
    answers = []

    def call():
        answers.append(put(stack, "race", "1", idempotency_key="k-race").value)
    threads = [threading.Thread(target=call) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(15)
    assert answers == ["1"] * 8
    assert stack.sql("SELECT version FROM probe.items WHERE name = 'race'") == [(1,)]


@pytest.mark.parametrize("role, method, code", [
    ("ROLE_MEMBER", "Put", "forbidden"),
    ("ROLE_INFERENCE", "Get", "forbidden"),
    ("ROLE_OWNER", "Relay", "forbidden"),
])
def test_a_role_that_the_table_does_not_name_is_refused(stack, probe, role, method, code):
    caller = pb.common.Caller(account_id="acc_x", role=pb.common.Role.Value(role))
    with pytest.raises(RpcError) as refused:
        stack.rpc("probe." + method, KV(name="x"), KV, caller=caller)
    assert refused.value.code == code


def test_a_request_whose_deadline_passed_is_not_started(stack, probe):
    with pytest.raises(RpcError) as refused:
        _put_with_past_deadline(stack)
    assert refused.value.code == "control_plane_unavailable"
    assert stack.sql("SELECT 1 FROM probe.items WHERE name = 'late'") == []


def _put_with_past_deadline(stack):
    context = pb.common.RequestContext(request_id="late", deadline_us=1)
    envelope = pb.common.RpcRequest(context=context, body=KV(name="late", value="1").SerializeToString())
    reply = pb.common.RpcReply.FromString(stack.nats.request("ecolink.rpc.probe.Put", envelope.SerializeToString()))
    if reply.status.code:
        raise RpcError(reply.status)


def test_a_call_between_services_carries_its_answer(stack, probe):
    assert stack.rpc("probe.Relay", KV(name="relayed", value="7"), KV).value == "7"
    assert stack.sql("SELECT value FROM probe.items WHERE name = 'relayed'") == [("7",)]


def test_bytes_that_are_no_message_are_answered_not_fatal(stack, probe):
    for junk in (b"", b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f"):
        reply = pb.common.RpcReply.FromString(stack.nats.request("ecolink.rpc.probe.Put", junk))
        if junk:
            assert reply.status.code == "invalid_request"
    assert put(stack, "alive", "1").value == "1"


def test_duplicated_and_reordered_events_leave_the_newest_state(stack, probe):
    state = {v: KV(name="shuffled", value=str(v)) for v in (1, 2, 3)}
    first = stack.publish_event("probe", "item.changed", "shuffled", 3, state[3])
    stack.publish_event("probe", "item.changed", "shuffled", 1, state[1])
    stack.publish_event("probe", "item.changed", "shuffled", 3, state[3])
    last = stack.publish_event("probe", "item.changed", "shuffled", 2, state[2])
    eventually(lambda: stack.sql("SELECT 1 FROM probe.inbox WHERE event_id = %s", last))
    assert stack.sql("SELECT 1 FROM probe.inbox WHERE event_id = %s", first)
    assert copy_of(stack, "shuffled") == ("3", 1)


def test_a_poisoned_message_is_set_aside_and_the_others_go_on(stack, probe):
    put(stack, "poisoned", "poison")
    put(stack, "behind", "1")
    eventually(lambda: copy_of(stack, "behind"))
    letters = eventually(lambda: stack.sql("SELECT id, error FROM probe.dead_letters WHERE entity_id = 'poisoned'"))
    assert "poison is refused" in letters[0][1]
    assert copy_of(stack, "poisoned") is None
    # Mended by its owner's newer state, then the letter can be replayed: a stale state changes nothing.
    put(stack, "poisoned", "antidote")
    eventually(lambda: copy_of(stack, "poisoned") == ("antidote", 1))
    replayed = stack.rpc("probe.ReplayDeadLetters", pb.common.ReplayDeadLettersRequest(id=letters[0][0]),
                         pb.common.ReplayDeadLettersResponse)
    assert replayed.replayed == 1
    assert copy_of(stack, "poisoned") == ("antidote", 1)
    assert stack.sql("SELECT 1 FROM probe.dead_letters WHERE entity_id = 'poisoned'") == []


def test_a_dead_letter_lets_no_older_state_in(stack, probe):
    stack.publish_event("probe", "item.changed", "aged", 3, KV(name="aged", value="3"))
    eventually(lambda: copy_of(stack, "aged") == ("3", 1))
    stack.publish_event("probe", "item.changed", "aged", 4, KV(name="aged", value="poison"))
    eventually(lambda: stack.sql("SELECT 1 FROM probe.dead_letters WHERE entity_id = 'aged'"))
    late = stack.publish_event("probe", "item.changed", "aged", 2, KV(name="aged", value="2"))
    eventually(lambda: stack.sql("SELECT 1 FROM probe.inbox WHERE event_id = %s", late))
    assert copy_of(stack, "aged") == ("3", 1)
    stack.sql("DELETE FROM probe.dead_letters WHERE entity_id = 'aged'")


def test_a_letter_that_fails_again_keeps_no_other_from_being_replayed(stack, probe):
    put(stack, "stubborn", "poison")
    eventually(lambda: stack.sql("SELECT 1 FROM probe.dead_letters WHERE entity_id = 'stubborn'"))
    event = pb.common.Event(id="evt_mendable", type="item.changed", entity_id="mended", entity_version=1,
                            state=KV(name="mended", value="1").SerializeToString()).SerializeToString()
    stack.sql("INSERT INTO probe.dead_letters VALUES ('evt_mendable', 'probe_probe_item', 'mended', 's', %s, 'e', %s)",
              event, stack.now_us() + 1)
    with pytest.raises(RpcError) as refused:
        stack.rpc("probe.ReplayDeadLetters", pb.common.ReplayDeadLettersRequest(), pb.common.ReplayDeadLettersResponse)
    assert "poison is refused" in refused.value.message
    assert copy_of(stack, "mended") == ("1", 1)
    assert stack.sql("SELECT entity_id FROM probe.dead_letters") == [("stubborn",)]
    put(stack, "stubborn", "1")
    stack.sql("DELETE FROM probe.dead_letters")


def test_a_caller_learns_nothing_of_the_database_from_its_absence(stack, pg, probe):
    owner = pb.common.Caller(account_id="acc_x", role=pb.common.ROLE_OWNER)
    stack.sql("ALTER ROLE probe_app NOLOGIN")
    stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'probe_app'")
    try:
        with pytest.raises(RpcError) as refused:
            eventually(lambda: not put(stack, "unreachable", "1", caller=owner))
    finally:
        stack.sql("ALTER ROLE probe_app LOGIN")
    assert refused.value.code == "control_plane_unavailable"
    for word in ("probe_app", "FATAL", "server", "log in", "database:"):
        assert word not in refused.value.message
    assert "probe_app" in probe.logs()  # whoever runs it does learn
    eventually(lambda: probe.get("/readyz")[0] == 200, timeout=30)


def test_health_is_answered_while_the_database_swallows_what_it_is_asked(stack, probe):
    eventually(lambda: probe.get("/readyz")[0] == 200, timeout=30)
    with open(stack.pg.dir + "/data/postmaster.pid", encoding="ascii") as f:
        frozen = [int(f.readline())]
    try:
        # first who makes connections, then all that it has made: also one that is just logging in, which no view of its own shows yet
        os.kill(frozen[0], signal.SIGSTOP)
        eventually(lambda: all_threads_are_stopped(frozen[0]))
        frozen += children(frozen[0])
        for pid in frozen[1:]:
            os.kill(pid, signal.SIGSTOP)
        slowest = 0.0
        until = time.monotonic() + 15
        while probe.get("/readyz")[0] == 200:
            assert time.monotonic() < until, "still ready"
            began = time.monotonic()
            assert probe.get("/healthz")[0] == 200
            slowest = max(slowest, time.monotonic() - began)
        assert "the database does not answer" in probe.get("/readyz")[1]
        assert slowest < 1
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: probe.get("/readyz")[0] == 200, timeout=30)


def children(pid):
    return [int(child) for child in subprocess.run(["pgrep", "-P", str(pid)], check=True, capture_output=True).stdout.split()]


def all_threads_are_stopped(pid):
    tasks = [stat.read_text() for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rsplit(")", 1)[1].split()[0] == "T" for stat in tasks)


def test_a_relay_that_was_paused_publishes_nothing_after_its_lease(stack):
    """It sleeps in the midst of a batch: the first row is on its way to a bus that holds still, 199 more are in its hands."""
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    eventually(lambda: stack.sql("SELECT 1 FROM probe.leases WHERE name = 'relay'"))
    eventually(lambda: outbox_is_empty(stack))
    seen = stack.nats.subscribe("ecolink.evt.probe.flood.changed")
    stack._nats_process.send_signal(signal.SIGSTOP)
    stack.sql("INSERT INTO probe.outbox (kind, subject, name, payload, created_us)"
              " SELECT 1, 'ecolink.evt.probe.flood.changed', 'evt_flood' || k, '', 0 FROM generate_series(1, 400) k;"
              " SELECT pg_notify('eco_outbox_probe', '')")
    stack.sql("SELECT pg_sleep(0.5)")
    os.kill(probe.process.pid, signal.SIGSTOP)
    eventually(lambda: all_threads_are_stopped(probe.process.pid))  # on a busy machine a signal takes its time
    stack._nats_process.send_signal(signal.SIGCONT)
    stack.sql("UPDATE probe.leases SET holder = 'another', epoch = epoch + 1, expires_at = now() + interval '1 hour'"
              " WHERE name = 'relay'")
    stack.sql("SELECT pg_sleep(1.2)")
    assert len(seen.pending()) <= 1  # what was on its way
    os.kill(probe.process.pid, signal.SIGCONT)
    stack.sql("SELECT pg_sleep(1.5)")
    assert seen.pending() == []
    probe.kill()
    stack.sql("DELETE FROM probe.outbox; DELETE FROM probe.leases")


def test_a_deleted_key_leaves_the_bucket(stack, probe):
    put(stack, "short", "1")
    eventually(lambda: bucket_value(stack, "short") == "1")
    put(stack, "short", "gone")
    eventually(lambda: stack.nats.kv_get("probe", "short").deleted)


def test_a_deleted_bucket_is_made_again_with_its_content(stack):
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    put(stack, "kept-in-table", "1")
    eventually(lambda: bucket_value(stack, "kept-in-table") == "1")
    stack.nats.kv_delete_bucket("probe")
    probe.stop()
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    eventually(lambda: bucket_value(stack, "kept-in-table") == "1")
    eventually(lambda: stack.nats.kv_get("probe", "_generation"))
    probe.stop()


def test_losing_every_jetstream_file_costs_time_and_no_facts(stack, probe):
    put(stack, "before", "1")
    eventually(lambda: copy_of(stack, "before"))
    stack.stop_nats(lose_files=True)
    stack.sql("DELETE FROM probe.copies; DELETE FROM probe.entity_versions")  # what the consumer would not know otherwise
    stack.start_nats()
    eventually(lambda: copy_of(stack, "before") == ("1", 1), timeout=30)
    eventually(lambda: bucket_value(stack, "before") == "1", timeout=30)
    eventually(lambda: probe.get("/readyz")[0] == 200, timeout=30)
    put(stack, "after", "1")
    eventually(lambda: copy_of(stack, "after"), timeout=30)


def test_postgresql_restarting_is_waited_out(stack, pg, probe):
    put(stack, "calm", "1")
    pg.restart()
    eventually(lambda: probe.get("/readyz")[0] == 200, timeout=30)
    assert put(stack, "calm", "2").value == "2"
    eventually(lambda: copy_of(stack, "calm") is not None and copy_of(stack, "calm")[0] == "2", timeout=30)


def test_sagas_that_wait_for_each_other_leave_workers_to_those_who_do_not_wait(stack, probe):
    """Each Relay waits for a Put of the same service: with every worker in a Relay all of them would wait in vain."""
    answers = []

    def call(n):
        answers.append(stack.rpc("probe.Relay", KV(name=f"relayed-{n}", value="1"), KV, timeout=10).value)
    threads = [threading.Thread(target=call, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(15)
    assert answers == ["1"] * 12


def test_a_restored_database_is_followed_by_the_bucket(stack):
    """Its versions lie below what readers of the bucket have seen: a new epoch stands above them all."""
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    put(stack, "restored", "old")
    eventually(lambda: outbox_is_empty(stack))
    items = stack.sql("SELECT name, value, version FROM probe.items WHERE name = 'restored'")
    for value in ("new", "newer"):
        put(stack, "restored", value)
    put(stack, "made-later", "1")
    eventually(lambda: bucket_value(stack, "restored") == "newer" and bucket_value(stack, "made-later") == "1")
    before = stack.nats.kv_get("probe", "restored").version
    probe.stop()
    stack.sql("DELETE FROM probe.items WHERE name = 'made-later'; DELETE FROM probe.outbox")
    stack.sql("UPDATE probe.items SET value = %s, version = %s WHERE name = %s", *items[0][1:], items[0][0])
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    eventually(lambda: bucket_value(stack, "restored") == "old")
    eventually(lambda: stack.nats.kv_get("probe", "made-later").deleted)
    assert stack.nats.kv_get("probe", "restored").version > before
    put(stack, "restored", "again")  # and goes on from there
    eventually(lambda: bucket_value(stack, "restored") == "again")
    assert stack.nats.kv_get("probe", "restored").version > before
    probe.stop()


def test_what_is_made_again_after_a_restore_is_news(stack):
    """Made after the backup, lost with it, made again: its versions begin at 1, and readers of the bucket have seen more of them.
    Nothing else of the table has changed, so that nothing but the outbox's own numbers tells of the lost time."""
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    put(stack, "of-before", "1")
    eventually(lambda: outbox_is_empty(stack))
    last = stack.sql("SELECT last_value FROM probe.outbox_seq_seq")[0][0]
    for value in ("1", "2", "3"):
        put(stack, "reborn", value)
    eventually(lambda: bucket_value(stack, "reborn") == "3")
    before = stack.nats.kv_get("probe", "reborn").version
    probe.stop()
    stack.sql("DELETE FROM probe.items WHERE name = 'reborn'; DELETE FROM probe.outbox; SELECT setval('probe.outbox_seq_seq', %s)", last)
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    eventually(lambda: stack.nats.kv_get("probe", "reborn").deleted)
    put(stack, "reborn", "first")
    eventually(lambda: bucket_value(stack, "reborn") == "first")
    assert stack.nats.kv_get("probe", "reborn").version > before
    probe.stop()


def test_a_stop_without_a_bus_takes_no_time(stack):
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    stack.stop_nats()
    eventually(lambda: probe.get("/readyz")[0] == 503, what="the bus is missed")
    time.sleep(0.3)  # act: its timer is in the middle of a call that nobody will answer
    began = time.monotonic()
    try:
        probe.stop()
        assert time.monotonic() - began < 2.5
    finally:
        stack.start_nats()


def entities_in_stream(stack):
    state = stack.nats.js("STREAM.INFO.ECOLINK")["state"]
    found = set()
    for at in range(state["first_seq"], state["last_seq"] + 1):
        message = stack.nats.js("STREAM.MSG.GET.ECOLINK", {"seq": at}).get("message")
        if message and message["subject"].startswith("ecolink.evt.probe."):
            found.add(pb.common.Event.FromString(base64.b64decode(message["data"])).entity_id)
    return found


@pytest.mark.parametrize("point", ["kit.tx.committed", "kit.rpc.handled", "kit.relay.published", "kit.relay.deleted",
                                   "kit.event.applied", "kit.event.acknowledged"])
def test_a_crash_at_any_point_loses_and_doubles_nothing(stack, point):
    name = "crash-" + point
    dying = stack.start("probe", crash_point=f"{point}:{3 if point == 'kit.tx.committed' else 1}", LEASE_TTL_MS=1000)

    def attempt():
        try:
            return put(stack, name, "1", idempotency_key=name, timeout=1)
        except Exception:  # it died before or after the effect: ask again, that is what the key is for
            return None
    eventually(lambda: attempt() or dying.process.poll() is not None, timeout=20)
    dying.wait_exit()
    probe = stack.start("probe", LEASE_TTL_MS=1000)
    eventually(attempt, timeout=20)
    eventually(lambda: copy_of(stack, name) == ("1", 1), timeout=20)
    eventually(lambda: bucket_value(stack, name) == "1", timeout=20)
    eventually(lambda: outbox_is_empty(stack), timeout=20)
    assert stack.sql("SELECT version FROM probe.items WHERE name = %s", name) == [(1,)]
    assert name in entities_in_stream(stack)  # snapshots and repair would hide that it was never told
    probe.stop()


def test_two_copies_share_the_work_and_one_relays(stack):
    copies = [stack.start("probe", LEASE_TTL_MS=1000) for _ in range(2)]
    for i in range(40):
        put(stack, f"shared-{i}", "1")
    eventually(lambda: stack.sql("SELECT count(*), max(applied) FROM probe.copies WHERE name LIKE 'shared-%%'") == [(40, 1)])
    assert len(stack.sql("SELECT holder FROM probe.leases WHERE name = 'relay'")) == 1
    copies[0].kill()
    put(stack, "shared-after", "1")
    eventually(lambda: copy_of(stack, "shared-after"), timeout=20)
    copies[1].stop()


def test_the_app_role_can_not_change_the_schema(stack, pg, probe):
    import psycopg2
    with pg.connect(stack.database, "probe_app") as c, c.cursor() as cur:
        for statement in ("CREATE TABLE probe.mine (x int)", "DROP TABLE probe.items", "ALTER TABLE probe.items ADD y int",
                          "TRUNCATE probe.items", "CREATE TABLE public.mine (x int)"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cur.execute(statement)


def test_the_nats_user_can_not_reach_beyond_its_table(stack, probe):
    from ecotest.nats import Nats
    mine = Nats(stack.nats_port, "probe", stack._password, inbox="_INBOX_probe")
    foreign = stack.nats.subscribe("ecolink.evt.billing.hold.opened")
    mine.publish("ecolink.evt.billing.hold.opened", b"forged")
    mine.publish("ecolink.rpc.billing.TopUp", b"forged")
    mine.flush()
    assert foreign.pending() == []
    with pytest.raises(queue.Empty):  # the server drops what the user may not publish
        mine.request("$JS.API.STREAM.DELETE.ECOLINK", timeout=0.5)
    mine.close()
