"""The custom proxy: verbatim, any method, paths below the registered one, WebSocket tunnels."""
import time

import pytest
from gwtest import KEY, Dead, Engine, answer, code, route, status

BASE = "/inference-instances/145/proxy"


@pytest.mark.parametrize("path, want", [("", "/generate"), ("/", "/generate"), ("/generate", "/generate"), ("/a/b?x=%2F&y=1", "/generate/a/b?x=%2F&y=1"),
                                        ("/generate/x", "/generate/x"), ("/generated", "/generate/generated"), ("?q", "/generate?q")])
def test_a_custom_path_lies_below_the_registered_one(world, path, want):
    r = world.g.call("GET", BASE + path)
    assert status(r) == 200
    assert world.custom.requests[0].line == f"GET {want} HTTP/1.1"
    assert r.get("content-security-policy") == "sandbox" and r.get("x-content-type-options") == "nosniff"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_any_method_and_body_pass_verbatim(world, method):
    world.custom.script = lambda c, r: c.send(answer(r.body, "299 Odd", content_type="x/y"))
    body = bytes(range(256)) * 40
    r = world.g.call(method, BASE + "/x", body=body, headers=["Content-Type: any/thing", "Content-Encoding: gzip", "Accept-Encoding: br"])
    assert (status(r), r.body, r.get("content-type")) == (299, body, "x/y")
    got = world.custom.requests[0]
    assert (got.body, got.get("content-encoding"), got.get("accept-encoding"), got.get("authorization")) == (body, "gzip", "br", None)


def test_head_has_no_body(world):
    world.custom.script = lambda c, r: c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    c = world.g.connect()
    c.send(f"HEAD {BASE}/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    line, headers, _ = c.head()
    assert " 200 " in line and ("content-length", "500") in headers
    world.custom.script = lambda c, r: c.send(answer("x"))
    assert world.g.call("GET", BASE, conn=c).body == b"x"


def test_an_openai_instance_is_reached_at_any_path(world):
    assert status(world.g.call("GET", "/inference-instances/142/proxy/metrics")) == 200
    assert world.a.requests[0].line == "GET /metrics HTTP/1.1"


@pytest.mark.parametrize("path, want", [("/inference-instances/999/proxy/x", "model_not_found"), ("/inference-instances/143/proxy/x", "forbidden"),
                                        ("/inference-instances/144/proxy/x", "instance_starting")])
def test_the_same_rules_of_ownership_hold(world, path, want):
    assert code(world.g.call("GET", path)) == want


def test_a_large_upload_streams_through(world):
    world.custom.script = lambda c, r: c.send(answer(str(len(r.body))))
    assert world.g.call("POST", BASE, body=b"z" * 20_000_000).body == b"20000000"


def test_a_dotted_path_is_refused(world):
    for path in ("/../x", "/%2e%2e/x", "/a/..%2Fb", "/.", "/a%5c..%5cb"):
        assert status(world.g.call("GET", BASE + path)) == 400


def test_a_request_that_was_not_sent_is_retried_and_one_that_was_is_not(make):
    good = Engine()
    g = make([route(145, [Dead(), good], openai_compatible=False)])
    for _ in range(8):
        assert status(g.call("POST", BASE + "/x", body=b"abc")) == 200
    engines = []

    def die(c, r):
        c.reset()
        raise EOFError

    engines = [Engine(die), Engine(die)]
    g = make([route(145, engines, openai_compatible=False)])
    r = g.call("POST", BASE + "/x", body=b"abc")
    assert (status(r), code(r)) == (502, "upstream_error")
    assert sum(len(e.requests) for e in engines) == 1


UPGRADE = f"GET {BASE}/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Key: abc\r\n\r\n"


def test_a_websocket_is_tunnelled_both_ways(world):
    def script(c, r):
        assert r.get("upgrade") == "websocket" and r.get("connection") == "Upgrade"
        c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: xyz\r\n\r\nhello")
        while True:
            c.more()
            c.send(c.buf.upper())
            c.buf = b""

    world.custom.script = script
    c = world.g.connect()
    c.send((UPGRADE % "websocket").encode() + b"early")
    line, headers, _ = c.head()
    assert " 101 " in line and ("sec-websocket-accept", "xyz") in headers and ("upgrade", "websocket") in headers
    assert c.exactly(10) == b"helloEARLY"
    for i in range(50):
        c.send(b"abc%d" % i)
        assert c.exactly(len(b"ABC%d" % i)) == b"ABC%d" % i
    world.custom.closed.clear()
    c.close()
    assert world.custom.closed.wait(2)


def test_the_tunnel_ends_when_the_engine_ends_it(world):
    def script(c, r):
        c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")
        raise EOFError

    world.custom.script = script
    c = world.g.connect()
    c.send((UPGRADE % "websocket").encode())
    assert c.rest().endswith(b"bye")


def test_h2c_and_a_refused_upgrade_are_plain_requests(world):
    c = world.g.connect()
    c.send((UPGRADE % "h2c").encode())
    assert status(c.message(False)) == 200
    assert world.custom.requests[0].get("upgrade") is None
    c.send((UPGRADE % "websocket").encode())
    assert status(c.message(False)) == 200


def test_a_101_that_nobody_asked_for_is_502(make):
    g = make([route(145, [Engine(lambda c, r: (c.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), c.rest()))], openai_compatible=False)])
    assert status(g.call("GET", BASE + "/x")) == 502


def test_a_half_closing_client_still_gets_its_answer(world):
    world.custom.script = lambda c, r: (time.sleep(0.2), c.send(answer("late")))  # act: an engine that takes its time
    c = world.g.connect()
    c.send(f"GET {BASE}/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    c.sock.shutdown(1)
    assert c.rest().endswith(b"late")


def test_server_sent_events_pass_unheld(world):
    def script(c, r):
        c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n")
        time.sleep(0.4)  # act: an engine that takes its time
        c.send(b"1\r\nf\r\n0\r\n\r\n")

    world.custom.script = script
    c = world.g.connect()
    started = time.time()
    c.send(f"GET {BASE}/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    c.head()
    assert c.chunk() == b"hal" and time.time() - started < 0.3
    assert c.chunks() == b"f"
