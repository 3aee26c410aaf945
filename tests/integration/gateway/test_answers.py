"""Streaming, failover, disconnects, slow and broken peers."""
import json
import threading
import time

import pytest
from polling import poll
from gwtest import (KEY, ROLE, SSE_HEAD, Conn, Dead, Engine, answer, chunk, code, delta, event, route, status)

STREAM = {"model": "my-llama:142", "messages": [], "stream": True}


def eventually(check, timeout=5):
    return poll(check, timeout, 0.02)[0]


def open_stream(g, body=None, path="/v1/chat/completions", key=KEY):
    c = g.connect()
    data = json.dumps(body or STREAM).encode()
    c.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    return c


def test_every_event_arrives_whole_in_order_and_at_once(world):
    sent = []

    def script(c, r):
        c.send(SSE_HEAD + chunk(ROLE))
        for i in range(20):
            time.sleep(0.01)  # act: the engine takes its time
            sent.append(time.time())
            c.send(chunk(delta(str(i))))
        c.send(chunk(event(b"[DONE]")) + b"0\r\n\r\n")

    world.a.script = script
    c = open_stream(world.g)
    line, headers, _ = c.head()
    assert " 200 " in line and ("content-type", "text/event-stream") in headers
    got, late, data = [], [], b""
    while len(got) < 20:
        data += c.chunk()
        while b"\n\n" in data:
            one, _, data = data.partition(b"\n\n")
            text = json.loads(one[6:])["choices"][0]["delta"]["content"]
            if text:
                late.append(time.time() - sent[len(got)])
                got.append(text)
    assert got == [str(i) for i in range(20)]
    assert sorted(late)[15] < 0.01, late
    assert c.chunks().endswith(b"data: [DONE]\n\n")


def test_the_role_chunk_is_held_until_the_first_content(world):
    def script(c, r):
        c.send(SSE_HEAD + chunk(ROLE))
        time.sleep(0.3)  # act: the engine takes its time
        c.send(chunk(delta("x")) + b"0\r\n\r\n")

    world.a.script = script
    started = time.time()
    c = open_stream(world.g)
    c.head()
    assert 0.25 < time.time() - started < 0.9
    assert c.chunks() == ROLE + delta("x")


def test_what_is_held_is_released_after_a_second(world):
    def script(c, r):
        c.send(SSE_HEAD + chunk(b": ping\n\n") + chunk(ROLE))
        time.sleep(2)  # act: the engine takes its time
        c.send(chunk(delta("x")) + b"0\r\n\r\n")

    world.a.script = script
    started = time.time()
    c = open_stream(world.g)
    c.head()
    assert c.chunk() == b": ping\n\n" + ROLE and 0.9 < time.time() - started < 1.6
    assert c.chunks() == delta("x")


@pytest.mark.parametrize("pieces", [1, 3, 7, 50])
def test_events_split_anywhere_come_out_the_same(world, pieces):
    whole = ROLE + b": comment\n\n" + delta("a\u00e9") + b"event: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n" + delta("b" * 40000) + event(b"[DONE]")

    def script(c, r):
        c.send(SSE_HEAD)
        step = max(1, len(whole) // pieces // 3)
        for at in range(0, len(whole), step):
            c.send(chunk(whole[at:at + step]))
            time.sleep(0.001)  # act: the engine takes its time
        c.send(b"0\r\n\r\n")

    world.a.script = script
    c = open_stream(world.g)
    c.head()
    assert c.chunks() == whole


def failover_gateway(make, first, second, **settings):
    """Both replicas run `first` for the first request that comes to either, and `second` afterwards."""
    seen = []
    lock = threading.Lock()

    def script(c, r):
        with lock:
            seen.append(r)
            n = len(seen)
        (first if n == 1 else second)(c, r)

    engines = [Engine(script), Engine(script)]
    return make([route(142, engines)], **settings), engines, seen


def ok_stream(c, r):
    c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("second")) + chunk(event(b"[DONE]")) + b"0\r\n\r\n")


