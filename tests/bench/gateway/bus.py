"""What the route case needs of NATS and of protobuf: a bucket of routes, filled and changed as the scheduler does it."""
import json
import socket

RUNNING = 3  # InstanceStatus (proto/ecolink/v1/scheduler.proto)


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number, value):
    """A field of a protobuf message: a number, or text or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def route(instance, account, backend):
    """A bucket's entry (KvEntry of a RouteEntry): instance `bench:<instance>`, two replicas at the backend."""
    host, port = backend.split(":")
    replicas = b"".join(field(10, field(1, i) + field(2, region) + field(3, host) + field(4, int(port)) + field(6, f"r{i}"))
                        for i, region in ((1, "eu-west"), (2, "us-east")))
    entry = field(1, instance) + field(2, account) + field(3, "bench") + field(5, 1) + field(7, RUNNING) + replicas
    return field(1, 1) + field(2, entry)


class Bus:
    """A connection to nats-server (https://docs.nats.io/reference/reference-protocols/nats-protocol)."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")
        self.file.readline()  # INFO
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answers 1\r\n')
        self.flush()

    def close(self):
        self.socket.close()

    def line(self):
        """The next one that is not the server's asking whether this end is alive."""
        while (line := self.file.readline()) == b"PING\r\n":
            self.socket.sendall(b"PONG\r\n")
        return line

    def flush(self):
        """Returns when the server has taken everything."""
        self.socket.sendall(b"PING\r\n")
        while self.line() != b"PONG\r\n":
            pass

    def put(self, subject, data):
        self.socket.sendall(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(data), data))

    def request(self, subject, data):
        self.socket.sendall(b"PUB %s answers %d\r\n%s\r\n" % (subject.encode(), len(data), data))
        head = self.line().split()
        answer = json.loads(self.file.read(int(head[-1]) + 2))
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")

    def fill(self, routes, backend):
        """The bucket of `routes` instances, whole; account n - 1 owns instance n, as in the snapshot."""
        self.request("$JS.API.STREAM.CREATE.KV_routes", json.dumps(
            {"name": "KV_routes", "subjects": ["$KV.routes.>"], "max_msgs_per_subject": 1, "allow_rollup_hdrs": True, "deny_delete": True,
             "allow_direct": True, "discard": "new", "storage": "file", "num_replicas": 1}).encode())
        for n in range(1, routes + 1):
            self.put(f"$KV.routes.{n}", route(n, f"acc_{n - 1:08}", backend))
        self.request("$KV.routes._generation", field(1, 1))
