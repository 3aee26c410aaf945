"""The gateway on a real nats-server: keys, routes and health by their buckets; usage and failure reports to the stream."""
import hashlib
import json
import queue
import signal
import time

import gwtest
import pytest
from ecotest import pb
from ecotest.doorman import Doorman, Muffler
from ecotest.stack import eventually
from gwbus import USAGE, Bus, Live, spooled, usage_engine, usage_in_stream
from gwtest import Dead, Engine, answer, code, status


@pytest.fixture(scope="module")
def bus(stack):
    made = Bus(stack)
    made.key()  # every test may run alone
    return made


def serving(stack, bus, instance):
    """A gateway that knows the route, and the engine behind it."""
    engine = Engine()
    bus.key()
    bus.route(instance, [engine])
    g = Live(stack)
    assert status(g.chat(f"my-llama:{instance}")) == 200
    return g, engine


def test_keys_and_routes_are_followed_within_a_second(stack, bus):
    g, engine = serving(stack, bus, 201)
    bus.no_route(201)
    eventually(lambda: status(g.chat("my-llama:201")) == 404, 1, what="the route is gone")
    bus.route(202, [], status=pb.scheduler.INSTANCE_STATUS_PROVISIONING, status_detail="pulling image")
    eventually(lambda: code(g.chat("my-llama:202")) == "instance_starting", 1, what="the new route is seen")
    bus.route(202, [engine])
    eventually(lambda: status(g.chat("my-llama:202")) == 200, 1, what="it runs")
    bus.key(revoked=True)
    eventually(lambda: status(g.chat("my-llama:202")) == 401, 1, what="the key is revoked")
    bus.key()
    eventually(lambda: status(g.chat("my-llama:202")) == 200, 1, what="the key is back")
    assert g.stop() == 0


def test_a_bucket_that_was_made_anew_is_followed_within_seconds(stack, bus):
    """Its consumer dies with the old one and nobody tells: silence does, long before the next full reading (30 s)."""
    g, engine = serving(stack, bus, 206)
    stack.nats.kv_delete_bucket("routes")
    bus.make("routes")
    bus.route(207, [engine])
    eventually(lambda: status(g.chat("my-llama:207")) == 200, 12, what="the route in the new bucket")
    assert g.stop() == 0


def test_false_alarms_are_believed_ever_later(stack, bus):
    """Heartbeats stay away though the bucket is there: the first silence is followed by a full read, later ones have to last."""
    door, engine = Muffler(stack.nats_port), Engine()
    bus.route(205, [engine])
    g = Live(stack, NATS_URL=f"nats://127.0.0.1:{door.port}")
    eventually(lambda: len(door.reads) >= 4, 60, what="three full reads after the first")
    early, late = door.reads[1] - door.reads[0], door.reads[3] - door.reads[2]
    assert 4 <= early < 12 and late >= 1.8 * early, door.reads  # libnats tells after four heartbeats: 8 s
    assert status(g.chat("my-llama:205")) == 200
    assert g.stop() == 0
    door.close()


def test_a_route_by_name_is_called_and_one_without_address_holds_up_no_other(stack, bus):
    g, engine = serving(stack, bus, 211)
    here = pb.scheduler.RouteReplica(replica_id=1, region="region-1", host="127.1", port=engine.port)  # for the resolver alone an address
    gone = pb.scheduler.RouteReplica(replica_id=1, region="region-1", host="replica.invalid", port=engine.port)
    bus.route(212, [], replicas=[gone])
    bus.route(213, [], replicas=[here])
    eventually(lambda: status(g.chat("my-llama:213")) == 200, 2, what="the named one answers")
    assert status(g.chat("my-llama:212")) in (502, 503) and status(g.chat("my-llama:211")) == 200
    bus.route(212, [], replicas=[here])
    eventually(lambda: status(g.chat("my-llama:212")) == 200, 2, what="its name has changed")
    assert g.stop() == 0