def ok(c, r):
    c.send(answer('{"who":"second"}'))


def drop(c, r):
    c.reset()
    raise EOFError


FAULTS = {
    "reset": drop,
    "closed": lambda c, r: (_ for _ in ()).throw(EOFError()),
    "garbage": lambda c, r: (c.send(b"\0\1\2 not http\r\n\r\n"), c.rest()),
    "status 500": lambda c, r: c.send(answer("{}", "500 Oops")),
    "status 503": lambda c, r: c.send(answer("{}", "503 Busy")),
    "half a head": lambda c, r: (c.send(b"HTTP/1.1 200 OK\r\nContent-Ty"), drop(c, r)),
    "head only": lambda c, r: (c.send(SSE_HEAD), drop(c, r)),
    "role chunk only": lambda c, r: (c.send(SSE_HEAD + chunk(ROLE)), time.sleep(0.05), drop(c, r)),  # act: both halves go out alone
    "half an event": lambda c, r: (c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("x")[:-8])), time.sleep(0.05), drop(c, r)),  # act: both halves go out alone
    "bad chunk": lambda c, r: (c.send(SSE_HEAD + b"zz\r\n"), c.rest()),
    "hang": lambda c, r: c.rest(),
    "status 99": lambda c, r: (c.send(b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"), c.rest()),
    "two lengths": lambda c, r: (c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), c.rest()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_before_content_is_retried_in_the_other_region_unseen(make, fault):
    g, engines, seen = failover_gateway(make, FAULTS[fault], ok_stream, FIRST_BYTE_TIMEOUT_MS=400)
    c = open_stream(g)
    line, headers, _ = c.head()
    assert " 200 " in line, line
    assert c.chunks() == ROLE + delta("second") + event(b"[DONE]")
    assert len(seen) == 2 and {len(e.requests) for e in engines} == {1}
    winner = "region-a" if engines[0].requests == [seen[1]] else "region-b"
    assert dict(headers)["x-ecolink-region"] == winner
    assert json.loads(seen[0].body) == json.loads(seen[1].body)


def test_an_unreachable_replica_is_skipped_and_then_left_alone(make):
    good = Engine(ok)
    g = make([route(142, [Dead(), good])])
    for _ in range(30):
        assert status(g.chat()) == 200
    assert len(good.requests) == 30
    assert 1 <= g.metric("ecolink_gateway_upstream_failures_total") <= 3


def test_all_replicas_unreachable_is_502(make):
    g = make([route(142, [Dead(), Dead()])])
    r = g.chat()
    assert (status(r), code(r)) == (502, "upstream_error")


def test_a_server_error_of_every_replica_is_passed_on(make):
    say = lambda c, r: c.send(answer('{"mine":1}', "500 Oops"))  # noqa: E731
    engines = [Engine(say), Engine(say)]
    r = make([route(142, engines)]).chat()
    assert (status(r), r.body) == (500, b'{"mine":1}')
    assert [len(e.requests) for e in engines] == [1, 1]


@pytest.mark.parametrize("fault, want", [("garbage", 502), ("reset", 502), ("half a head", 502), ("hang", 504)])
def test_a_lone_replica_that_fails_is_502_or_504(make, fault, want):
    g = make([route(142, [Engine(FAULTS[fault])])], FIRST_BYTE_TIMEOUT_MS=300)
    r = g.chat()
    assert status(r) == want
    assert code(r) == ("upstream_timeout" if want == 504 else "upstream_error")


def test_a_stream_that_dies_after_content_ends_with_an_error_event(make):
    def script(c, r):
        c.send(SSE_HEAD + chunk(ROLE) + chunk(delta("a")) + chunk(delta("b")[:-9]))
        time.sleep(0.1)  # act: both halves go out alone
        drop(c, r)

    other = Engine(ok_stream)
    g = make([route(142, [Engine(script)])])
    c = open_stream(g)
    c.head()
    data = c.chunks()
    assert data.startswith(ROLE + delta("a") + b"data: ") and data.endswith(b"\n\n")
    last = json.loads(data[len(ROLE + delta("a")) + 6:])
    assert last["error"]["code"] == "upstream_error"
    assert other.requests == []


def dispatched(data):
    """(name, data) of each event, as the specification has a client read them (WHATWG HTML, 9.2.6)."""
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]  # a last line without end counts for nothing
    name, pieces = b"", []
    for line in lines:
        field, _, value = line.partition(b":")
        if not line:
            if pieces:
                yield name, b"\n".join(pieces)
            name, pieces = b"", []
        elif field == b"data":
            pieces.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")


def is_json(data):
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


LONG = b"b" * 40000
BROKEN = {  # long enough that its beginning goes out before its end has come; what comes last is held a while
    "within a string": [b'data: {"choices":[{"delta":{"content":"' + LONG],
    "within an escape": [b'data: {"choices":[{"delta":{"content":"' + LONG + b"\\"],
    "behind a whole line": [b'data: {"x":"' + LONG + b'"}\n'],
    "behind a line that ends with CR": [b'data: {"x":"' + LONG + b'"}\r'],
    "behind CR LF": [b'data: {"x":"' + LONG + b'"}\r\n'],
    "within CR LF of two reads": [b'data: {"x":"' + LONG + b'"}\r', b"\n"],
    "with its last line held": [b'data: {"x":"' + LONG, b'"}\n'],
    "within a field's name": [b'data: {"x":"' + LONG + b'"}\nda'],
    "with a name of its own": [b"event: delta\ndata: " + LONG + b"\n"],
    "within its name": [b"data: " + LONG + b"\nevent: del"],
    "of several lines": [b'data: {"x":\ndata: "' + LONG + b'"\ndata: }'],
    "of text": [b"data: [DONE] or " + LONG],
    "within a comment": [b": " + LONG],
    "within a character": [b'data: {"x":"' + LONG + "\u00e9".encode()[:1]],
}


def break_off(what):
    def script(c, r):
        c.send(SSE_HEAD + chunk(delta("a")))
        for piece in BROKEN[what]:
            c.send(chunk(piece))
            time.sleep(0.05)  # act: what is too long to hold goes out alone
        drop(c, r)
    return script


@pytest.mark.parametrize("what", BROKEN)
def test_an_event_too_long_to_hold_that_breaks_off_is_not_taken_for_a_whole_one(world, what):
    world.a.script = break_off(what)
    c = open_stream(world.g)
    c.head()
    data = c.chunks()
    assert data.startswith(delta("a") + b"".join(BROKEN[what]))
    whole, broken, last = dispatched(data)
    assert json.loads(whole[1])["choices"][0]["delta"]["content"] == "a"
    assert broken[0] == b"error" and not is_json(broken[1])
    assert last[0] == b"" and json.loads(last[1])["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("what", sorted(BROKEN.keys() - {"of text"}))  # which the SDK takes for the end: it looks for "[DONE]" in front alone
def test_openai_sdk_fails_at_a_long_event_that_breaks_off(world, what):
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    world.a.script = break_off(what)
    api = openai.OpenAI(base_url=f"http://127.0.0.1:{world.g.port}/v1", api_key=KEY, max_retries=0, timeout=20)
    stream = api.chat.completions.create(model="my-llama:142", messages=[{"role": "user", "content": "hi"}], stream=True)
    taken = []
    with pytest.raises((openai.APIError, ValueError)):  # the error event's, or that of the broken one, which is no JSON
        taken.extend(piece.choices[0].delta.content for piece in stream)
    assert taken == ["a"]


def test_a_stream_that_moves_to_the_other_region_brings_nothing_of_the_first(make):
    usage = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})

    def first(c, r):
        c.send(SSE_HEAD + chunk(b": first\n\n") + chunk(ROLE) + chunk(usage) + chunk(b": still first\n\nid: 7\n"))
        time.sleep(0.05)  # act: all of it is read before the end
        drop(c, r)

    def second(c, r):
        c.send(SSE_HEAD + chunk(b": second\n\n" + ROLE + delta("x") + event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})) + b"0\r\n\r\n")

    g, engines, seen = failover_gateway(make, first, second)
    c = open_stream(g)
    assert " 200 " in c.head()[0]
    data = c.chunks()
    assert b"first" not in data and data.startswith(b": second\n\n" + ROLE + delta("x")) and len(seen) == 2
    assert eventually(lambda: g.metric("ecolink_gateway_requests_in_flight") == 0)
    assert (g.metric("ecolink_gateway_prompt_tokens_total"), g.metric("ecolink_gateway_completion_tokens_total")) == (3, 2)
    assert g.metric("ecolink_gateway_open_streams") == 0 and g.metric("ecolink_gateway_retries_total") == 1


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_comments_pass_at_once_between_events(world, line_end):
    gate = threading.Event()

    def script(c, r):
        c.send(SSE_HEAD + chunk(delta("a")))
        c.send(chunk(b": keep-alive" + line_end * 2))
        gate.wait(10)
        c.send(chunk(delta("b")) + b"0\r\n\r\n")

    world.a.script = script
    c = open_stream(world.g)
    c.head()
    c.sock.settimeout(3)
    c.until(b": keep-alive" + line_end * 2 + b"\r\n")  # before the next event is even sent
    gate.set()
    assert c.chunks() == delta("b")


