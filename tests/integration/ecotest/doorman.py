"""Between a service and the bus: who refuses, carries, and puts words into the server's mouth."""
import contextlib
import re
import socket
import threading
import time


class Doorman:
    """Stands before the bus: shuts the door on the first `refused` callers as soon as they are in, lets the others through."""

    def __init__(self, port, refused=0):
        self.bus_port, self.refused, self.seen, self.inside = port, refused, 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                caller = self.listener.accept()[0]
            except OSError:
                return
            self.seen += 1
            if self.seen <= self.refused:
                caller.close()
                continue
            bus = socket.create_connection(("127.0.0.1", self.bus_port))
            self.inside.append(caller)
            for one, other in ((caller, bus), (bus, caller)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def say_to_all(self, line):
        for caller in self.inside:
            with contextlib.suppress(OSError):
                caller.sendall(line)

    def close(self):
        self.listener.close()


class Muffler(Doorman):
    """Swallows the heartbeats of streams, and notes when a feed of the bucket `routes` is asked for: its full reads."""

    HEADED = re.compile(rb"HMSG \S+ \S+ (?:\S+ )?(\d+) (\d+)\r\n")

    def __init__(self, port):
        self.reads = []
        super().__init__(port)

    def _carry(self, one, other):
        if one in self.inside:
            self._note(one, other)
        else:
            self._muffle(one, other)

    def _note(self, service, bus):
        with contextlib.suppress(OSError):
            while data := service.recv(65536):
                self.reads += [time.monotonic()] * data.count(b"CONSUMER.CREATE.KV_routes")
                bus.sendall(data)
            bus.shutdown(socket.SHUT_RDWR)

    def _muffle(self, bus, service):
        with contextlib.suppress(OSError), bus.makefile("rb") as words:
            while line := words.readline():
                size = int(line.split()[-1]) + 2 if line.startswith((b"MSG ", b"HMSG ")) else 0
                body = words.read(size)
                if not (self.HEADED.match(line) and body.startswith(b"NATS/1.0 100 Idle Heartbeat")):
                    service.sendall(line + body)