def test_an_older_entry_never_replaces_a_newer_one(stack, bus):
    g, engine = serving(stack, bus, 203)
    late = pb.scheduler.RouteEntry(instance_id=203, account_id="acc_one", served_name="my-llama", openai_compatible=True,
                                   status=pb.scheduler.INSTANCE_STATUS_PROVISIONING, status_detail="pulling image")
    bus.put("routes", "203", late, version=1)
    bus.put("routes", "203", pb.scheduler.RouteEntry(), deleted=True, version=1)
    bus.route(204, [engine])  # behind it in the bucket's order: once this is known, the late ones have been read
    eventually(lambda: status(g.chat("my-llama:204")) == 200, 5, what="the next entry is seen")
    assert status(g.chat("my-llama:203")) == 200
    assert g.stop() == 0


def test_a_gateway_whose_bus_connection_is_given_up_serves_on_and_makes_another_one(stack, bus):
    """Over the new one everything goes that went over the old: routes and keys come, usage goes, services are asked."""
    door, engine = Doorman(stack.nats_port), usage_engine()
    bus.route(206, [engine])
    g = Live(stack, NATS_URL=f"nats://127.0.0.1:{door.port}")
    assert status(g.chat("my-llama:206")) == 200
    end = stack.serve("scheduler", {"ListRegions": (pb.scheduler.ListRegionsRequest, lambda _: pb.scheduler.RegionList())})
    for times in (1, 2):
        door.say_to_all(b"-ERR 'something that no client knows'\r\n")
        eventually(lambda n=times: g.service.logs().count("bus connection given up") == n, 10, what="it says so")
        assert all(status(g.chat("my-llama:206")) == 200 for _ in range(20))
        eventually(lambda n=times: g.service.logs().count('"bus connected"') == n + 1, 10, what="another connection")
        bus.route(220 + times, [engine])
        eventually(lambda n=times: status(g.chat(f"my-llama:{220 + n}")) == 200, 5, what="a new route")
        eventually(lambda: status(g.call("GET", "/regions")) == 200, 5, what="a service's answer")
    bus.key(revoked=True)
    eventually(lambda: status(g.chat("my-llama:206")) == 401, 5, what="the key is revoked")
    bus.key()
    eventually(lambda: usage_in_stream(stack, 206)[0] >= 41, 10, what="usage in the stream")
    assert g.stop() == 0
    end()
    door.close()


def test_a_password_that_was_rotated_is_read_anew(stack, bus, tmp_path):
    """A wrong one is told, and never shown; the gateway serves on until its file has the right one."""
    door, engine, file = Doorman(stack.nats_port), Engine(), tmp_path / "password"
    right = stack.environment("gateway")["ECOLINK_GATEWAY_NATS_PASSWORD"]
    file.write_text(right)
    bus.route(208, [engine])
    g = Live(stack, NATS_URL=f"nats://127.0.0.1:{door.port}", NATS_PASSWORD=None, NATS_PASSWORD_FILE=file)
    assert status(g.chat("my-llama:208")) == 200
    file.write_text("not-this-one")
    door.say_to_all(b"-ERR 'something that no client knows'\r\n")
    eventually(lambda: "no other bus connection yet" in g.service.logs(), 40, what="the wrong one is refused")
    assert status(g.chat("my-llama:208")) == 200 and status(g.call("GET", "/regions")) == 503
    file.write_text(right)
    bus.route(209, [engine])
    eventually(lambda: status(g.chat("my-llama:209")) == 200, 40, what="a new route")
    assert "not-this-one" not in g.service.logs() and right not in g.service.logs()
    assert g.stop() == 0
    door.close()


def test_a_condemned_replica_is_left_out_until_the_verdict_expires(stack, bus):
    a, b = Engine(), Engine()
    bus.route(210, [a, b])
    g = Live(stack)
    verdict = pb.health.ReplicaHealth(instance_id=210, replica_id=1, region="region-1", state=pb.health.HEALTH_STATE_UNHEALTHY)
    bus.put("health", "region-1", pb.health.RegionHealth(region="region-1", interval_ms=700, unhealthy=[verdict]))

    def left_out():
        before = len(a.requests)
        assert all(status(g.chat("my-llama:210")) == 200 for _ in range(20))
        return len(a.requests) == before
    eventually(left_out, 2, what="twenty calls in a row go to the other one")
    before = len(a.requests)
    eventually(lambda: status(g.chat("my-llama:210")) == 200 and len(a.requests) > before, 10, what="the verdict expires")
    assert g.stop() == 0


