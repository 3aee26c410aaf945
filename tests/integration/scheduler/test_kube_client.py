"""The Kubernetes client against a scripted TLS server that behaves as badly as API servers and networks can: every rule of
kube_client.h is asked from outside. What real API servers do is tested in tests/kube."""

import base64
import http.server
import json
import os
import ssl
import subprocess
import threading
import time

import pytest

from ecotest.stack import BUILD, free_port

TOOL = os.path.join(BUILD, "tests", "kube_tool")
(OK, NOT_FOUND, EXISTS, CONFLICT, GONE, INVALID, UNAUTHORIZED, FORBIDDEN, TERMINATING, THROTTLED, SERVER, UNREACHABLE, TIMEOUT,
 TOO_LARGE, GARBAGE) = range(15)


def make_authority(folder):
    """An authority and a certificate of 127.0.0.1, and another authority nobody knows; by the openssl program."""
    def run(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
    for name in ("ca", "other"):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.crt", "-days", "2", "-subj", f"/CN={name}")
    for name, subject_alt in (("server", "IP:127.0.0.1"), ("named", "DNS:kubernetes"), ("client", "DNS:client")):
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-subj", f"/CN={name}")
        with open(os.path.join(folder, f"{name}.ext"), "w", encoding="utf-8") as f:
            f.write(f"subjectAltName={subject_alt}\n")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt",
            "-days", "2", "-extfile", f"{name}.ext")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        server = self.server
        server.seen.append((self.command, self.path, dict(self.headers), body, self.client_address[1], time.monotonic()))
        server.script(self, body)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = answer

    def say(self, status, obj, **headers):
        data = obj if isinstance(obj, bytes) else json.dumps(obj).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        data = data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def status(code, reason, message, **more):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message, **more}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 256


class Api:
    def __init__(self, folder, cert="server"):
        self.folder, self.port = folder, free_port()
        self.http = Server(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(folder, f"{cert}.crt"), os.path.join(folder, f"{cert}.key"))
        context.load_verify_locations(os.path.join(folder, "ca.crt"))
        context.verify_mode = ssl.CERT_OPTIONAL
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.http.seen = []
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def seen(self):
        return self.http.seen

    def script(self, fn):
        self.http.seen = []
        self.http.script = fn

    def config(self, user=None, ca="ca.crt", **cluster):
        with open(os.path.join(self.folder, ca), "rb") as f:
            authority = base64.b64encode(f.read()).decode()
        text = json.dumps({"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                           "clusters": [{"name": "a", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                                  "certificate-authority-data": authority, **cluster}}],
                           "users": [{"name": "a", "user": user or {"token": "secret-token"}}]})  # JSON is YAML
        path = os.path.join(self.folder, f"config-{time.monotonic_ns()}")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("kube-pki"))
    make_authority(path)
    return path


@pytest.fixture(scope="module")
def api(folder):
    a = Api(folder)
    yield a
    a.close()


def tool(config, *args, idle_ms=2000, stdin=None, timeout=30):
    out = subprocess.run([TOOL, config, str(idle_ms), *args], input=stdin, capture_output=True, text=True, timeout=timeout)
    assert out.returncode in (0, 1), out.stderr
    return out.stdout.splitlines()


def parsed(line):
    head, _, message = line.partition(" word=")
    fields = dict(part.split("=") for part in head.split())
    word, _, message = message.partition(" ")
    return int(fields["reason"]), int(fields["http"]), int(fields["ms"]), word, message


def call(config, method="GET", path="/x", body=None):
    return parsed(tool(config, "call", method, path, *([body] if body else []))[0])


