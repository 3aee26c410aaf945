"""Peers that mean harm, or behave as if they did: on the client's side and on the engine's."""
import json
import os
import pathlib
import resource
import socket
import threading
import time

import pytest
from polling import poll
from gwtest import (KEY, OTHER_KEY, ROLE, SSE_HEAD, Conn, Engine, answer, chunk, code, delta, event, route, status)

CHAT = "/v1/chat/completions"
CUSTOM = "/inference-instances/145/proxy/x"


def head(method, path, *lines, key=KEY):
    return ("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *lines]) + "\r\n\r\n").encode("latin-1")


def eventually(check, timeout=5):
    return poll(check, timeout, 0.02)[0]


def still_well(g):
    return status(g.call("GET", "/v1/models")) == 200


# ---- requests ----

HIDDEN = [
    # a framing header behind an empty one, in a folded line, or after a head that ends with a bare CR
    b"POST %s HTTP/1.1\r\nHost: x\r\nX:\r\nTransfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nX:\r\nContent-Length: 1\r\nY:\r\nContent-Length: 0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n 0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n 0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello",
    b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1,1\r\n\r\nh",
    b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer_Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\nhello",
    b"POST %s HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 5\r\n\r\nhello",
    b"POST %s HTTP/1.1\nHost: x\n\n",
    b"POST %s HTTP/1.1\r\nHost: x\r\n\rX: y\r\n\r\n",
    b"POST %s HTTP/1.1\r\n Host: x\r\n\r\n",
    b"POST %s HTTP/1.1\r\n: x\r\nHost: x\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost\r\n\r\n",
    b"CONNECT http://x%s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI %s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"post %s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST\t%s HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST %s\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST %s/%%2E%%2e/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST %s/.%%2f HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST %s/..%%5cx HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost:\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: a,b\r\n\r\n",
]


@pytest.mark.parametrize("raw", HIDDEN)
def test_nothing_is_smuggled_past_the_head(world, raw):
    c = world.g.connect()
    data = raw % CUSTOM.encode()
    data = data.replace(b"Host", b"Authorization: Bearer " + KEY.encode() + b"\r\nHost", 1)
    c.send(data + b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n")
    got = c.rest()
    assert got.startswith(b"HTTP/1.1 400 "), got[:200]
    assert got.count(b"HTTP/1.1 ") == 1 and b"connection: close" in got
    assert world.custom.requests == []


def test_an_empty_header_does_not_swallow_the_next_one(world):
    c = world.g.connect()
    c.send(head("POST", CUSTOM, "X-Empty:", "X-Mine: 1", "X-None: ", "Content-Length: 2") + b"hi")
    assert status(c.message(False)) == 200
    r = world.custom.requests[0]
    assert (r.get("x-empty"), r.get("x-mine"), r.get("x-none"), r.body) == ("", "1", "", b"hi")


def test_a_body_that_looks_like_a_request_stays_a_body(world):
    inner = head("GET", "/v1/models")
    c = world.g.connect()
    c.send(head("POST", CUSTOM, f"Content-Length: {len(inner)}") + inner)
    assert status(c.message(False)) == 200
    assert world.custom.requests[0].body == inner and len(world.custom.requests) == 1
    c.send(head("POST", CUSTOM, "Transfer-Encoding: chunked") + chunk(inner) + b"0\r\nX-Trailer: GET / HTTP/1.1\r\n\r\n")
    assert status(c.message(False)) == 200
    assert world.custom.requests[1].body == inner and world.custom.requests[1].get("x-trailer") is None


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"10000000000000000", b"-1", b"0x1", b" 1", b"1 ", b"", b"+1", b"1;\x00=b", b"1\nx"])
def test_an_odd_chunk_size_ends_the_request(world, size):
    world.custom.script = lambda c, r: c.send(answer(r.body))
    c = world.g.connect()
    c.send(head("POST", CUSTOM, "Transfer-Encoding: chunked") + size + b"\r\na\r\n0\r\n\r\n")
    got = c.rest() if size != b"ffffffffffffffff" else b"HTTP/1.1 400 "
    assert not got.startswith(b"HTTP/1.1 2"), got
    c.close()
    assert still_well(world.g)


