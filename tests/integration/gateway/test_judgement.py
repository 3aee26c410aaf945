"""What is refused, with which words; and what reaches the engine when it is not."""
import json
import socket
import time

import pytest
from gwtest import (EXPIRED_KEY, KEY, LIMITED_KEY, OPERATOR_KEY, OTHER_KEY, OWNER_KEY, REVOKED_KEY, UNKNOWN_KEY, Engine, answer, code, route,
                    status)

CHAT = "/v1/chat/completions"
BODY = {"model": "my-llama:142", "messages": []}


@pytest.mark.parametrize("key", [None, REVOKED_KEY, EXPIRED_KEY, UNKNOWN_KEY, "eco_short", "sk-other", KEY + "%0A", KEY + "x"])
def test_a_key_that_does_not_count_is_401(world, key):
    r = world.g.call(body=BODY, key=key)
    assert (status(r), code(r)) == (401, "unauthorized")
    assert r.get("www-authenticate") == "Bearer"
    assert world.a.requests == []


def test_the_key_may_come_as_x_api_key_and_does_not_reach_the_engine(world):
    r = world.g.call(path="/v1/messages", body=BODY, key=None, headers=[f"X-Api-Key: {KEY}"])
    assert status(r) == 200
    assert world.a.requests[0].get("x-api-key") is None and world.a.requests[0].get("authorization") is None


@pytest.mark.parametrize("model, want", [("nope", 404), ("my-llama:999", 404), ("other:142", 404), ("my-llama:0142", 404),
                                         ("my-llama:147", 404), ("my-llama:", 404), (":142", 404), ("my-llama:-1", 404)])
def test_an_unknown_or_stopped_model_is_404_model_not_found(world, model, want):
    r = world.g.chat(model)
    assert (status(r), code(r)) == (want, "model_not_found")
    assert r.get("x-ecolink-request-id").startswith("req_")


def test_another_accounts_instance_is_403(world):
    r = world.g.chat("my-llama:143")
    assert (status(r), code(r)) == (403, "forbidden")
    assert status(world.g.call(body={"model": "my-llama:143"}, key=OTHER_KEY)) == 200


def test_a_starting_instance_is_503_with_phase_and_retry_after(world):
    r = world.g.chat("my-llama:144")
    assert (status(r), code(r), r.get("retry-after")) == (503, "instance_starting", "42")
    assert "provisioning" in r.body.decode() and "37 %" in r.body.decode()


def test_no_healthy_replica_is_503_with_retry_after(world):
    r = world.g.chat("my-llama:146")
    assert (status(r), code(r)) == (503, "no_healthy_replica") and r.get("retry-after")


def test_a_custom_instance_through_v1_is_404(world):
    r = world.g.chat("my-llama:145")
    assert (status(r), code(r)) == (404, "not_openai_compatible")


def test_an_operators_key_calls_no_model(world):
    assert code(world.g.call(body=BODY, key=OPERATOR_KEY)) == "forbidden"
    assert code(world.g.call("GET", "/inference-instances/145/proxy/x", key=OPERATOR_KEY)) == "forbidden"


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"model":"my-llama:142"', b'{"model" "x"}', b'{"model":"my-llama:142"} x'])
def test_malformed_json_is_400(world, body):
    r = world.g.call(body=body)
    assert (status(r), code(r)) == (400, "invalid_json")
    assert world.a.requests == []


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'{"model":1}', b'{"model":null}', b'{"model":"my-llama:142","model":"my-llama:142"}',
                                  '{"model":"my-llama:142"}'.encode("utf-16"), b'{"x":{"model":"my-llama:142"}}',
                                  b'{"model":"' + b"a" * 600 + b':142"}'])
def test_a_missing_doubled_or_odd_model_is_422(world, body):
    r = world.g.call(body=body)
    assert (status(r), code(r)) == (422, "invalid_request")
    assert world.a.requests == []


@pytest.mark.parametrize("headers, want", [(["Content-Type: text/plain"], 415), (["Content-Encoding: gzip"], 415),
                                           (["Content-Type: multipart/form-data; boundary=x"], 415)])
def test_media_that_is_not_understood_is_415(world, headers, want):
    assert status(world.g.call(body=BODY, headers=headers)) == want


def test_a_declared_body_that_is_too_large_is_413_at_once(world):
    c = world.g.connect()
    c.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: 50000000\r\n\r\n".encode())
    r = c.message(False)
    assert (status(r), code(r), r.get("connection")) == (413, "too_large", "close")