def test_a_stream_that_goes_silent_after_content_ends_with_an_error_event(make):
    g = make([route(142, [Engine(lambda c, r: (c.send(SSE_HEAD + chunk(delta("a"))), c.rest()))])], IDLE_TIMEOUT_MS=300)
    c = open_stream(g)
    c.head()
    assert json.loads(c.chunks()[len(delta("a")) + 6:])["error"]["code"] == "upstream_timeout"


def test_a_plain_answer_that_breaks_off_is_not_completed(make):
    g = make([route(142, [Engine(lambda c, r: (c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), time.sleep(0.05), drop(c, r)))])])  # act: both halves go out alone
    with pytest.raises(EOFError):
        g.chat()


def test_a_client_that_leaves_cancels_the_engine_at_once(world):
    world.a.script = lambda c, r: (c.send(SSE_HEAD + chunk(delta("a"))), c.rest(), (_ for _ in ()).throw(EOFError()))
    c = open_stream(world.g)
    c.head()
    world.a.closed.clear()
    c.close()
    assert world.a.closed.wait(1)


def test_a_half_closed_client_cancels_on_v1_before_any_answer(world):
    world.a.script = lambda c, r: (c.rest(), (_ for _ in ()).throw(EOFError()))
    c = open_stream(world.g)
    assert eventually(lambda: world.a.requests)
    c.sock.shutdown(1)
    assert world.a.closed.wait(1)