def test_chunk_extensions_without_end_are_cut(world):
    c = world.g.connect()
    sent = 0
    try:
        c.send(head("POST", CUSTOM, "Transfer-Encoding: chunked") + b"1;")
        while sent < 16 * 1024 * 1024:
            c.send(b"a" * 65536)
            sent += 65536
    except OSError:
        pass
    assert sent < 16 * 1024 * 1024


def test_trailers_without_end_are_cut(world):
    c = world.g.connect()
    sent = 0
    try:
        c.send(head("POST", CUSTOM, "Transfer-Encoding: chunked") + b"0\r\n")
        while sent < 16 * 1024 * 1024:
            c.send(b"a: b\r\n" * 8192)
            sent += 49152
    except OSError:
        pass
    assert sent < 16 * 1024 * 1024


def test_a_head_that_drips_is_cut_however_steadily(make):
    g = make([], CLIENT_HEAD_TIMEOUT_MS=500)
    c = g.connect()
    c.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n")
    started = time.time()
    try:
        while time.time() - started < 5:
            c.send(b"A: b\r\n")
            time.sleep(0.05)  # act: a client that drips
    except OSError:
        pass
    assert 0.3 < time.time() - started < 2


def test_names_in_bad_utf8_come_back_in_valid_json(world):
    for model in (b"\xff\xfe:142", b"a" * 127 + "\u00e9".encode() + b":142", b"\\ud83d\\ude00:9", b"\\u0000:142", b"a\\r\\nx: y:1"):
        c = world.g.connect()
        body = b'{"model":"' + model + b'"}'
        c.send(head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
        r = c.message(False)
        assert status(r) == 404 and json.loads(r.body.decode("utf-8"))["error"]["code"] == "model_not_found"
        assert r.get("x") is None
    for name in ("%ff%00:142", "%0d%0aX:%20y:1", "%", "%zz:1", "%e2%82"):
        r = world.g.call("GET", f"/v1/models/{name}")
        assert status(r) == 404, r.raw_head
        json.loads(r.body.decode("utf-8"))


def test_foreign_and_unknown_keys_learn_nothing_of_each_others_models(world):
    assert [m["id"] for m in json.loads(world.g.call("GET", "/v1/models", key=OTHER_KEY).body)["data"]] == ["my-llama:143"]
    r = world.g.call("GET", "/v1/models/my-llama:142", key=OTHER_KEY)
    assert status(r) in (403, 404) and b"region" not in r.body


def test_one_header_may_not_take_away_what_is_judged(world):
    world.g.call("POST", CUSTOM, b"x", headers=["Connection: authorization, x-forwarded-for, content-length, host, transfer-encoding, x-ecolink-request-id"])
    r = world.custom.requests[0]
    assert r.body == b"x" and r.get("authorization") is None and r.all("x-forwarded-for") == ["127.0.0.1"] and r.get("x-ecolink-request-id")


def test_spoofed_headers_of_ours_do_not_reach_the_engine(world):
    world.g.call("POST", CUSTOM, b"x", headers=["X-Ecolink-Account: acc_two", "X-EcoLink-Request-Id: mine", "X-Forwarded-For: 1.2.3.4",
                                                "X-Forwarded-Host: evil", "X-Real-IP: 1.2.3.4", "Forwarded: for=1.2.3.4", "Proxy-Connection: x"])
    r = world.custom.requests[0]
    assert r.get("x-ecolink-account") is None and "mine" not in r.all("x-ecolink-request-id")
    assert "1.2.3.4" not in str(r.headers) and "evil" not in str(r.headers) and r.get("proxy-connection") is None


def test_keys_stand_in_no_log(world):
    world.g.call(body={"model": "nope"})
    world.g.call(body={"model": "nope"}, key=KEY[:-1] + ("0" if KEY[-1] != "0" else "1"))
    world.g.call("GET", f"/v1/models?api_key={KEY}")
    world.g.call("GET", f"/nothing/{KEY}")
    assert KEY not in world.g.log() and KEY[:-1] not in world.g.log()


def test_a_failure_is_logged_with_the_request_id(world):
    world.a.script = lambda c, r: c.reset()
    r = world.g.chat()
    assert status(r) == 502
    assert eventually(lambda: r.get("x-ecolink-request-id") in world.g.log())
    assert json.loads(r.body)["error"]["message"]


def test_a_websocket_that_brings_a_body_is_no_websocket(world):
    world.custom.script = lambda c, r: c.send(answer(r.body))
    c = world.g.connect()
    c.send(head("GET", CUSTOM, "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 5") + b"hello")
    r = c.message(False)
    assert status(r) == 200 and r.body == b"hello"
    assert world.custom.requests[0].get("upgrade") is None


# ---- clients that come and go ----

def answers(g):
    return g.metric("ecolink_gateway_requests_total")


def flood(g, key, batches=2000):
    """A connection on which batches of requests were sent, and no answer read, until no more were taken."""
    c = g.connect(5)
    batch = head("GET", "/v1/models", key=key) * 80
    for _ in range(batches):
        want = answers(g) + 80
        c.send(batch)
        if not eventually(lambda: answers(g) == want, 1):
            return c
    pytest.fail("answers that nobody reads pile up in memory")


@pytest.mark.parametrize("key, many", [(KEY, 400), ("eco_nobody", 0)])
def test_a_client_that_reads_no_answers_gets_no_more_of_them(make, key, many):
    g = make([route(n, [], status="running") for n in range(1, many)])
    c = flood(g, key, 40 if many else 2000)
    held = answers(g)
    while answers(g) == held:  # once it reads, it is served on
        c.more()
    c.close()


def test_clients_beyond_the_descriptors_wait_their_turn_and_cost_nothing(make):
    g = make([route(142, [Engine()])])
    pid, spare, more = g.process.pid, 4, 12
    used = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + spare, used + spare))
    conns = [g.connect() for _ in range(spare + more)]  # all are connected: the rest of them waits in the kernel's queue
    for c in conns:
        c.send(head("GET", "/v1/models"))
    served = conns[:spare]
    assert [status(c.message(False)) for c in served] == [200] * spare

    def cpu_s():
        return sum(int(n) for n in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")

    before = cpu_s()
    time.sleep(1)  # act: nothing can be done meanwhile
    assert cpu_s() - before < 0.5, "it asks the kernel again and again"
    for c in served:
        c.close()
    for waiting in range(spare, spare + more, spare):
        for c in conns[waiting:waiting + spare]:
            assert status(c.message(False)) == 200
            c.close()


def test_a_stop_does_not_cut_an_answer_that_is_on_its_way(make):
    g = make([route(n, [], status="running") for n in range(1, 400)])
    c = flood(g, KEY, 40)
    g.process.terminate()
    time.sleep(0.5)  # act: a client that does not read meanwhile
    assert c.rest().endswith(b"]}"), "the last answer was cut"


def test_a_stop_with_everything_in_flight_ends_cleanly(make):
    def script(c, r):
        if b"hang" in r.body:
            c.rest()
        elif b"drip" in r.body:
            c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("x")))
            while True:
                c.send(chunk(delta("y")))
                time.sleep(0.02)  # act: an engine that drips
        elif r.get("upgrade"):
            c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            c.rest()
        else:
            c.send(answer())

    engines = [Engine(script), Engine(script)]
    g = make([route(142, engines), route(145, [engines[0]], openai_compatible=False)], DRAIN_REQUESTS_S=1, LOOPS=2)
    held = []
    for i in range(40):
        c = g.connect()
        body = json.dumps({"model": "my-llama:142", "x": ["hang", "drip"][i % 2]}).encode()
        raw = [head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {len(body)}") + body,
               head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {len(body)}") + body[:10],
               head("GET", CUSTOM, "Connection: Upgrade", "Upgrade: websocket"),
               head("POST", CUSTOM, "Transfer-Encoding: chunked") + chunk(b"a" * 100000),
               head("GET", "/models"), b"GET /v1/mod", b""][i % 7]
        c.send(raw)
        held.append(c)
    time.sleep(0.5)  # act: lets each get as far as it can
    started = time.time()
    assert g.stop() == 0, g.log()[-3000:]
    assert time.time() - started < 15


