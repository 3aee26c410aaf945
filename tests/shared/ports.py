"""Ports for servers of the tests."""
import random
import socket


def free_port():
    """A port that nobody listens on, below the kernel's range for outgoing connections: none of those takes it while its server is
    down. The local stack's parts and the simulator's replicas have ranges of their own (deploy/local/lib/ports.sh)."""
    while True:
        port = random.randrange(2000, 8000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what is waiting to be forgotten is no obstacle
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
