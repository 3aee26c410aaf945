"""What the gateway asks of memory: nothing per request once it runs, and never more than its budgets. On the binary without
sanitizers, since those switch pooling off and keep what was freed."""
import json
import mmap
import pathlib
import resource
import struct
import threading

import pytest
import tier
from gwtest import BUILD, KEY, PLAIN, ROLE, SSE_HEAD, Engine, answer, chunk, code, delta, event, route, status
from polling import poll

WARM, COUNTED, SIDE_BY_SIDE = 1000, tier.scaled(test=3000, ci=10_000), 4
MIB = 1 << 20


class Allocations:
    """Counts by thread: tests/integration/gateway/plain/count_allocations.c."""

    def __init__(self, folder):
        self.path = folder / "allocations"
        self.path.write_bytes(bytes(256 * 16))
        self.environment = {"LD_PRELOAD": str(BUILD / "tests/libcount_allocations.so"), "ECOLINK_COUNT_ALLOCATIONS": str(self.path)}

    def of_loops(self, g):
        tasks = pathlib.Path(f"/proc/{g.process.pid}/task")
        loops = {int(t.name) for t in tasks.iterdir() if (t / "comm").read_text().startswith("gw-loop-")}
        assert loops
        with open(self.path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
            found = {thread: calls for thread, calls in struct.iter_unpack("=QQ", m[:]) if thread in loops}
        assert found.keys() == loops  # a loop allocates at its start at least: the counter counts
        return sum(found.values())


def memory(g, what):
    """VmRSS or VmHWM, in bytes."""
    for line in pathlib.Path(f"/proc/{g.process.pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(what)


@pytest.fixture
def plain(make):
    return lambda routes, **more: make(routes, binary=PLAIN, **more)


FORM = (b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"audio" * 500 +
        b'\r\n--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nmy-llama:142\r\n--XX--\r\n')
JSON = json.dumps({"messages": [{"role": "user", "content": "x" * 1300}], "model": "my-llama:142"}).encode()
LONG = b'{"x":"' + b"y" * 150_000 + b'","model":"my-llama:142"}'
CALLS = {
    "a JSON call": {"body": JSON},
    "a stream": {"body": JSON, "headers": ["X-Stream: 1"]},
    "a long body": {"body": LONG},
    "a form": {"path": "/v1/audio/transcriptions", "body": FORM, "headers": ["Content-Type: multipart/form-data; boundary=XX"]},
    "a custom call": {"method": "PUT", "path": "/inference-instances/142/proxy/x", "body": b"z" * 2000},
    "an unknown model": {"body": b'{"model":"nope"}'},
    "a wrong key": {"body": JSON, "key": "eco_short"},
    "no model at all": {"body": b"{}"},
    "the list of models": {"method": "GET", "path": "/v1/models"},
}


def script(c, r):
    if r.get("x-stream"):
        c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("a")) + chunk(event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})) + b"0\r\n\r\n")
    else:
        c.send(answer())