def test_a_chunked_body_that_grows_too_large_is_413(world):
    c = world.g.connect()
    c.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    try:
        c.send(b'b\r\n{"x":"aaaaa\r\n')
        piece = b"a" * 1000000
        for _ in range(34):
            c.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
    except OSError:
        pass
    assert status(c.message(False)) == 413


@pytest.mark.parametrize("method, path, allow", [("GET", CHAT, "POST"), ("DELETE", "/v1/embeddings", "POST"), ("POST", "/v1/models", "GET"),
                                                 ("PUT", "/v1/models/my-llama:142", "GET")])
def test_a_wrong_method_is_405_with_allow(world, method, path, allow):
    r = world.g.call(method, path)
    assert (status(r), code(r), r.get("allow")) == (405, "method_not_allowed", allow)


def test_an_unknown_path_is_404(world):
    assert code(world.g.call("GET", "/v1/nothing")) == "not_found"
    assert code(world.g.call("GET", "/nothing")) == "not_found"


def test_the_rate_limit_is_told_and_enforced(make):
    g = make([route(142, [Engine()])])
    c = g.connect()
    for left in (4, 3, 2, 1, 0):
        r = g.call(body=BODY, key=LIMITED_KEY, conn=c)
        assert (status(r), r.get("x-ratelimit-limit"), r.get("x-ratelimit-remaining")) == (200, "5", str(left))
        assert int(r.get("x-ratelimit-reset")) >= 1
    r = g.call(body=BODY, key=LIMITED_KEY, conn=c)
    assert (status(r), code(r)) == (429, "rate_limit_exceeded")
    assert 1 <= int(r.get("retry-after")) <= 12 and r.get("x-ratelimit-remaining") == "0"


def test_a_refusal_with_its_body_read_keeps_the_connection(world):
    c = world.g.connect()
    assert status(world.g.chat("nope", conn=c)) == 404
    assert status(world.g.call(body=BODY, key=UNKNOWN_KEY, conn=c)) == 401
    assert status(world.g.chat(conn=c)) == 200


def test_models_lists_what_this_account_may_call(world):
    r = json.loads(world.g.call("GET", "/v1/models").body)
    assert [m["id"] for m in r["data"] if m["id"].endswith("142")] == ["my-llama:142"]
    assert not any(m["id"].endswith(":143") or m["id"].endswith(":145") for m in r["data"])
    assert json.loads(world.g.call("GET", "/v1/models/my-llama%3A142").body)["id"] == "my-llama:142"
    assert code(world.g.call("GET", "/v1/models/my-llama:999")) == "model_not_found"


def test_100_continue_comes_only_after_the_head_was_judged(world):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n"
    body = json.dumps(BODY).encode()
    c = world.g.connect()
    c.send((head % len(body) + f"Authorization: Bearer {KEY}\r\n\r\n").encode())
    assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
    c.send(body)
    assert status(c.message(False)) == 200
    assert world.a.requests[0].get("expect") is None
    c = world.g.connect()
    c.send((head % len(body) + f"Authorization: Bearer {UNKNOWN_KEY}\r\n\r\n").encode())
    assert status(c.message(False)) == 401


def test_headers_of_this_hop_and_of_our_own_do_not_pass(world):
    world.a.script = lambda c, r: c.send(answer(extra="X-Ecolink-Region: evil\r\nSet-Cookie: a=b\r\nAlt-Svc: h2\r\nX-RateLimit-Limit: 1\r\nX-Kept: 1\r\n"
                                                      "Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\n"))
    r = world.g.call(body=BODY, headers=["Connection: keep-alive, x-private", "X-Private: 1", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6",
                                         "X-Ecolink-Request-Id: mine", "Accept-Encoding: gzip", "TE: trailers", "Proxy-Authorization: x",
                                         "Upgrade: h2c", "X-Mine: kept"])
    sent = {k for k, _ in world.a.requests[0].headers}
    assert not sent & {"x-private", "connection", "te", "accept-encoding", "proxy-authorization", "upgrade", "forwarded", "authorization"}
    assert world.a.requests[0].all("x-forwarded-for") == ["127.0.0.1"]
    assert world.a.requests[0].all("x-ecolink-request-id") == [r.get("x-ecolink-request-id")] != ["mine"]
    assert world.a.requests[0].get("x-mine") == "kept"
    assert r.all("x-ecolink-region") == ["region-a"] and r.get("x-kept") == "1"
    assert not {k for k, _ in r.headers} & {"set-cookie", "alt-svc", "x-hop", "keep-alive"}
    assert r.all("x-ratelimit-limit") == ["1000000"]


