"""Bad input: each gets the documented status, an error that says what to do, and loses nothing."""
import json
import re
import socket

import pytest
from eco.client import Client, error_of, refused_ids
from eco.waiting import wait


def raw(stack, data, more=b""):
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall(data)
        got = b""
        try:
            while True:
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except (ConnectionResetError, socket.timeout):
            pass
    refused_ids.extend(re.findall(r"x-ecolink-request-id: (\S+)", got.decode(errors="replace"), re.I) if b'"error"' in got else [])
    return got


def chat_body(model, **fields):
    return {"model": model, "messages": []} | fields


@pytest.mark.parametrize("model", ["nothing:999999999", "my-llama", "my-llama:", ":1", "my-llama:abc", "my-llama:-1", "my-llama:01",
                                   "my-llama:99999999999999999999", "", "x" * 400])
def test_an_unknown_model_is_not_found(chat, model):
    """404 `model_not_found` (unknown, no `:id`, stopped instance)"""
    chat[0].refused("POST", "/v1/chat/completions", 404, "model_not_found", json=chat_body(model))


def test_the_name_must_fit_the_instance(chat):
    """404 `model_not_found`"""
    client, instance = chat
    client.refused("POST", "/v1/chat/completions", 404, "model_not_found", json=chat_body(f"other:{instance['id']}"))


@pytest.mark.parametrize("body", ["{", "", "nonsense", '{"model": "a', "\x00"])
def test_malformed_json_is_told_so(chat, body):
    """400 `invalid_json`"""
    answer = chat[0].post("/v1/chat/completions", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["code"] in ("invalid_json", "invalid_request")


@pytest.mark.parametrize("body", ['{"messages":[]}', '{"model":1}', '{"model":null}', '{"model":["a"]}', '[{"model":"a"}]',
                                  '{"x":{"model":"a:1"}}', '{"model":"a:1","model":"b:2"}', '{"model":"a:1","mod\\u0065l":"b:2"}'])
def test_a_missing_double_or_strange_model_is_422(chat, body):
    """Missing, duplicate, non-string, top-level array: 422"""
    error = chat[0].refused("POST", "/v1/chat/completions", 422, "invalid_request", data=body, headers={"Content-Type": "application/json"})
    assert error["param"] == ("model" if body[0] == "{" else None)


def test_a_model_written_with_escapes_is_found(chat):
    """a string of <= 512 bytes, unescaped before lookup"""
    client, instance = chat
    escaped = "".join(f"\\u{ord(c):04x}" for c in instance["model"])
    answer = client.post("/v1/chat/completions", data='{"messages":[{"model":"x:1"}],"mod\\u0065l":"' + escaped + '"}',
                         headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text


def test_a_body_of_50_mb_is_too_large(chat):
    """413 `too_large` (a 50 MB body)"""
    client, instance = chat
    body = json.dumps(chat_body(instance["model"], padding="x" * 50_000_000))
    answer = client.post("/v1/chat/completions", data=body, headers={"Content-Type": "application/json"})
    error_of(answer, "too_large")
    assert answer.status_code == 413
    assert client.chat(instance["model"]).status_code == 200


def test_a_body_of_20_mb_passes(chat):
    """beyond 32 MiB JSON: 413"""
    client, instance = chat
    body = json.dumps({"padding": "x" * 20_000_000} | chat_body(instance["model"]))
    assert client.post("/v1/chat/completions", data=body, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("method,path", [("GET", "/v1/chat/completions"), ("DELETE", "/v1/embeddings"), ("POST", "/v1/models"),
                                         ("PUT", "/models"), ("PATCH", "/inference-instances"), ("POST", "/billing/balance")])
def test_a_wrong_method_is_405_and_names_the_right_ones(chat, method, path):
    """405 `method_not_allowed`"""
    answer = chat[0].request(method, path)
    assert answer.status_code == 405, (answer.status_code, answer.text)
    error_of(answer, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/nothing", "/inference-instances/123456789"])
def test_an_unknown_path_is_404(chat, path):
    """404 `not_found`"""
    chat[0].refused("GET", path, 404, "not_found")


def test_other_media_types_are_415(chat):
    """415 `unsupported_media_type`"""
    client, instance = chat
    client.refused("POST", "/v1/chat/completions", 415, "unsupported_media_type", data="<x/>", headers={"Content-Type": "text/xml"})
    client.refused("POST", "/v1/chat/completions", 415, "unsupported_media_type", data=b"\x1f\x8b", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})


def test_a_key_with_a_trailing_newline_or_blank_is_told_apart_or_trimmed_never_500(stack, chat_client):
    """a key with a trailing newline"""
    for tail in (b"\n", b"%0A", b"\\n", b"x"):
        got = raw(stack, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + chat_client.key.encode() + tail + b"\r\nConnection: close\r\n\r\n")
        status = int(got.split(b" ")[1])
        assert status in (400, 401), got
    got = raw(stack, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + chat_client.key.encode() + b"  \r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200"), got  # blanks around a field's value are no part of it (RFC 9110, section 5.5)


@pytest.mark.parametrize("request_bytes", [
    b"GET /v1/models HTTP/1.1\r\n\r\n", b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /v1/models\r\n\r\n",
    b"GET /v1/models HTTP/2.0\r\nHost: a\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost : a\r\n\r\n", b"GET  /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
])
def test_smuggling_and_nonsense_framing_are_refused(stack, request_bytes):
    """strict framing: 400, close"""
    got = raw(stack, request_bytes)
    assert got == b"" or b" 400 " in got.split(b"\r\n")[0] or b" 405 " in got.split(b"\r\n")[0], got
    assert b"200 OK" not in got


@pytest.mark.parametrize("path,params", [
    ("/models", {"limit": "0"}), ("/models", {"limit": "101"}), ("/models", {"limit": "x"}), ("/inference-instances", {"limit": "-1"}),
    ("/billing/transactions", {"limit": "1001"}), ("/inference-instances", {"status": "sleeping"}),
])
def test_wrong_list_parameters_name_themselves(chat, path, params):
    """`limit` out of range or bad cursor: INVALID_REQUEST with param"""
    error = chat[0].refused("GET", path, 422, "invalid_request", params=params)
    assert error["param"] == next(iter(params))


def test_lists_come_in_pages(tenants):
    """lists `{"object":"list","data":[...],"has_more":...,"next_cursor":...}`"""
    tenant = tenants(None)
    made = [tenant.model()["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = tenant.ok("GET", "/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        assert page["object"] == "list" and len(page["data"]) <= 2
        seen += [m["id"] for m in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == made[::-1]


def test_metrics_are_never_public(stack):
    """`/metrics` there, never on the public one"""
    import requests
    for path in ("/metrics", "/healthz", "/readyz"):
        assert Client(stack.url, None).get(path).status_code in (401, 404)
        for name in ("registry", "scheduler", "billing", "health", "gateway"):
            assert requests.get(f"http://127.0.0.1:{stack.ports[name.upper() + '_ADMIN']}{path}", timeout=3).status_code == 200


@pytest.mark.parametrize("path, name", [("/billing/transactions", "instance_id"), ("/billing/usage", "instance_id"),
                                        ("/inference-instances/{id}/logs", "replica_id")])
def test_a_negative_number_that_names_nothing_is_refused(chat, path, name):
    """`param` names the field at fault; an empty list would hide a mistake."""
    client, instance = chat
    error = client.refused("GET", path.format(id=instance["id"]), 422, "invalid_request", params={name: -1})
    assert error["param"] == name
