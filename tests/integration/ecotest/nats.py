"""A small NATS client of the tests' own (https://docs.nats.io/reference/reference-protocols/nats-protocol): core, JetStream's
JSON API, and key-value reads. One reader thread; every wait has a timeout."""

import base64
import itertools
import json
import queue
import socket
import threading
import uuid

from ecotest import pb


class NoResponders(Exception):
    pass


class Message:
    def __init__(self, subject, reply, headers, data):
        self.subject, self.reply, self.headers, self.data = subject, reply, headers, data


class Subscription:
    def __init__(self, client, sid):
        self._client, self._sid, self._queue = client, sid, queue.Queue()

    def next(self, timeout=5):
        """The next message; queue.Empty after `timeout` seconds."""
        return self._queue.get(timeout=timeout)

    def pending(self):
        out = []
        while not self._queue.empty():
            out.append(self._queue.get_nowait())
        return out

    def close(self):
        self._client._unsubscribe(self._sid)


class Nats:
    def __init__(self, port, user, password, inbox="_INBOX_tests"):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.settimeout(None)
        self._file = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._subs = {}
        self._sids = itertools.count(1)  # threads of a test may ask side by side
        self._inbox = inbox
        self._pongs = queue.Queue()
        self._errors = queue.Queue()
        self._file.readline()  # INFO
        options = {"verbose": False, "pedantic": False, "user": user, "pass": password, "headers": True, "no_responders": True,
                   "lang": "python", "version": "0", "protocol": 1}
        self._send(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._pongs.get(timeout=5)

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()

    def _send(self, data):
        with self._lock:
            self._socket.sendall(data)

    def _read(self):
        try:
            while True:
                line = self._file.readline()
                if not line:
                    return
                verb, *args = line.decode().split()
                if verb == "MSG":
                    self._deliver(args[0], args[1], args[2] if len(args) == 4 else "", b"", self._payload(int(args[-1])))
                elif verb == "HMSG":
                    head, total = int(args[-2]), int(args[-1])
                    data = self._payload(total)
                    self._deliver(args[0], args[1], args[2] if len(args) == 5 else "", data[:head], data[head:])
                elif verb == "PING":
                    self._send(b"PONG\r\n")
                elif verb == "PONG":
                    self._pongs.put(True)
                elif verb == "-ERR":
                    self._errors.put(line.decode().strip())
        except (OSError, ValueError):
            return

    def _payload(self, n):
        data = self._file.read(n + 2)
        return data[:n]

    def _deliver(self, subject, sid, reply, headers, data):
        sub = self._subs.get(sid)
        if sub is not None:
            sub._queue.put(Message(subject, reply, headers, data))

    def flush(self):
        """Returns when the server has seen everything sent so far."""
        self._send(b"PING\r\n")
        self._pongs.get(timeout=5)

    def refusals(self):
        """What the server has refused of everything sent so far."""
        self.flush()
        out = []
        while not self._errors.empty():
            out.append(self._errors.get_nowait())
        return out

    def subscribe(self, subject, group=""):
        sid = str(next(self._sids))
        sub = self._subs[sid] = Subscription(self, sid)
        self._send(f"SUB {subject} {group} {sid}\r\n".encode())
        self.flush()
        return sub

    def _unsubscribe(self, sid):
        self._subs.pop(sid, None)
        self._send(f"UNSUB {sid}\r\n".encode())

    def publish(self, subject, data=b"", reply=""):
        self._send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")

    def publish_with_id(self, subject, data, message_id):
        """With a Nats-Msg-Id, by which JetStream drops what it has seen within two minutes."""
        head = f"NATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n".encode()
        self._send(f"HPUB {subject} {len(head)} {len(head) + len(data)}\r\n".encode() + head + data + b"\r\n")

    def request(self, subject, data=b"", timeout=5):
        inbox = f"{self._inbox}.{uuid.uuid4().hex}"
        sub = self.subscribe(inbox)
        try:
            self.publish(subject, data, inbox)
            message = sub.next(timeout)
        finally:
            sub.close()
        if message.headers.startswith(b"NATS/1.0 503"):
            raise NoResponders(subject)
        return message.data

    # ---- JetStream ----
    def js(self, api, request=None):
        answer = json.loads(self.request("$JS.API." + api, json.dumps(request).encode() if request is not None else b""))
        if "error" in answer:
            raise RuntimeError(f"{api}: {answer['error']}")
        return answer

    def js_publish(self, subject, data):
        """Publishes and waits until the stream has it."""
        answer = json.loads(self.request(subject, data))
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")

    def kv_get(self, bucket, key):
        """The KvEntry under the key, or None when there is none (or no bucket)."""
        try:
            m = self.js(f"STREAM.MSG.GET.KV_{bucket}", {"last_by_subj": f"$KV.{bucket}.{key}"})["message"]
        except (RuntimeError, NoResponders):
            return None
        if b"KV-Operation" in base64.b64decode(m.get("hdrs", "")):
            return None
        entry = pb.common.KvEntry()
        entry.ParseFromString(base64.b64decode(m.get("data", "")))
        return entry

    def kv_keys(self, bucket):
        info = self.js(f"STREAM.INFO.KV_{bucket}", {"subjects_filter": f"$KV.{bucket}.>"})
        return {s.split(".", 2)[2] for s in (info["state"].get("subjects") or {})}

    def kv_delete_bucket(self, bucket):
        self.js(f"STREAM.DELETE.KV_{bucket}")