def test_a_request_carries_token_and_body_and_brings_the_answer(api):
    api.script(lambda h, body: h.say(200, {"got": body.decode()}, X="y"))
    reason, http_status, _, _, text = call(api.config(), "PATCH", "/apis/apps/v1?fieldManager=x", '{"a":1}')
    assert (reason, http_status) == (OK, 200)
    assert json.loads(text) == {"got": '{"a":1}'}
    method, path, headers, _, _, _ = api.seen[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1?fieldManager=x")
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Content-Type"] == "application/apply-patch+yaml"


def test_a_client_certificate_is_shown_to_the_server(api, folder):
    def who(h, body):
        h.say(200, {"subject": h.connection.getpeercert().get("subject")})
    api.script(who)
    user = {"client-certificate": "client.crt", "client-key": "client.key"}
    reason, _, _, _, text = call(api.config(user=user))
    assert reason == OK
    assert "client" in text
    assert "Authorization" not in api.seen[0][2]


def test_an_unknown_authority_or_another_name_is_refused(api, folder):
    api.script(lambda h, body: h.say(200, {}))
    assert call(api.config(ca="other.crt"))[0] == UNREACHABLE
    assert api.seen == []
    named = Api(folder, cert="named")
    try:
        named.script(lambda h, body: h.say(200, {}))
        assert call(named.config())[0] == UNREACHABLE
        assert named.seen == []
        assert call(named.config(**{"tls-server-name": "kubernetes"}))[0] == OK
    finally:
        named.close()


def test_what_the_file_must_not_hold_is_refused_in_words(api):
    assert "exec credentials are refused" in tool(api.config(user={"exec": {"command": "sh"}}), "call", "GET", "/")[0]
    assert "insecure-skip-tls-verify is refused" in tool(api.config(**{"insecure-skip-tls-verify": True}), "call", "GET", "/")[0]


def test_connections_are_used_again(api):
    api.script(lambda h, body: h.say(200, {}))
    lines = tool(api.config(), "loop", stdin="GET /x\n" * 20)
    assert len(lines) == 20
    assert len({port for *_, port, _ in api.seen}) == 1


def test_errors_tell_reason_and_message(api):
    api.script(lambda h, body: h.say(409, status(409, "AlreadyExists", 'deployments.apps "a" already exists')))
    reason, code, _, word, message = call(api.config(), "POST", "/x", "{}")
    assert (reason, code, word, message) == (EXISTS, 409, "AlreadyExists", 'deployments.apps "a" already exists')
    api.script(lambda h, body: h.say(500, b"<html>\xff broken"))
    reason, code, _, _, message = call(api.config())
    assert (reason, code) == (SERVER, 500)
    assert "broken" in message


def test_a_throttled_request_waits_as_told_and_goes_through(api):
    def script(h, body):
        if len(api.seen) == 1:
            h.say(429, status(429, "TooManyRequests", "slow down"), Retry_After="1")
        else:
            h.say(200, {})
    api.script(script)
    reason, _, ms, _, _ = call(api.config())
    assert reason == OK
    assert ms >= 1000
    assert len(api.seen) == 2


def test_throttling_beyond_the_deadline_is_told_as_such(api):
    api.script(lambda h, body: h.say(429, status(429, "TooManyRequests", "slow down"), Retry_After="30"))
    reason, _, ms, word, _ = call(api.config())
    assert (reason, word) == (THROTTLED, "TooManyRequests")
    assert ms < 3500
    assert len(api.seen) == 1


def test_a_request_ends_at_its_deadline(api):
    ended = threading.Event()
    api.script(lambda h, body: ended.wait(20))
    reason, _, ms, _, _ = call(api.config())
    ended.set()
    assert reason == TIMEOUT
    assert 2500 <= ms < 5000


def test_a_trickle_ends_at_its_deadline_too(api):
    def drip(h, body):
        h.stream()
        for _ in range(100):
            h.chunk(b" ")
            time.sleep(0.1)  # act: a server that drips
    api.script(drip)
    reason, _, ms, _, _ = call(api.config())
    assert reason == TIMEOUT
    assert ms < 5000


def test_an_oversized_answer_is_refused(api):
    api.script(lambda h, body: h.say(200, b"x" * 200000))
    assert call(api.config())[0] == TOO_LARGE


def test_nobody_there_is_unreachable(api, folder):
    gone = Api(folder)
    config = gone.config()
    gone.close()
    assert call(config)[0] == UNREACHABLE


def test_an_expired_token_is_read_anew_at_once(api, folder):
    path = os.path.join(folder, "token")
    with open(path, "w", encoding="utf-8") as f:
        f.write("old\n")

    def script(h, body):
        if h.headers["Authorization"] == "Bearer old":
            with open(path, "w", encoding="utf-8") as f:
                f.write("new\n")
            h.say(401, status(401, "Unauthorized", "Unauthorized"))
        else:
            h.say(200, {})
    api.script(script)
    assert call(api.config(user={"tokenFile": path}))[0] == OK
    assert [s[2]["Authorization"] for s in api.seen] == ["Bearer old", "Bearer new"]


def test_a_token_that_stays_bad_is_told_after_one_repetition(api, folder):
    path = os.path.join(folder, "token")
    with open(path, "w", encoding="utf-8") as f:
        f.write("bad")
    api.script(lambda h, body: h.say(401, status(401, "Unauthorized", "Unauthorized")))
    assert call(api.config(user={"tokenFile": path}))[0] == UNAUTHORIZED
    assert len(api.seen) == 2


def item(name, rv="5"):
    return {"metadata": {"name": name, "resourceVersion": rv}}


def test_a_list_is_read_page_by_page(api):
    def script(h, body):
        page = 0 if "continue=" not in h.path else int(h.path.split("continue=page%2F")[1])
        more = {"continue": f"page/{page + 1}"} if page < 3 else {}
        h.say(200, {"metadata": {"resourceVersion": "77", **more}, "items": [item(f"i{page}{k}") for k in range(3)]})
    api.script(script)
    lines = tool(api.config(), "list", "/pods")
    assert [line for line in lines if line.startswith("item")] == [f"item i{p}{k}" for p in range(4) for k in range(3)]
    assert lines[-1].startswith("ended reason=0 rv=77")


def test_a_list_that_expires_between_pages_begins_anew(api):
    def script(h, body):
        if "continue=" in h.path and len(api.seen) == 2:
            h.say(410, status(410, "Expired", "the continue parameter is too old"))
        elif "continue=" in h.path:
            h.say(200, {"metadata": {"resourceVersion": "80"}, "items": [item("b")]})
        else:
            h.say(200, {"metadata": {"resourceVersion": "80", "continue": "x"}, "items": [item("a")]})
    api.script(script)
    lines = tool(api.config(), "list", "/pods")
    assert lines[:-1] == ["begin", "item a", "begin", "item a", "item b"]
    assert lines[-1].startswith("ended reason=0 rv=80")


def test_a_list_that_is_none_is_garbage(api):
    for answer in (b"", b"[]", b'{"metadata":{}}', b'{"metadata":{"resourceVersion":"1"},"items":{}}', b"{\xff"):
        api.script(lambda h, body, a=answer: h.say(200, a))
        assert f"reason={GARBAGE}" in tool(api.config(), "list", "/pods")[-1], answer


def event(kind, obj):
    return {"type": kind, "object": obj}


def test_a_watch_follows_events_and_bookmarks(api):
    def script(h, body):
        h.stream()
        h.chunk(event("ADDED", item("a", "10")))
        data = json.dumps(event("MODIFIED", item("b", "11"))).encode() + b"\n" + json.dumps(event("DELETED", item("c", "12"))).encode()
        h.chunk(data[:20])  # objects come in any cut
        time.sleep(0.1)  # act: both pieces go out alone
        h.chunk(data[20:] + b"\n")
        h.chunk(event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "20"}}))
        h.chunk(b"")
    api.script(script)
    lines = tool(api.config(), "watch", "/pods?labelSelector=a", "9")
    assert lines[:-1] == ["event 0 a", "event 1 b", "event 2 c", "event 3 "]
    assert lines[-1].startswith("ended reason=0 rv=20")
    path = api.seen[0][1]
    assert path.startswith("/pods?labelSelector=a&watch=1&allowWatchBookmarks=true&timeoutSeconds=")
    assert path.endswith("&resourceVersion=9")