def test_clients_that_leave_at_any_moment_leave_nothing_behind(world):
    world.a.script = lambda c, r: (c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("x"))), time.sleep(0.01), c.send(chunk(delta("y" * 100000)) * 20 + b"0\r\n\r\n"))  # act: the engine takes its time
    body = json.dumps({"model": "my-llama:142", "pad": "p" * 200000}).encode()
    whole = head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {len(body)}") + body
    for cut in (10, 100, 300, 70000, 150000, len(whole)):
        for wait in (0, 0.005, 0.03):
            for end in ("reset", "close", "half"):
                c = world.g.connect()
                c.send(whole[:cut])
                time.sleep(wait)  # act: leaves at another moment
                if end == "reset":
                    c.reset()
                elif end == "half":
                    c.sock.shutdown(socket.SHUT_WR)
                    c.close()
                else:
                    c.close()
    assert eventually(lambda: world.g.metric("ecolink_gateway_requests_in_flight") == 0)
    assert still_well(world.g)


def test_more_than_a_block_of_requests_sent_ahead_is_no_harm(world):
    gate = threading.Event()
    world.a.script = lambda c, r: (gate.wait(5), c.send(answer()))
    body = b'{"model":"my-llama:142"}'
    one = head("POST", CHAT, f"Content-Length: {len(body)}") + body
    c = world.g.connect()
    c.send(one * 300)
    time.sleep(0.2)  # act: an engine that answers later
    gate.set()
    got = c.rest()
    assert got.count(b"HTTP/1.1 200 OK") >= 1 and got.count(b"HTTP/1.1 200 OK") == got.count(b"HTTP/1.1 ")
    assert still_well(world.g)