def test_a_tunnel_counts_as_a_request_and_ends_with_its_instance(stack, bus):
    bus.key()
    engine = Engine(lambda c, r: (c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"), c.rest()))
    bus.route(270, [engine], openai_compatible=False)
    g = Live(stack)
    c = g.connect()
    c.send(f"GET /inference-instances/270/proxy/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gwtest.KEY}\r\n"
           "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode())
    assert " 101 " in c.head()[0] and c.exactly(5) == b"hello"
    assert g.metric("ecolink_gateway_requests_in_flight") == 1
    bus.no_route(270)
    assert c.rest() == b"" and engine.closed.wait(5)  # both sides are closed
    eventually(lambda: g.metric("ecolink_gateway_requests_in_flight") == 0, 5, what="it is counted down")
    assert g.stop() == 0


def test_usage_equals_the_answers_exactly(stack, bus):
    engine = usage_engine()
    bus.route(220, [engine])
    g = Live(stack, LOOPS=2)
    for _ in range(50):
        c = g.connect()
        for _ in range(4):
            assert g.chat("my-llama:220", conn=c).body == USAGE
        c.close()
    eventually(lambda: usage_in_stream(stack, 220) == (200, 600, 1000, 0), 5, what="all usage is in the stream")
    engine.script = lambda c, r: c.send(answer("{}", "500 Oops"))
    g.chat("my-llama:220")
    eventually(lambda: usage_in_stream(stack, 220) == (201, 600, 1000, 1), 5, what="the error is counted")
    assert g.stop() == 0


def test_streams_are_metered_by_their_usage(stack, bus):
    def script(c, r):
        c.send(gwtest.SSE_HEAD + gwtest.chunk(gwtest.ROLE) + gwtest.chunk(gwtest.delta("x")))
        c.send(gwtest.chunk(gwtest.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 11}}) + gwtest.event(b"[DONE]")) + b"0\r\n\r\n")

    bus.route(225, [Engine(script)])
    g = Live(stack)
    for _ in range(3):
        g.chat("my-llama:225", stream=True)
    eventually(lambda: usage_in_stream(stack, 225) == (3, 21, 33, 0), 5, what="tokens of streams")
    assert g.stop() == 0


def test_failures_are_reported(stack, bus):
    seen = stack.nats.subscribe("ecolink.evt.gateway.upstream.failed")
    bus.route(230, [Dead()])
    g = Live(stack)
    assert status(g.chat("my-llama:230")) == 502
    report = pb.gateway.UpstreamFailure.FromString(pb.common.Event.FromString(seen.next(5).data).state)
    assert (report.instance_id, report.replica_id, report.region, report.kind, report.count) == (230, 1, "region-1", "connect", 1)
    with pytest.raises(queue.Empty):
        seen.next(0.5)
    assert g.stop() == 0


def test_a_stream_without_room_costs_no_call_and_no_usage(stack, bus):
    """A full disk for JetStream shows as refused publishes."""
    bus.key()
    bus.route(250, [usage_engine()])
    g = Live(stack)
    assert status(g.chat("my-llama:250")) == 200
    eventually(lambda: usage_in_stream(stack, 250)[0] == 1, 5, what="first usage")
    info = stack.nats.js("STREAM.INFO.ECOLINK")
    stack.nats.js("STREAM.UPDATE.ECOLINK", {**info["config"], "discard": "new", "max_msgs": info["state"]["messages"]})
    try:
        for _ in range(10):
            assert status(g.chat("my-llama:250")) == 200
        eventually(lambda: "usage stays in the spool" in g.service.logs(), 10, what="the trouble is logged")
        assert usage_in_stream(stack, 250)[0] == 1
        g.service.kill()
        g.start()
        assert status(g.chat("my-llama:250")) == 200
    finally:
        stack.nats.js("STREAM.UPDATE.ECOLINK", info["config"])
    eventually(lambda: usage_in_stream(stack, 250) == (12, 36, 60, 0), 20, what="all usage arrived, each once")
    assert g.stop() == 0


