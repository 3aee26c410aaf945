"""A gateway takes over from the one before it: nothing that was sent is refused, reset, lost or counted wrongly; and whoever of the
two dies in between, one goes on."""
import signal
import socket
import threading
import time
import types

import pytest
import tier
from ecotest.stack import eventually
from gwbus import Bus, Live, spool_batches
from gwtest import ROLE, SSE_HEAD, Conn, Engine, answer, chunk, delta, event, free_port, route, status
from polling import poll

LOOPS = (1, 2, 3, 1, 4, 2, 2, 1, 3, 3)  # of each successor in turn
PIECES = [ROLE, *(delta(str(i)) for i in range(8)), event(b"[DONE]")]


def script(c, r):
    if not r.get("x-stream"):
        c.send(answer())
        return
    c.send(SSE_HEAD)
    for piece in PIECES:
        c.send(chunk(piece))
        time.sleep(0.05)  # act: the engine takes its time
    c.send(b"0\r\n\r\n")


def crash(point):
    return {"ECOLINK_CRASH_POINT": point}


class Host:
    """One host on which a gateway follows the other."""

    def __init__(self, g):
        self.g, self.past, self.logs = g, [], [g.log_path]

    def spawn(self, environment=(), **settings):
        self.logs.append(self.g.dir / f"log-{len(self.logs)}")
        return self.g.spawn(self.logs[-1], environment, **settings)

    def log(self, which=-1):
        return self.logs[which].read_text()

    def take_over(self, **settings):
        """Returns once the new one accepts. Nobody tells the one before to end."""
        successor = self.spawn(**settings)
        assert poll(lambda: successor.poll() is not None or "listening" in self.log(), 30, 0.02)[0]
        assert successor.poll() is None, self.log()
        self.past.append(self.g.process)
        self.g.process = successor

    def serves(self):
        return status(self.g.chat()) == 200


@pytest.fixture
def host(make, tmp_path):
    """host(environment of the first, settings) -> a Host."""
    def start(environment=None, **settings):
        return Host(make([route(142, [Engine(script)])], environment=environment, HANDOVER_SOCKET=tmp_path / "handover", **settings))
    return start


# ---- clients that never stop ----

class Crowd:
    """Each client asks until told to stop, and notes whatever is not as it must be."""

    def __init__(self, g):
        self.g, self.done, self.wrong = g, threading.Event(), []
        self.threads = [threading.Thread(target=self._run, args=(one,)) for one in (self.fresh, self.fresh, self.kept, self.late, self.stream)]
        self.counts = {t.name: 0 for t in self.threads}

    def _run(self, client):
        while not self.done.is_set():
            try:
                self.counts[threading.current_thread().name] += client()
            except Exception as e:  # noqa: BLE001 - whatever it is, no client may meet it
                self.wrong.append((client.__name__, repr(e)))

    def fresh(self):
        assert status(self.g.chat()) == 200
        return 1

    def kept(self):
        """On one connection, until the gateway says that it is the last answer."""
        conn, n = self.g.connect(), 0
        while not self.done.is_set():
            r = self.g.chat(conn=conn)
            assert status(r) == 200
            n += 1
            if r.get("connection") == "close":
                assert conn.rest() == b""
                break
        conn.close()
        return n

    def late(self):
        """Connected long before it asks."""
        conn = self.g.connect()
        time.sleep(0.3)  # act: a client that takes its time
        assert status(self.g.chat(conn=conn)) == 200
        conn.close()
        return 1

    def stream(self):
        r = self.g.call(body={"messages": [], "model": "my-llama:142", "stream": True}, headers=["X-Stream: 1"])
        assert status(r) == 200 and r.body == b"".join(PIECES), r.body
        return 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for t in self.threads:
            t.join()


def recorded(g):
    """Requests in the usage spool, each batch once."""
    batches = dict(spool_batches(types.SimpleNamespace(settings={"SPOOL_DIR": str(g.dir / "spool")})))
    return sum(r.requests for b in batches.values() for r in b.records)


def test_ten_take_overs_refuse_reset_and_lose_nothing(host):
    h = host(LOOPS=2)
    assert h.serves()
    with Crowd(h.g) as crowd:
        for loops in LOOPS:
            served = sum(crowd.counts.values())
            h.take_over(LOOPS=loops)
            assert poll(lambda: sum(crowd.counts.values()) > served + 5, 20, 0.02)[0]
    assert crowd.wrong == []
    assert [p.wait(40) for p in h.past] == [0] * len(LOOPS)
    assert h.g.stop() == 0
    assert all("handed over" in h.log(i) for i in range(len(LOOPS)))
    # +1: the very first. Without a bus all of it is in the spool, in which one after the other wrote.
    assert recorded(h.g) == sum(crowd.counts.values()) + 1
    tier.counted("take-overs under traffic without a lost request", len(h.past), least=10)
    tier.counted("requests through take-overs", sum(crowd.counts.values()), least=100)


def test_a_kept_connection_is_answered_once_more_and_told_to_close(host):
    h = host()
    idle, asked = h.g.connect(), h.g.connect()
    assert status(h.g.chat(conn=asked)) == 200
    h.take_over()
    for conn in (idle, asked):
        r = h.g.chat(conn=conn)
        assert status(r) == 200 and r.get("connection") == "close"
        assert conn.rest() == b""
        conn.close()
    assert h.past[0].wait(20) == 0