def test_a_slow_client_pauses_the_engine(world):
    state = {"sent": 0}

    def script(c, r):
        c.send(SSE_HEAD + chunk(delta("a")))
        c.sock.settimeout(1.0)
        try:
            for _ in range(4000):
                c.send(chunk(delta("x" * 10000)))
                state["sent"] += 10000
        except TimeoutError:
            state["blocked"] = True
            c.sock.settimeout(None)
            c.rest()

    world.a.script = script
    c = open_stream(world.g)
    c.sock.setsockopt(1, 8, 4096)
    c.head()
    assert eventually(lambda: state.get("blocked"), 8)
    assert state["sent"] < 30_000_000
    c.close()


def test_a_slow_engine_pauses_the_upload(make):
    engine = Engine()
    got = threading.Event()

    def serve(conn):
        conn.head()
        time.sleep(1.2)  # act: an engine that does not read
        got.set()
        conn.rest()

    engine._serve = serve
    g = make([route(142, [engine])])
    c = g.connect()
    n = 30_000_000
    c.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {n}\r\n\r\n".encode() + b'{"model":"my-llama:142","x":"')
    sent = 0
    c.sock.settimeout(0.5)
    try:
        while sent < n - 100:
            sent += c.sock.send(b"a" * 65536)
    except TimeoutError:
        pass
    assert sent < 20_000_000 and not got.is_set()
    c.close()