def test_a_bus_that_hangs_holds_up_no_model_call(stack, bus):
    """Not gone, but stopped: what is written to it stays in the socket, and then blocks the writer."""
    bus.key()
    bus.key(gwtest.OWNER_KEY, key_id="key_8", role=pb.common.ROLE_OWNER, member_id="mem_x")
    bus.route(260, [usage_engine()])
    g = Live(stack)
    eventually(lambda: status(g.chat("my-llama:260")) == 200, 5, what="the route is known")
    body = json.dumps({"model_id": "mdl_1", "env": {f"N{i}": "v" * 60000 for i in range(15)}}).encode()
    raw = (f"POST /inference-instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gwtest.OWNER_KEY}\r\n"
           f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    stack._nats_process.send_signal(signal.SIGSTOP)
    try:
        launches = []
        until = time.time() + 3
        while len(launches) < 60 or time.time() < until:
            if len(launches) < 60:
                launches.append(g.connect())
                launches[-1].send(raw)
            started = time.time()
            assert status(g.chat("my-llama:260")) == 200
            assert time.time() - started < 3
    finally:
        stack._nats_process.send_signal(signal.SIGCONT)
    assert g.stop() == 0


def test_a_gateway_that_has_just_started_gives_no_final_answer_about_what_it_has_not_read(stack, bus):
    """Its file is older than the key and the route: until the buckets are read that is no 401 and no 404."""
    bus.key()
    g = Live(stack, PUBLIC_RATE_LIMIT=0)  # a key that is not known yet is a stranger's
    eventually(lambda: status(g.call("GET", "/v1/models")) == 200, 5, what="the first key")
    assert g.stop() == 0  # its file is written
    for n in range(5000):  # the reading takes a moment
        bus.version += 1
        entry = pb.common.KvEntry(version=bus.version, value=pb.registry.KeyEntry(key_id=f"key_{n}", account_id="acc_x").SerializeToString())
        stack.nats.publish(f"$KV.keys.{hashlib.sha256(str(n).encode()).hexdigest()}", entry.SerializeToString())
    fresh = gwtest.make_key(77)
    bus.key(fresh, key_id="key_fresh")
    bus.route(245, [usage_engine()])
    g.start(wait=False)
    seen = []

    def known():
        try:
            seen.append(status(g.call(body={"messages": [], "model": "my-llama:245"}, key=fresh)))
        except OSError:
            return False  # not listening yet
        return seen[-1] == 200
    eventually(known, 20, 0.001, "the fresh key and route")
    assert set(seen) <= {200, 503} and seen[0] == 503, seen
    bus.no_route(245)
    assert g.stop() == 0


def test_a_route_withdrawn_while_the_gateway_was_away_is_gone_although_its_file_knows_it(stack, bus):
    """The bucket tells of nothing but its end: no other route is there that would show that it is no lost one."""
    stack.nats.kv_delete_bucket("routes")
    bus.make("routes")
    bus.route(208, [Engine()])
    g = Live(stack)
    eventually(lambda: status(g.chat("my-llama:208")) == 200, 5, what="the route is known")
    assert g.stop() == 0
    bus.no_route(208)
    g.start()
    eventually(lambda: status(g.chat("my-llama:208")) == 404, 5, what="the route is gone")
    assert g.stop() == 0


def test_without_nats_it_serves_on_restarts_from_its_file_and_loses_no_usage(stack, bus):
    engine = usage_engine()
    bus.route(240, [engine])
    g = Live(stack)
    assert status(g.chat("my-llama:240")) == 200
    eventually(lambda: usage_in_stream(stack, 240)[0] == 1, 5, what="first usage")
    eventually(lambda: spooled(g) == 0, 5, what="the bus has taken it")
    stack.stop_nats()
    for _ in range(40):
        assert status(g.chat("my-llama:240")) == 200
    eventually(lambda: spooled(g) == 40, 5, what="all of it is in the spool")
    g.service.kill()
    g.start(wait=True)
    for _ in range(30):
        assert status(g.chat("my-llama:240")) == 200
    stack.start_nats()
    eventually(lambda: usage_in_stream(stack, 240) == (71, 213, 355, 0), 20, what="all usage arrived, each once")
    bus.no_route(240)
    eventually(lambda: status(g.chat("my-llama:240")) == 404, 5, what="the bus is followed again")
    assert g.stop() == 0
    assert json.loads(USAGE)