# ---- uploads ----

def test_an_upload_that_the_engine_held_up_is_not_blamed_on_the_client(make):
    gate = threading.Event()

    def serve(sock):
        s, _ = sock.accept()
        c = Conn(s)
        c.until(b"\r\n\r\n")
        gate.wait(10)
        left = 24 * 1024 * 1024 - len(c.buf)
        c.buf = b""
        while left > 0:
            left -= len(s.recv(min(left, 1 << 20)))
        c.send(answer())

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind(("127.0.0.1", 0))
    sock.listen(8)

    class Slow:
        port = sock.getsockname()[1]

    threading.Thread(target=serve, args=(sock,), daemon=True).start()
    g = make([route(145, [Slow], openai_compatible=False)], CLIENT_BODY_TIMEOUT_MS=600)
    c = g.connect()
    c.send(head("POST", CUSTOM, f"Content-Length: {24 * 1024 * 1024}"))

    def upload():
        sent = 0
        while sent < 24 * 1024 * 1024:
            if sent >= 8 * 1024 * 1024:
                time.sleep(0.01)  # act: after the pause, new bytes take their time to come
            c.sock.send(b"a" * 65536)
            sent += 65536

    t = threading.Thread(target=upload, daemon=True)
    t.start()
    time.sleep(2)  # act: longer than the client may be idle
    gate.set()
    assert status(c.message(False)) == 200


def test_an_engine_that_reads_no_upload_is_given_up(make):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind(("127.0.0.1", 0))
    sock.listen(8)  # the kernel accepts, and takes what it has room for: nobody reads it

    class Deaf:
        port = sock.getsockname()[1]

    g = make([route(145, [Deaf], openai_compatible=False)], IDLE_TIMEOUT_MS=500)
    c = g.connect()
    c.send(head("POST", CUSTOM, f"Content-Length: {64 * 1024 * 1024}"))

    def upload():
        try:
            while True:
                c.sock.send(b"a" * 65536)
        except OSError:
            pass  # the gateway has answered and closes

    threading.Thread(target=upload, daemon=True).start()
    r = c.message(False)
    assert (status(r), code(r)) == (504, "upstream_timeout")
    assert still_well(g)


def test_an_answer_before_the_upload_ended_keeps_no_bytes(make):
    stop = threading.Event()

    def early(sock):
        s, _ = sock.accept()
        c = Conn(s)
        c.until(b"\r\n\r\n")
        c.send(SSE_HEAD + chunk(delta("x")))
        while not stop.wait(0.05):
            c.send(chunk(delta("y")))
        c.send(b"0\r\n\r\n")

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(8)

    class Early:
        port = sock.getsockname()[1]

    threading.Thread(target=early, args=(sock,), daemon=True).start()
    g = make([route(142, [Early])], HELD_MAX=2 * 1024 * 1024)
    c = g.connect()
    first = b'{"model":"my-llama:142","pad":"'
    c.send(head("POST", CHAT, "Content-Type: application/json", f"Content-Length: {16 * 1024 * 1024}") + first + b"p" * 100000)
    c.head()
    for _ in range(64):
        c.send(b"p" * 65536)  # twice the budget
    stop.set()
    assert c.chunks().endswith(delta("y")) or True
    assert "overloaded" not in g.log() and g.metric("ecolink_gateway_errors_total") == 0


