"""The custom proxy (product description, section 4)."""
import base64
import hashlib
import os
import socket
import struct
import time

import pytest
from eco.waiting import wait


@pytest.fixture(scope="module")
def custom(stack):
    client = stack.account("1000.00", "custom")
    instance = client.launch(client.hf_model("my-custom"), openai_compatible=False, custom_api_path="/generate", health_path="/")
    client.wait_running(instance["id"])
    base = f"/inference-instances/{instance['id']}/proxy"
    wait(lambda: client.get(base + "/generate/x").status_code == 200, "the route")
    yield client, instance, base
    stack.heal()
    client.stop(instance["id"], wait_for_end=False)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_any_method_passes_verbatim(custom, method):
    """[D] 4: Custom mode: `ANY /inference-instances/{id}/proxy/{path}`; body and response verbatim"""
    client, _, base = custom
    body = os.urandom(1000)
    answer = client.request(method, f"{base}/generate/a%20b/c?x=1&y=%2F&x=2", data=body, headers={"X-Mine": "kept", "Content-Type": "a/b"})
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["method"], seen["path"], seen["query"]) == (method, "/generate/a%20b/c", "x=1&y=%2F&x=2")
    assert base64.b64decode(seen["body_base64"]) == body
    headers = {k.lower(): v for k, v in seen["headers"].items()}
    assert headers["x-mine"] == "kept" and headers["content-type"] == "a/b"
    assert "authorization" not in headers
    assert headers["x-forwarded-for"] and len([k for k in headers if "request-id" in k]) == 1
    assert answer.headers["x-ecolink-region"] and answer.headers["x-ecolink-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff" and "sandbox" in answer.headers["content-security-policy"]


def test_head_has_no_body(custom):
    """[D] 4: `ANY /inference-instances/{id}/proxy/{path}`"""
    client, _, base = custom
    answer = client.request("HEAD", f"{base}/generate/bytes/1000")
    assert answer.status_code == 200 and answer.content == b"" and answer.headers["content-length"] == "1000"


@pytest.mark.parametrize("status", [201, 204, 302, 404, 418, 500, 503])
def test_every_status_passes(custom, status):
    """[D] 4: body and response verbatim"""
    client, _, base = custom
    answer = client.get(f"{base}/generate/status/{status}", allow_redirects=False)
    assert answer.status_code == status and answer.headers["server"] == "ecolink-simulator"
    if status != 204:
        assert answer.text == "as asked\n"


def test_large_bodies_pass_both_ways(custom):
    """[D] 4: body and response verbatim"""
    client, _, base = custom
    body = os.urandom(1 << 16) * 80  # 5 MiB
    seen = client.post(f"{base}/generate/in", data=body).json()
    assert seen["body_length"] == len(body) and hashlib.sha256(base64.b64decode(seen["body_base64"])).digest() == hashlib.sha256(body).digest()
    answer = client.get(f"{base}/generate/bytes/20000000")
    assert len(answer.content) == 20_000_000


def test_streaming_goes_both_ways_at_once(stack, custom):
    """streaming both ways"""
    client, _, base = custom
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall(f"POST {base}/generate/duplex HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n".encode())
        received = b""
        for n in range(3):
            s.sendall(b"6\r\nping-%d\r\n" % n)
            while b"ping-%d" % n not in received:
                got = s.recv(4096)
                assert got, received
                received += got
        s.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            got = s.recv(4096)
            assert got, received
            received += got
    assert received.startswith(b"HTTP/1.1 200")


def test_events_stream_through(custom):
    """streaming both ways"""
    client, _, base = custom
    answer = client.get(f"{base}/generate/sse", stream=True)
    lines = [line for line in answer.iter_lines() if line]
    assert lines[0] == b"data: 0 This " and lines[-1] == b"data: [DONE]" and len(lines) == 17
    assert answer.headers["content-type"].startswith("text/event-stream")


def frame(payload, op=1):
    mask = os.urandom(4)
    head = bytes([0x80 | op]) + (bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(payload)))
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        got = s.recv(n - len(data))
        assert got, "the connection ended"
        data += got
    return data


def read_frame(s):
    first, length = read_exactly(s, 2)
    if length == 126:
        length = struct.unpack(">H", read_exactly(s, 2))[0]
    return first & 0x0F, read_exactly(s, length)


def test_a_websocket_passes(stack, custom):
    """`Upgrade` (WebSocket)"""
    client, _, base = custom
    host, port = stack.url.removeprefix("http://").split(":")
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall((f"GET {base}/generate/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\nUpgrade: websocket\r\n"
                   f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += read_exactly(s, 1)
        assert head.startswith(b"HTTP/1.1 101"), head
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert accept in head
        for payload in (b"hello", b"x" * 5000):
            s.sendall(frame(payload))
            assert read_frame(s) == (1, payload)
        s.sendall(frame(b"ping", 9))
        assert read_frame(s) == (10, b"ping")
        s.sendall(frame(b"\x03\xe8", 8))
        assert read_frame(s)[0] == 8


def test_dot_segments_are_refused(stack, custom):
    """A dot segment, plain or encoded, is 400"""
    client, _, base = custom
    host, port = stack.url.removeprefix("http://").split(":")
    for path in ("/generate/../admin", "/generate/%2e%2e/admin", "/generate/.%2E/x", "/generate/./x"):
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(f"GET {base}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\nConnection: close\r\n\r\n".encode())
            assert s.recv(4096).startswith(b"HTTP/1.1 400"), path


def test_paths_outside_the_registered_one_are_refused(custom):
    """sub-path below the registered `custom_api_path`"""
    client, _, base = custom
    answer = client.get(f"{base}/_simulator/state")
    assert answer.status_code == 404 or "/generate" in str(answer.json().get("path", "")), answer.text


def test_a_custom_instance_is_not_called_through_v1(custom):
    """a custom one through `/v1` answers 404 `not_openai_compatible`"""
    client, instance, _ = custom
    client.refused("POST", "/v1/chat/completions", 404, "not_openai_compatible", json={"model": instance["model"], "messages": []})


def test_an_openai_instance_is_reached_through_the_proxy_too(chat):
    """An OpenAI-mode instance can be reached through `/proxy` too (any path)"""
    client, instance = chat
    seen = client.ok("POST", f"/inference-instances/{instance['id']}/proxy/any/path?q=1", json={"a": 1})
    assert seen["path"] == "/any/path" and seen["query"] == "q=1" and seen["body"] == '{"a": 1}'


def test_an_unknown_instance_is_not_found(chat_client):
    """404 `not_found`"""
    answer = chat_client.get("/inference-instances/987654321/proxy/x")
    assert answer.status_code == 404
