"""Ports for servers of the tests."""
import collections
import os
import random
import socket

RECENT = collections.deque(maxlen=200)  # chosen here, and perhaps not listened on yet


def own_part(first, end):
    """(first, end) of what this process of the test run has of a range for itself: what another one has chosen is seen only once it
    listens."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (end - first) // count
    return first + mine * size, first + (mine + 1) * size


def free_port():
    """A port that nobody listens on, below the kernel's range for outgoing connections: none of those takes it while its server is
    down. The local stack's parts and the simulator's replicas have ranges of their own (deploy/local/lib/ports.sh)."""
    while True:
        port = random.randrange(*own_part(2000, 8000))
        if port in RECENT:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what is waiting to be forgotten is no obstacle
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            RECENT.append(port)
            return port


def stack_range():
    """ECOLINK_PORT_RANGE for a local stack of this process."""
    return text_of(*own_part(10000, 20000))


def replica_range():
    """PROCESS_PORTS for a scheduler of this process."""
    return text_of(*own_part(20000, 32000))


def text_of(first, end):
    return f"{first}-{end - 1}"