def test_an_early_answer_ends_the_upload(make):
    def serve(conn):
        conn.head()
        conn.send(answer('{"error":"no"}', "400 Bad Request"))
        conn.rest()

    engine = Engine()
    engine._serve = serve
    g = make([route(142, [engine])])
    c = g.connect()
    c.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 5000000\r\n\r\n".encode() + b'{"model":"my-llama:142","x":"' + b"a" * 200000)
    r = c.message(False)
    assert status(r) == 400 and r.get("connection") == "close" and r.body == b'{"error":"no"}'


def test_idle_connections_are_reused_and_a_stale_one_is_replaced_unseen(make):
    state = {"n": 0}

    def script(c, r):
        state["n"] += 1
        c.send(answer())
        if state["n"] == 3:
            time.sleep(0.05)  # act: ends later than the answer
            raise EOFError

    engine = Engine(script)
    g = make([route(142, [engine])])
    for _ in range(6):
        assert status(g.chat()) == 200
        time.sleep(0.1)  # act: lets the engine close
    assert engine.connections == 2


def test_an_engine_that_closes_as_the_next_request_comes_is_asked_again(make):
    def script(c, r):
        if len(engine.requests) == 2:
            drop(c, r)
        c.send(answer())

    engine = Engine(script)
    g = make([route(142, [engine])])
    assert status(g.chat()) == 200
    assert status(g.chat()) == 200
    assert len(engine.requests) == 3 and g.metric("ecolink_gateway_upstream_failures_total") == 0


def test_answers_without_length_end_with_the_connection(world):
    world.a.script = lambda c, r: (c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it"), (_ for _ in ()).throw(EOFError()))
    r = world.g.chat()
    assert r.body == b"all of it" and r.get("transfer-encoding") == "chunked"


def test_large_answers_pass_whole(world):
    body = json.dumps({"x": "y" * 20_000_000}).encode()
    world.a.script = lambda c, r: c.send(answer(body))
    assert world.g.chat().body == body


def test_informational_answers_are_skipped(world):
    world.a.script = lambda c, r: c.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer('{"a":1}'))
    r = world.g.chat()
    assert (status(r), r.body, r.get("link")) == (200, b'{"a":1}', None)


def test_nothing_is_counted_as_in_flight_once_all_is_quiet(world):
    assert eventually(lambda: world.g.metric("ecolink_gateway_requests_in_flight") == 0)
    assert eventually(lambda: world.g.metric("ecolink_gateway_open_streams") == 0)


def test_a_stop_lets_requests_in_flight_end(make):
    go = threading.Event()

    def script(c, r):
        c.send(SSE_HEAD + chunk(delta("a")))
        go.wait(5)
        c.send(chunk(delta("b")) + b"0\r\n\r\n")

    g = make([route(142, [Engine(script)])])
    c = open_stream(g)
    c.head()
    idle = g.connect()
    g.process.terminate()
    assert idle.rest() == b""
    go.set()
    assert c.chunks() == delta("a") + delta("b")
    assert g.process.wait(10) == 0


def test_many_clients_at_once(make):
    def script(c, r):
        n = json.loads(r.body)["n"]
        if n % 2:
            c.send(SSE_HEAD + chunk(ROLE) + chunk(delta(str(n))) + b"0\r\n\r\n")
        else:
            c.send(answer(json.dumps({"n": n})))

    g = make([route(142, [Engine(script), Engine(script)])], LOOPS=2)
    wrong = []

    def client(k):
        c = g.connect()
        for i in range(40):
            n = k * 1000 + i
            r = g.chat(conn=c, n=n)
            want = ROLE + delta(str(n)) if n % 2 else json.dumps({"n": n}).encode()
            if r.body != want:
                wrong.append((n, r.body))
        c.close()

    threads = [threading.Thread(target=client, args=(k,)) for k in range(24)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong, wrong[:3]
    assert isinstance(Conn, type)