def test_a_watch_that_is_too_old_says_so(api):
    def in_stream(h, body):
        h.stream()
        h.chunk(event("ERROR", status(410, "Expired", "too old resource version")))
        h.chunk(b"")
    api.script(in_stream)
    assert f"reason={GONE} rv=9" in tool(api.config(), "watch", "/pods", "9")[-1]
    api.script(lambda h, body: h.say(410, status(410, "Expired", "too old")))
    assert f"reason={GONE} rv=9" in tool(api.config(), "watch", "/pods", "9")[-1]


def test_a_dropped_watch_keeps_its_position(api):
    def script(h, body):
        h.stream()
        h.chunk(event("ADDED", item("a", "10")))
        h.wfile.write(b"50\r\n{\"type\":")
        h.wfile.flush()
        h.close_connection = True
        h.connection.close()
    api.script(script)
    lines = tool(api.config(), "watch", "/pods", "9")
    assert lines[0] == "event 0 a"
    assert f"reason={UNREACHABLE} rv=10" in lines[-1]


def test_a_silent_watch_is_given_up(api):
    ended = threading.Event()

    def script(h, body):
        h.stream()
        h.chunk(event("ADDED", item("a", "10")))
        ended.wait(20)
    api.script(script)
    began = time.monotonic()
    lines = tool(api.config(), "watch", "/pods", "9", idle_ms=1500)
    ended.set()
    assert f"reason={TIMEOUT} rv=10" in lines[-1]
    assert 1.4 < time.monotonic() - began < 6