@pytest.mark.parametrize("what", CALLS)
def test_no_request_allocates_once_the_gateway_runs(plain, tmp_path, what):
    counter = Allocations(tmp_path)
    together = threading.Barrier(SIDE_BY_SIDE)
    engine = Engine(lambda c, r: (together.wait(10), script(c, r)))
    g = plain([route(142, [engine])], environment=counter.environment)
    share = len(CALLS)

    def ask(n, out):
        conn = g.connect()
        out += [status(g.call(conn=conn, **CALLS[what])) for _ in range(n)]

    # more at once than are counted afterwards: how many blocks one needs depends on how its bytes come in
    seen = []
    clients = [threading.Thread(target=ask, args=(WARM // share // SIDE_BY_SIDE, seen)) for _ in range(SIDE_BY_SIDE)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    engine.script = script
    before = counter.of_loops(g)
    ask(COUNTED // share, seen)
    assert counter.of_loops(g) == before, f"{counter.of_loops(g) - before} allocations in {COUNTED // share} times {what}"
    assert len(set(seen)) == 1
    tier.counted(f"times {what} without an allocation", COUNTED // share, least=COUNTED // share)


def test_new_connections_allocate_nothing_either(plain, tmp_path):
    counter = Allocations(tmp_path)
    g = plain([route(142, [Engine(script)])], environment=counter.environment)
    for _ in range(50):
        assert status(g.call(body=JSON)) == 200
    assert poll(lambda: g.metric("ecolink_gateway_client_connections") == 0, 5, 0.02)[0]
    before = counter.of_loops(g)
    for _ in range(200):
        assert status(g.call(body=JSON)) == 200
    assert counter.of_loops(g) == before


UPLOADS, UPLOAD, ROUNDS_MOST = 64, 8_000_000, 6
PADDING = b"y" * 100_000


def upload(g, model_first, out):
    """One upload in pieces of 100 KB; what came back, or why nothing did."""
    model = b'"model":"my-llama:142"'
    begin, end = (b"{" + model + b',"x":"', b'"}') if model_first else (b'{"x":"', b'",' + model + b"}")
    length = len(begin) + UPLOAD + len(end)
    conn = g.connect(timeout=60)
    try:
        conn.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {length}\r\n\r\n".encode() + begin)
        for _ in range(UPLOAD // len(PADDING)):
            conn.send(PADDING)
            yield
        conn.send(end)
    except OSError:
        pass  # refused on the way: the answer is there
    yield
    response = conn.message(False)
    out.append((status(response), response))
    conn.close()


def upload_all(g, model_first):
    """All of them side by side, each a piece further in turn. Returns [(status, response)]."""
    out = []
    going = [upload(g, model_first, out) for _ in range(UPLOADS)]
    while going:
        going = [u for u in going if next(u, StopIteration) is not StopIteration]
    return out


@pytest.mark.parametrize("model_first", [True, False])
def test_64_uploads_of_8_mb_at_once_stay_within_the_budget(plain, model_first):
    seen = []

    def engine(c, r):
        seen.append(len(r.body))
        c.send(answer())

    g = plain([route(142, [Engine(engine)])])
    start, peaks = memory(g, "VmRSS"), []
    budget = 256 * MIB if not model_first else UPLOADS * 2 * MIB  # held whole; else as much as may be sent again, and what goes out
    for _ in range(ROUNDS_MOST):
        answers = upload_all(g, model_first)
        fine = [r for s, r in answers if s == 200]
        refused = [r for s, r in answers if s == 503]
        assert len(fine) + len(refused) == len(answers) == UPLOADS
        assert all(code(r) == "overloaded" and r.get("retry-after") for r in refused)
        assert len(fine) == UPLOADS if model_first else len(fine) >= 256 * MIB // UPLOAD - 2
        peaks.append(memory(g, "VmHWM"))
        assert peaks[-1] - start <= budget + 24 * MIB, (start, peaks)  # blocks of 16 KB, the free ones that are kept, connections
        assert poll(lambda: g.metric("ecolink_gateway_held_bytes") == 0 == g.metric("ecolink_gateway_pool_blocks_used"), 10, 0.05)[0]
        assert g.metric("ecolink_gateway_pool_blocks_free") <= 2048
        if len(peaks) > 1 and peaks[-1] - peaks[-2] <= MIB:
            break
    # how many of them overlap differs, so that an early round may need less; what is kept of 64 uploads would grow with every one
    assert len(peaks) > 1 and peaks[-1] - peaks[-2] <= MIB, peaks
    assert set(seen) == {UPLOAD + len(b'{"model":"my-llama","x":""}')}


# as many that pages of 2 MB, which come whole, weigh less than what is measured
IDLE, STREAMS = 6000, 1000


def test_idle_connections_and_open_streams_cost_little(plain):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gate = threading.Event()
    g = plain([route(142, [Engine(lambda c, r: (c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("x"))), gate.wait(60)))])])
    for _ in range(20):
        g.chat("nope")
    start = memory(g, "VmRSS")
    idle = [g.connect() for _ in range(IDLE)]
    assert poll(lambda: g.metric("ecolink_gateway_client_connections") == IDLE, 20, 0.05)[0]
    each_idle = (memory(g, "VmRSS") - start) / IDLE
    start = memory(g, "VmRSS")
    body = b'{"model":"my-llama:142"}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for c in idle[:STREAMS]:  # one after the other: what opening one takes for a moment serves the next
        c.send(head + body)
        c.until(b"delta")
    assert g.metric("ecolink_gateway_open_streams") == STREAMS
    each_stream = (memory(g, "VmRSS") - start) / STREAMS
    print(f"{each_idle:.0f} bytes an idle connection, {each_stream:.0f} an open stream")
    gate.set()
    assert each_idle <= 1024 and each_stream <= 16384