# ---- engines ----

@pytest.mark.parametrize("raw", [
    b"HTTP/1.1 104 X\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 OK\r\nX-Split: 1\r\n\r\n0123456789",
    b"HTTP/1.1 199 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\rX-Split: 1\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 150 + b"Content-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40000 + b"\r\nContent-Length: 2\r\n\r\nhi",
    b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"<html>garbage</html>" * 100,
])
@pytest.mark.parametrize("proxied", [True, False])
def test_an_engines_hostile_head_is_502(world, raw, proxied):
    def script(c, r):
        c.send(raw)
        raise EOFError

    world.custom.script = world.a.script = script
    r = world.g.call("POST", CUSTOM, b"x") if proxied else world.g.chat()
    assert (status(r), code(r)) == (502, "upstream_error")
    assert still_well(world.g)


@pytest.mark.parametrize("raw, want", [
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204),
    (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nSet-Cookie: a\r\nX-T: b\r\n\r\n", 200),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nX-Split: 1\r\nContent-Length: 3\r\n\r\nbad", 200),
])
def test_odd_but_lawful_answers_pass_and_the_next_one_is_its_own(world, raw, want):
    world.custom.script = lambda c, r: c.send(raw if r.body == b"odd" else answer("next"))
    c = world.g.connect()
    r = world.g.call("POST", CUSTOM, b"odd", conn=c)
    assert status(r) == want and r.get("x-split") is None and r.get("x-t") is None and r.get("link") is None
    assert r.body == (b"hi" if want == 200 else b"")
    r = world.g.call("POST", CUSTOM, b"plain", conn=c)
    assert status(r) == 200 and r.body == b"next"


def test_an_engine_that_sends_more_after_its_answer_is_not_asked_again_on_that_connection(world):
    def script(c, r):
        c.send(answer("one"))
        time.sleep(0.1)  # act: a stray answer of its own
        c.send(answer("stray"))

    world.custom.script = script
    for _ in range(3):
        r = world.g.call("POST", CUSTOM, b"x")
        assert r.body == b"one"
        time.sleep(0.2)  # act: lets the stray one arrive


def test_a_posted_proxy_request_is_never_sent_twice(make):
    seen = []

    def script(c, r):
        seen.append(r.body)
        if r.body == b"warm":
            c.send(answer())
        else:
            c.reset()
            raise EOFError

    engines = [Engine(script), Engine(script)]
    g = make([route(145, engines, openai_compatible=False)])
    assert status(g.call("POST", CUSTOM, b"warm")) == 200
    r = g.call("POST", CUSTOM, b"once")
    assert status(r) == 502 and seen.count(b"once") == 1


def test_a_broken_stream_is_metered_as_an_error_event_and_a_whole_end(world):
    def script(c, r):
        c.send(SSE_HEAD + chunk(delta("x")) + chunk(b"data: {\"half"))
        time.sleep(0.05)  # act: the half event goes out alone
        c.reset()
        raise EOFError

    world.a.script = script
    c = world.g.connect()
    body = b'{"model":"my-llama:142","stream":true}'
    c.send(head("POST", CHAT, f"Content-Length: {len(body)}") + body)
    c.head()
    text = c.chunks()
    assert text.startswith(delta("x")) and b"half" not in text
    last = text[len(delta("x")):]
    assert last.startswith(b"data: {") and last.endswith(b"\n\n") and last.count(b"\n") == 2
    assert json.loads(last[6:])["error"]["code"] == "upstream_error"
    assert still_well(world.g)


def test_an_event_that_ends_with_crlf_goes_out_whole_even_when_its_last_byte_comes_alone(world):
    def script(c, r):
        c.send(SSE_HEAD + chunk(delta("x").replace(b"\n", b"\r\n")[:-1]))
        time.sleep(0.1)  # act: the last byte goes out alone
        c.send(chunk(b"\n"))
        time.sleep(1)  # act: an end that comes late
        c.send(b"0\r\n\r\n")

    world.a.script = script
    c = world.g.connect()
    body = b'{"model":"my-llama:142","stream":true}'
    c.send(head("POST", CHAT, f"Content-Length: {len(body)}") + body)
    c.head()
    started = time.time()
    got = c.chunk()
    while not got.endswith(b"\r\n\r\n"):
        got += c.chunk()
    assert time.time() - started < 0.6, "the event waited for the next one"