SMUGGLING = [
    "POST / HTTP/1.1\r\n\r\n",  # no Host
    "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "GET / RTSP/1.0\r\nHost: x\r\n\r\n",
    "SOURCE / ICE/1.0\r\nHost: x\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /v1/../x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /v1/%2e%2E/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /v1/..%2fx HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: x\nContent-Length: 1\r\n\r\na",
    "POST / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 120 + "\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nA: " + "b" * 20000 + "\r\n\r\n",
    "GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("raw", SMUGGLING)
def test_odd_framing_is_400_and_closes(world, raw):
    c = world.g.connect()
    c.send(raw.encode("latin-1") + b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    data = c.rest()
    assert data.startswith(b"HTTP/1.1 400 "), data[:200]
    assert data.count(b"HTTP/1.1 ") == 1 and b"connection: close" in data


def test_a_bad_chunk_size_ends_the_request(world):
    c = world.g.connect()
    c.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode())
    assert c.rest().startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_are_answered_in_order(world):
    world.a.script = lambda c, r: c.send(answer(r.body))
    c = world.g.connect()
    raw = b""
    for i in range(20):
        body = json.dumps({"model": "my-llama:142" if i % 3 else "nope", "n": i}).encode()
        raw += f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    c.send(raw)
    for i in range(20):
        r = c.message(False)
        assert status(r) == (200 if i % 3 else 404)
        assert i % 3 == 0 or json.loads(r.body)["n"] == i


def test_a_request_byte_by_byte_is_one_request(world):
    c = world.g.connect()
    body = json.dumps(BODY).encode()
    for b in f"\r\nPOST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body:
        c.send(bytes([b]))
    assert status(c.message(False)) == 200
    assert json.loads(world.a.requests[0].body)["model"] == "my-llama"


def test_http_10_gets_a_plain_answer_and_a_close(world):
    world.a.script = lambda c, r: c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    c = world.g.connect()
    body = json.dumps(BODY).encode()
    c.send(f"POST {CHAT} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    data = c.rest()
    assert data.endswith(b"\r\n\r\nabc") and b"chunked" not in data


def test_a_client_that_stops_within_its_head_is_cut(make):
    g = make([route(142, [Engine()])], CLIENT_HEAD_TIMEOUT_MS=300)
    c = g.connect()
    c.send(b"POST / HTT")
    started = time.time()
    assert c.rest() == b"" and time.time() - started < 2


def test_a_client_that_stops_within_its_body_is_cut(make):
    g = make([route(142, [Engine()])], CLIENT_BODY_TIMEOUT_MS=300)
    c = g.connect()
    c.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{".encode())
    started = time.time()
    assert b" 200 " not in c.rest() and time.time() - started < 3


def test_held_bodies_beyond_the_budget_are_503(make):
    g = make([route(142, [Engine()])], HELD_MAX=1048576)
    c = g.connect()
    c.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 3000000\r\n\r\n".encode() + b'{"a":"')
    try:
        for _ in range(29):
            c.send(b"x" * 100000)
    except OSError:
        pass
    r = c.message(False)
    assert (status(r), code(r)) == (503, "overloaded") and r.get("retry-after")
    assert isinstance(c.sock, socket.socket)


def test_management_calls_go_behind_the_door_and_fail_plainly_without_a_bus(world):
    c = world.g.connect()
    assert code(world.g.call("GET", "/models", conn=c)) == "forbidden"  # an inference key
    for _ in range(3):
        r = world.g.call("GET", "/models", key=OWNER_KEY, conn=c)
        assert (status(r), code(r)) == (503, "control_plane_unavailable")
    assert status(world.g.call("GET", "/models", key=None, conn=c)) == 401
    assert status(world.g.call("GET", "/platform/models", key=None, conn=c)) == 503
    r = world.g.call("PATCH", "/models", key=OWNER_KEY, conn=c)
    assert status(r) == 405 and "POST" in r.get("allow")
    assert status(world.g.call("POST", "/models", body=b"{", key=OWNER_KEY, conn=c)) == 400
    assert status(world.g.call("POST", "/models", body=b" " * 2_000_000, key=OWNER_KEY)) == 413
    assert status(world.g.chat(conn=c)) == 200


def test_a_video_is_asked_for_where_its_id_says(world):
    assert status(world.g.call("GET", "/v1/video/generations/vid_9:142?x=1")) == 200
    assert world.a.requests[0].line == "GET /v1/video/generations/vid_9?x=1 HTTP/1.1"
    assert code(world.g.call("GET", "/v1/video/generations/vid_9")) == "not_found"
    assert code(world.g.call("GET", "/v1/video/generations/vid_9:143")) == "forbidden"
