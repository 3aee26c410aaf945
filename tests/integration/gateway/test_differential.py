"""The gateway against a plain reverse proxy: the same generated requests through both to the same engine agree, but for what
docs/gateway.md says.

    ECOLINK_TEST_SEED=<n>      the same requests again (printed by every run)
    ECOLINK_TEST_FROM=<i>      from the i-th on
"""
import concurrent.futures
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys

import pytest
import tier
from differential import changes
from differential.traffic import Answer, Request
from gwtest import KEY, Conn, free_port, route
from polling import poll

REQUESTS = tier.scaled(test=3000, ci=100_000)
SEED = int(os.environ.get("ECOLINK_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
THREADS = 8  # they wait more than they compute
FROM = int(os.environ.get("ECOLINK_TEST_FROM", 0))
ECHO = pathlib.Path(__file__).parent / "differential/echo.py"
PATHS = {"custom": "/inference-instances/145/proxy", "openai-proxy": "/inference-instances/142/proxy"}
HAPROXY = """
global
  nbthread 1
  tune.bufsize 65536
  tune.http.maxhdr 200
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option http-no-delay
listen plain
  bind 127.0.0.1:{port}
  server engine 127.0.0.1:{engine}
"""


def listens(port):
    socket.create_connection(("127.0.0.1", port), timeout=1).close()
    return True


class Way:
    """A way to the engine: a keep-alive connection to one of the proxies."""

    def __init__(self, port, engine_port):
        self.port, self.engine_port, self.conn = port, engine_port, None

    def send(self, request):
        if self.conn is None:
            self.conn = Conn(socket.create_connection(("127.0.0.1", self.port), timeout=20))
        for piece in request.raw():
            self.conn.send(piece)

    def receive(self, request):
        """(status line, [(name, value)], body)"""
        while True:
            line, fields, _ = self.conn.head()
            code = int(line.split()[1])
            if code >= 200:
                break
        found = dict(fields)
        if request.method == "HEAD" or code in (204, 304):
            body = b""
        elif found.get("transfer-encoding") == "chunked":
            body = self.chunks()
        else:
            body = self.conn.exactly(int(found["content-length"])) if "content-length" in found else self.conn.rest()
        if request.minor == 0 or "close" in found.get("connection", "").lower() or not found.keys() & {"content-length", "transfer-encoding"} and body:
            self.conn.close()
            self.conn = None
        return line, fields, body

    def chunks(self):
        out = []
        while size := int(self.conn.until(b"\r\n").split(b";")[0], 16):
            out.append(self.conn.exactly(size))
            self.conn.exactly(2)
        while self.conn.until(b"\r\n") != b"\r\n":
            pass
        return b"".join(out)

    def told(self, body, request, answer):
        """What the engine was sent, (line, fields, body), and what else its answer held."""
        if request.method == "HEAD" or answer.bodiless:
            with socket.create_connection(("127.0.0.1", self.engine_port), timeout=20) as s:
                s.sendall(f"GET /told HTTP/1.1\r\nx-answer: {request.seed}\r\n\r\n".encode())
                body = Conn(s).message(False).body
        numbers, _, rest = body.partition(b"\n")
        head, length = map(int, numbers.split())
        lines = rest[:head].decode("latin-1").split("\r\n")[:-2]
        fields = [(n.lower(), v.strip(" \t")) for n, _, v in (x.partition(":") for x in lines[1:])]
        return (lines[0], fields, rest[head:head + length]), b"" if request.method == "HEAD" or answer.bodiless else rest[head + length:]


@pytest.fixture
def ways(make, tmp_path):
    """A function that makes two ways to the engine: (through the gateway, through HAProxy)."""
    engines, port = [free_port(), free_port()], free_port()
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed")
    config = tmp_path / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, engine=engines[1]))
    started = [subprocess.Popen([sys.executable, str(ECHO), *map(str, engines)]), subprocess.Popen(["haproxy", "-db", "-f", str(config)])]
    try:
        for p in (*engines, port):
            assert poll(lambda p=p: listens(p), 20, 0.05, (OSError,))[0], p
        at = type("At", (), {"port": engines[0]})
        g = make([route(142, [at]), route(145, [at], openai_compatible=False, custom_api_path=changes.CUSTOM_API_PATH)])
        yield lambda: (Way(g.port, engines[0]), Way(port, engines[1]))
    finally:
        for process in started:
            process.terminate()
            process.wait(10)


