"""/metrics tells what happened, exactly; docs/metrics.md lists what it tells."""
import re
import time

import pytest
from gwtest import KEY, ROLE, ROOT, SSE_HEAD, UNKNOWN_KEY, Dead, Engine, answer, chunk, delta, event, route, status
from polling import poll

PREFIX = "ecolink_gateway_"


class Seen:
    """One answer of /metrics; `since` what changed after an earlier one."""

    def __init__(self, g):
        self.text = g.metrics()
        self.values = {}
        for line in self.text.splitlines():
            if line.startswith(PREFIX):
                name, _, value = line.rpartition(" ")
                self.values[name.removeprefix(PREFIX)] = float(value)

    def __getitem__(self, name):
        return self.values.get(name, 0)

    def since(self, before):
        return {k: v - before[k] for k, v in self.values.items() if v != before[k]}


def settled(g, name, want):
    came, seen = poll(lambda: (s := Seen(g))[name] == want and s, 5, 0.02)
    assert came, f"{name} is not {want}: {Seen(g)[name]}"
    return seen


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def g(make, engine):
    return make([route(142, [engine])])


def changes(changed, *beginnings):
    return {k: v for k, v in changed.items() if k.startswith(beginnings)}


def test_answers_are_counted_by_status_and_errors_by_code(g):
    before = Seen(g)
    for _ in range(7):
        assert status(g.chat()) == 200
    assert status(g.chat(model="my-llama:999")) == 404
    assert status(g.call(body={"model": "my-llama:142"}, key=UNKNOWN_KEY)) == 401
    assert [status(g.call(body=b)) for b in (b"{}", b"[]", b"{")] == [422, 422, 400]
    assert status(g.call("PUT", "/v1/chat/completions", body={"model": "x"})) == 405
    got = settled(g, "requests_in_flight", 0).since(before)
    assert changes(got, "requests_total", "errors_total") == {
        'requests_total{status="200"}': 7, 'requests_total{status="400"}': 1, 'requests_total{status="401"}': 1, 'requests_total{status="404"}': 1,
        'requests_total{status="405"}': 1, 'requests_total{status="422"}': 2,
        'errors_total{code="invalid_json"}': 1, 'errors_total{code="unauthorized"}': 1, 'errors_total{code="model_not_found"}': 1,
        'errors_total{code="method_not_allowed"}': 1, 'errors_total{code="invalid_request"}': 2}
    assert got["request_seconds_count"] == 13 and got["first_byte_seconds_count"] == 7


def test_a_flood_of_refusals_is_counted_whole_and_logged_in_part(make, engine):
    refused, lines = 300, 3
    g = make([route(142, [engine])], LOOPS=2, REFUSAL_LINES=lines)
    began = time.monotonic()
    for _ in range(refused // 3):
        conn = g.connect()
        assert [status(g.call(body={"model": "x"}, key=UNKNOWN_KEY, conn=conn)) for _ in range(3)] == [401] * 3
        conn.close()
    seconds = time.monotonic() - began
    assert status(g.chat(model="my-llama:999")) == 404
    seen = settled(g, "requests_in_flight", 0)
    assert seen['errors_total{code="unauthorized"}'] == seen['requests_total{status="401"}'] == refused
    assert g.stop() == 0
    one_each = len(re.findall(r"request refused.* code=unauthorized", g.log()))
    together = re.findall(r"more requests refused code=unauthorized count=(\d+)", g.log())
    assert one_each + sum(map(int, together)) == refused
    assert lines <= one_each <= 2 * lines * (seconds + 2) and together
    assert len(re.findall(r"request refused.* code=model_not_found", g.log())) == 1


def test_tokens_and_times_of_a_stream_are_told(g, engine):
    usage = event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5}})

    def script(c, r):
        c.send(SSE_HEAD + chunk(ROLE))
        time.sleep(0.12)  # act: an engine that takes its time to the first token
        for i in range(5):
            c.send(chunk(delta(str(i))))
            time.sleep(0.03)  # act: and between two
        c.send(chunk(usage + event(b"[DONE]")) + b"0\r\n\r\n")

    engine.script = script
    before = Seen(g)
    assert status(g.chat(stream=True)) == 200
    got = settled(g, "open_streams", 0).since(before)
    assert (got["prompt_tokens_total"], got["completion_tokens_total"]) == (11, 5)
    assert got["first_content_seconds_count"] == 1 and 0.12 <= got["first_content_seconds_sum"] < 1
    assert got["first_byte_seconds_count"] == 1 and got["first_byte_seconds_sum"] < got["first_content_seconds_sum"]
    # the role chunk, five deltas, and usage with [DONE]: six gaps
    assert got["event_gap_seconds_count"] == 6 and got["event_gap_seconds_sum"] >= 0.12 + 5 * 0.03 - 0.01
    assert got['event_gap_seconds_bucket{le="0.05"}'] - got.get('event_gap_seconds_bucket{le="0.02"}', 0) >= 3  # most of them 30 ms
    assert got['event_gap_seconds_bucket{le="+Inf"}'] == 6


