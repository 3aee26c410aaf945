"""What was recorded equals what was answered, exactly: through an absence of the bus and through kills of the gateway. A kill may
cost what had not been flushed (200 ms), never more, and nothing is ever counted twice."""
import fcntl
import pathlib
import random
import signal
import threading
import time

import gwtest
import pytest
import tier
from ecotest.stack import eventually
from gwbus import NOTHING, Bus, Live, add, recorded, spooled, usage_engine, usage_in_stream
from gwtest import Engine, answer, chunk, delta, event, status

INSTANCE = 250
AWAY_S = tier.scaled(test=2, ci=20)
BURST = 40

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'
STREAM = gwtest.SSE_HEAD + chunk(gwtest.ROLE) + chunk(delta("x") + delta("y")) + chunk(
    event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 11}}) + event(b"[DONE]")) + b"0\r\n\r\n"
ANSWERS = {  # by what a request asks for: (bytes, prompt tokens, completion tokens, errors)
    "plain": (answer(PLAIN), 3, 5, 0),
    "stream": (STREAM, 7, 11, 0),
    "embedding": (answer(b'{"data":[],"usage":{"prompt_tokens":13,"total_tokens":13}}'), 13, 0, 0),
    "shouting": (answer(PLAIN, content_type="Application/JSON; charset=UTF-8"), 3, 5, 0),
    "silent": (answer(b"{}"), 0, 0, 0),
    "failure": (answer(b"{}", "500 Oops"), 0, 0, 1),
    "refusal": (answer(b"{}", "400 Bad"), 0, 0, 1),
}


def script(c, r):
    c.send(ANSWERS[r.get("x-want")][0])


@pytest.fixture(scope="module")
def bus(stack):
    made = Bus(stack)
    made.key()
    return made


class Life:
    """One life of the gateway: what its clients have been answered, as the usage records must have it."""

    def __init__(self, g, seed):
        self.g, self.rng, self.total, self.lock = g, random.Random(seed), NOTHING, threading.Lock()

    def ask(self, conn, want=None):
        with self.lock:
            want = want or self.rng.choice(sorted(ANSWERS))
        data, *counts = ANSWERS[want]
        r = self.g.call(body={"messages": [], "model": f"my-llama:{INSTANCE}"}, headers=[f"X-Want: {want}"], conn=conn)
        assert status(r) == int(data.split()[1]), r.body
        with self.lock:
            self.total = add(self.total, (1, *counts))

    def ask_each(self):
        conn = self.g.connect()
        for want in ANSWERS:
            self.ask(conn, want)
        conn.close()

    def ask_and_be_killed(self):
        """What a kill right behind them may cost is of one kind."""
        conn = self.g.connect()
        for _ in range(BURST):
            self.ask(conn, "plain")
        self.g.service.kill()

    def ask_until(self, told):
        """Two clients that ask until told to stop."""
        def client():
            conn = self.g.connect()
            while not told.is_set():
                self.ask(conn)
            conn.close()

        clients = [threading.Thread(target=client) for _ in range(2)]
        for c in clients:
            c.start()
        return clients


def lost(life, counts):
    """How many answers right before the kill are not recorded; everything else must be."""
    missing = life.total[0] - counts[0]
    _, prompt, completion, error = ANSWERS["plain"]
    assert 0 <= missing <= BURST
    assert add(counts, (missing, missing * prompt, missing * completion, missing * error)) == life.total
    return missing