def without(fields, names):
    return [(n, v) for n, v in fields if n not in names]


def compare_request(request, ours, plain, request_id, engine):
    line, fields, body = ours
    assert line == f"{request.method} {changes.target(request)} HTTP/1.1"
    assert plain[0].split()[:2] == [request.method, request.path + request.query] and plain[2] == request.body
    added = changes.added_to_request(request_id, engine)
    assert {n: [v for m, v in fields if m == n] for n in added} == {n: [v] for n, v in added.items()}
    framing = {"content-length", "transfer-encoding"}
    assert without(fields, set(added) | framing) == changes.headers("request", request.v1, request.fields, plain[1])
    assert body == request.rewritten
    framed = [n for n, _ in fields if n in framing]
    if not request.with_body:
        assert framed == []
    elif request.chunked and (not request.v1 or len(body) > 65_000):  # whether it was whole before it was sent is a matter of time
        assert framed in (["content-length"], ["transfer-encoding"])
    else:
        assert framed == ["content-length"]


def compare_answer(request, answer, ours, plain):
    line, fields, _ = ours
    assert line == f"HTTP/1.1 {answer.status} {changes.REASONS[answer.status]}"
    added = changes.added_to_answer(request.v1)
    assert all(len([1 for m, _ in fields if m == n]) == 1 for n in added), added
    framing = {"content-length", "transfer-encoding", "connection"}
    assert without(fields, added | framing) == changes.headers("answer", request.v1, answer.fields, plain[1])
    assert len([1 for n, _ in fields if n in ("content-length", "transfer-encoding")]) <= 1


def compare(request, by_us, plainly):
    """Raises AssertionError where the two ways differ in more than is documented."""
    answer = Answer(request.seed)
    for way in (by_us, plainly):
        way.send(request)
    ours, plain = by_us.receive(request), plainly.receive(request)
    assert (int(ours[0].split()[1]), int(plain[0].split()[1])) == (answer.status, answer.status), (ours, plain)
    got, filler = by_us.told(ours[2], request, answer)
    passed, plain_filler = plainly.told(plain[2], request, answer)
    assert filler == plain_filler == (b"" if request.method == "HEAD" or answer.bodiless else answer.filler)
    request_id = dict(ours[1])["x-ecolink-request-id"]
    compare_request(request, got, passed, request_id, f"127.0.0.1:{by_us.engine_port}")
    compare_answer(request, answer, ours, plain)


def run(pair, indexes, failed):
    """How many of these requests agreed, until one did not, here or on another thread."""
    done = 0
    for i in indexes:
        if failed:
            break
        request = Request(f"{SEED}:{i}", KEY, PATHS)
        try:
            compare(request, *pair)
        except (AssertionError, EOFError, OSError, KeyError, ValueError) as e:
            failed.append(f"ECOLINK_TEST_SEED={SEED} ECOLINK_TEST_FROM={i}: {b'|'.join(request.raw())[:2000]!r}\n"
                          f"answer: {Answer(request.seed).raw(b'', False)[:1000]!r}\n{type(e).__name__}: {str(e)[:3000]}")
        done += 1
    return done


def test_generated_requests_agree_with_a_plain_proxy_but_for_what_is_documented(ways):
    print(f"seed: ECOLINK_TEST_SEED={SEED}")
    failed = []
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        done = sum(pool.map(lambda n: run(ways(), range(FROM + n, FROM + REQUESTS, THREADS), failed), range(THREADS)))
    assert not failed, failed[0]
    tier.counted("generated requests through the gateway and a plain proxy", done, least=REQUESTS)