def test_the_admin_port_goes_along(host):
    h = host()
    h.take_over()
    assert poll(lambda: h.g.metric("ecolink_gateway_client_connections") == 0, 5, 0.05)[0]
    assert h.serves()
    assert h.g.metric("ecolink_gateway_requests_total") == 1  # the new one's


def test_another_admin_port_is_opened_beside_the_old_one(host):
    h = host()
    before, h.g.admin_port = h.g.admin_port, free_port()
    h.take_over(ADMIN_LISTEN=f"127.0.0.1:{h.g.admin_port}")
    assert h.g.metric("ecolink_gateway_client_connections") == 0 and h.serves()
    assert h.past[0].wait(20) == 0
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", before), timeout=5)


def test_a_successor_reads_the_bus_before_it_accepts(stack, tmp_path):
    """Without a file it knows nothing; and what changed since is known, too."""
    bus, engine = Bus(stack), Engine(script)
    bus.key()
    bus.route(142, [engine])
    g = Live(stack, HANDOVER_SOCKET=tmp_path / "handover", SNAPSHOT_FILE="", LOOPS=2)
    for n in range(3):
        with Crowd(g) as crowd:
            assert poll(lambda: sum(crowd.counts.values()) > 10, 20, 0.02)[0]
            before = g.service
            g.start()
            assert before.wait_exit(40) == 0
            served = sum(crowd.counts.values())
            assert poll(lambda: sum(crowd.counts.values()) > served + 10, 20, 0.02)[0]
        assert crowd.wrong == []
        bus.route(200 + n, [engine])
        eventually(lambda: status(g.chat(f"my-llama:{200 + n}")) == 200, 10, what="the new one follows the bus")
    g.service.stop()


# ---- who dies ----

@pytest.mark.parametrize("point", ["gateway.handover.taken", "gateway.handover.ready"])
def test_a_successor_that_dies_changes_nothing(host, point):
    h = host(LOOPS=2)
    with Crowd(h.g) as crowd:
        for _ in range(3):
            assert h.spawn(crash(point), LOOPS=4).wait(30) == -signal.SIGKILL
            served = sum(crowd.counts.values())
            assert poll(lambda: sum(crowd.counts.values()) > served + 5, 20, 0.02)[0]
        h.take_over()
    assert crowd.wrong == []
    assert h.past[0].wait(40) == 0


class Connecting:
    """Connects without a pause, keeps what it got, and notes each refusal."""

    def __init__(self, port):
        self.port, self.kept, self.refused, self.done = port, [], [], threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.done.is_set():
            try:
                self.kept.append(socket.create_connection(("127.0.0.1", self.port), timeout=20))
            except OSError as e:
                self.refused.append(repr(e))
            time.sleep(0.002)  # act: hundreds a second, not thousands

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


@pytest.mark.parametrize("point", ["gateway.handover.given", "gateway.handover.yours"])
def test_a_holder_that_dies_leaves_its_sockets_to_the_successor(host, point):
    h = host(crash(point), LOOPS=3)
    before = h.g.process
    with Connecting(h.g.port) as clients:
        assert poll(lambda: len(clients.kept) > 20, 10, 0.01)[0]
        h.take_over(LOOPS=2)
        connected = len(clients.kept)
        assert poll(lambda: len(clients.kept) > connected + 20, 10, 0.01)[0]
    assert before.wait(10) == -signal.SIGKILL
    assert clients.refused == []
    last = Conn(clients.kept[-1])
    assert status(h.g.chat(conn=last)) == 200
    for c in clients.kept:
        c.close()
    h.past.clear()
    h.take_over(LOOPS=1)
    assert h.serves() and h.past[0].wait(40) == 0


def test_after_a_kill_of_both_the_next_one_starts_by_itself(host):
    h = host()
    for _ in range(2):
        h.g.process.kill()
        h.g.process.wait(10)
        h.take_over()
        assert h.serves()
        h.take_over()
    assert h.serves()


# ---- who is refused ----

def test_one_that_would_listen_elsewhere_is_told_so_and_the_holder_goes_on(host):
    h = host()
    with Crowd(h.g) as crowd:
        assert h.spawn(LISTEN=f"127.0.0.1:{free_port()}").wait(20) == 1
        assert "listens elsewhere" in h.log()
        assert poll(lambda: sum(crowd.counts.values()) > 10, 20, 0.02)[0]
    assert crowd.wrong == [] and h.g.process.poll() is None


def test_one_that_knows_no_keys_does_not_take_over_and_may_be_stopped(host):
    h = host()
    successor = h.spawn(SNAPSHOT_FILE="")
    time.sleep(1)  # absence: of a hand-over
    assert successor.poll() is None and "listening" not in h.log() and h.serves()
    successor.terminate()
    assert successor.wait(20) == 1 and "told to stop" in h.log()
    h.take_over()
    assert h.serves()


def test_noise_at_the_socket_changes_nothing(host):
    h = host()
    for noise in (b"", b"x", b"EGWH\1\3\0\0", b"EGWH\1\1\0", b"EGWH\2\1\0\0", b"EGWH" * 1000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(h.g.env["ECOLINK_GATEWAY_HANDOVER_SOCKET"])
            s.send(noise)
            s.settimeout(20)
            assert s.recv(100) == b""
    assert h.serves()
    h.take_over()
    assert h.serves()