def test_an_endless_line_ends_the_watch(api):
    def script(h, body):
        h.stream()
        for _ in range(200):
            h.chunk(b"x" * 65536)
    api.script(script)
    assert f"reason={TOO_LARGE} rv=9" in tool(api.config(), "watch", "/pods", "9")[-1]


def test_nonsense_in_a_watch_ends_it(api):
    for line in (b"nonsense\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":{}}\n', b'{"type":"ODD","object":{"metadata":{}}}\n'):
        def script(h, body, data=line):
            h.stream()
            h.chunk(data)
            h.chunk(b"")
        api.script(script)
        assert f"reason={GARBAGE} rv=9" in tool(api.config(), "watch", "/pods", "9")[-1], line


def test_a_watch_follows_a_list_of_the_same_client(api):
    """The watch must inherit nothing of the request before it: headers once went to that one's callback, long gone."""
    def script(h, body):
        del body
        if "watch=1" in h.path:
            h.stream()
            for i in range(3):
                h.chunk({"type": "ADDED", "object": {"metadata": {"name": f"p{i}", "resourceVersion": str(10 + i)}}})
            return h.chunk(b"")
        return h.say(200, {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "a", "resourceVersion": "8"}}]})
    api.script(script)
    out = tool(api.config(), "follow", "/api/v1/pods")
    assert out == ["begin", "item a", f"ended reason={OK} rv=9 ", "event 0 p0", "event 0 p1", "event 0 p2", f"ended reason={OK} rv=12 "]
    listed, watched = [seen[4] for seen in api.seen]
    assert listed != watched  # a stream's connection is its own


def test_reads_are_not_starved_by_writes(api):
    api.script(lambda h, body: h.say(200, {}))
    reason, http, ms, _, _ = parsed(tool(api.config(), "busy", "4000", "/read")[0])
    assert (reason, http) == (OK, 200)
    assert ms < 3000
    assert len([s for s in api.seen if s[0] == "POST"]) > 150  # the writers were at the limit meanwhile