def test_records_equal_answers_while_the_bus_is_away_and_gateways_are_killed(stack, bus):
    bus.route(INSTANCE, [Engine(script)])
    g = Live(stack, LOOPS=2)

    # the bus goes away under traffic, stays away, and comes back
    first, done = Life(g, seed=5), threading.Event()
    clients = first.ask_until(done)
    eventually(lambda: first.total[0] >= 200, 60, 0.05, "two hundred answers")
    stack.stop_nats()
    before = first.total[0]
    time.sleep(AWAY_S)  # act: the bus stays away
    assert first.total[0] > before, "it answers without the bus"
    stack.start_nats()
    done.set()
    for c in clients:
        c.join()
    eventually(lambda: recorded(stack, INSTANCE) == [first.total], 60, 0.2, "all is in the stream, exactly")

    # a kill without the bus
    stack.stop_nats()
    first.ask_and_be_killed()
    g.start()
    second = Life(g, seed=6)
    second.ask_each()
    stack.start_nats()
    eventually(lambda: recorded(stack, INSTANCE)[1:] == [second.total], 20, 0.1, "the bus has what the spool held, of both lives")
    eventually(lambda: spooled(g) == 0, 20, 0.05, "and the spool is empty")

    # a kill with the bus, and a stop, which loses nothing
    second.ask_and_be_killed()
    g.start()
    third = Life(g, seed=7)
    third.ask_each()
    assert g.stop() == 0

    lives = [first, second, third]
    counts = recorded(stack, INSTANCE, g)
    assert len(counts) == len(lives) and counts[2] == third.total
    print("lost by a kill without the bus, and by one with it:", lost(first, counts[0]), lost(second, counts[1]))
    tier.counted("answers recorded exactly through an absence of the bus and two kills", sum(one.total[0] for one in lives), least=250)


def test_a_bus_that_hangs_keeps_no_record_off_the_disk(stack, bus):
    """Not gone, but stopped: the batch that is being sent to it gets no answer for seconds."""
    bus.route(INSTANCE + 1, [usage_engine()])
    g = Live(stack)
    assert status(g.chat(f"my-llama:{INSTANCE + 1}")) == 200
    eventually(lambda: len(recorded(stack, INSTANCE + 1)) == 1 and spooled(g) == 0, 10, what="the bus takes usage")
    stack._nats_process.send_signal(signal.SIGSTOP)
    try:
        conn = g.connect()
        assert status(g.chat(f"my-llama:{INSTANCE + 1}", conn=conn)) == 200
        eventually(lambda: spooled(g) == 1, 10, what="the sending of this one hangs")
        for _ in range(BURST):
            assert status(g.chat(f"my-llama:{INSTANCE + 1}", conn=conn)) == 200
        eventually(lambda: spooled(g) == 1 + BURST, 3, what="the others are on disk all the same")
        g.service.kill()
    finally:
        stack._nats_process.send_signal(signal.SIGCONT)
    g.start()
    eventually(lambda: usage_in_stream(stack, INSTANCE + 1)[0] == 2 + BURST, 20, 0.1, "none is lost")
    assert g.stop() == 0


def test_a_process_that_keeps_the_spools_lock_costs_no_record_and_halts_nothing(stack, bus):
    """Such as a gateway that drains and was stopped in the middle of a write."""
    bus.route(INSTANCE + 2, [usage_engine()])
    g = Live(stack)
    assert status(g.chat(f"my-llama:{INSTANCE + 2}")) == 200
    eventually(lambda: usage_in_stream(stack, INSTANCE + 2)[0] == 1, 10, what="the bus takes usage")
    with open(pathlib.Path(g.settings["SPOOL_DIR"], "usage.spool"), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        conn = g.connect()
        for _ in range(BURST):
            assert status(g.chat(f"my-llama:{INSTANCE + 2}", conn=conn)) == 200
        known = g.metric("ecolink_gateway_snapshot_routes")
        bus.route(INSTANCE + 3, [usage_engine()])
        eventually(lambda: g.metric("ecolink_gateway_snapshot_routes") == known + 1, 10, what="its other work goes on")
        assert spooled(g) == 0
    eventually(lambda: usage_in_stream(stack, INSTANCE + 2)[0] == 1 + BURST, 20, 0.1, "none is lost")
    assert g.metric("ecolink_gateway_usage_dropped_total") == 0
    assert g.stop() == 0