def test_open_streams_and_requests_in_flight_are_gauges(g, engine):
    gate = []
    engine.script = lambda c, r: (c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("x"))), gate.append(c))
    clients = []
    for n in range(1, 4):
        c = g.connect()
        body = b'{"model":"my-llama:142"}'
        c.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        c.until(b"delta")
        clients.append(c)
        seen = settled(g, "open_streams", n)
        assert seen["requests_in_flight"] == n and seen["client_connections"] == n
    gate[0].send(b"0\r\n\r\n")
    settled(g, "open_streams", 2)
    for c in clients[1:]:
        c.close()
    clients[0].close()
    seen = settled(g, "open_streams", 0)
    assert seen["requests_in_flight"] == 0
    settled(g, "client_connections", 0)
    assert Seen(g)['requests_total{status="499"}'] == 0  # their answers had begun: they count with their status
    assert Seen(g)['requests_total{status="200"}'] == 3


def test_connections_to_replicas_are_told_opened_reused_and_idle(g, engine):
    for _ in range(10):
        assert status(g.chat()) == 200
    seen = settled(g, "upstream_connections_idle", 1)
    assert (seen["upstream_connects_total"], seen["upstream_reuses_total"]) == (1, 9)
    assert engine.connections == 1


def test_failures_retries_and_ejections_are_told(make):
    good = Engine()
    g = make([route(142, [Dead(), good]), route(143, [Dead(), Dead()])])
    for _ in range(40):
        assert status(g.chat()) == 200
    seen = Seen(g)
    assert seen['upstream_failures_total{kind="connect"}'] == seen["retries_total"] >= 1 and seen["ejections_total"] == 0
    assert [status(g.chat(model="my-llama:143")) for _ in range(3)] == [502] * 3
    got = Seen(g).since(seen)
    assert got['upstream_failures_total{kind="connect"}'] == 6 and got["retries_total"] == 3 and got["ejections_total"] == 2
    assert got['errors_total{code="upstream_error"}'] == got['requests_total{status="502"}'] == 3


def test_what_is_held_in_memory_is_told(g):
    c = g.connect()
    c.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 500000\r\n\r\n".encode() + b'{"a":"')
    c.send(b"x" * 399_994)
    seen = settled(g, "held_bytes", 400_000)
    assert seen["pool_blocks_used"] >= 400_000 // 16384
    c.close()
    seen = settled(g, "held_bytes", 0)
    settled(g, "pool_blocks_used", 0)


def test_usage_that_the_bus_did_not_take_and_the_age_of_the_snapshot_are_told(g):
    first = settled(g, "snapshot_routes", 1)  # no bus is there
    assert first["snapshot_keys"] >= 5
    for _ in range(3):
        g.chat()
    came, seen = poll(lambda: (s := Seen(g))["spool_bytes"] > 0 and s["snapshot_age_ms"] > first["snapshot_age_ms"] and s, 5, 0.05)
    assert came and seen["usage_dropped_total"] == 0


def families(text):
    return {m[1]: m[2] for m in re.finditer(r"^# TYPE (ecolink_gateway_\S+) (\w+)$", text, re.M)}


def test_the_documentation_lists_every_metric_and_no_other(g):
    g.chat()
    g.chat(model="nope")
    table = dict(re.findall(r"^\| `(ecolink_gateway_\w+)(?:\{[^}]*\})?` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.M))
    assert table == families(g.metrics())
