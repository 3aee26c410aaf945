"""A followed stream lasts no longer than the key that opened it."""
import datetime
import json
import threading
import time

import pytest
from eco.client import Client
from eco.waiting import wait


def key_of(stack, owner, **fields):
    made = owner.ok("POST", "/api-keys", 201, json={"name": "follower", "role": "member", "rate_limit_per_minute": 100000} | fields)
    client = Client(stack.url, made["key"])
    wait(lambda: client.get("/v1/models").status_code == 200, "the key at the gateway")
    return client, made["id"]


class Follower(threading.Thread):
    """Reads a stream to its end; `text` is all of it, `ended` when it came. A body that breaks off is an error."""

    def __init__(self, client, path):
        super().__init__(daemon=True)
        self.answer = client.get(path, params={"follow": "true"}, stream=True, timeout=60)
        assert self.answer.status_code == 200 and self.answer.headers["content-type"] == "text/event-stream"
        self.text, self.ended, self.error = "", None, None
        self.start()

    def run(self):
        try:
            for piece in self.answer.iter_content(None):
                self.text += piece.decode()
        except Exception as e:  # shown by the assertion
            self.error = e
        self.ended = time.monotonic()

    def last(self):
        """The last event: (name, data)."""
        event = [e for e in self.text.split("\n\n") if e and not e.startswith(":")][-1]
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        return fields.get("event"), json.loads(fields["data"])


@pytest.mark.parametrize("what", ["events", "logs"])
def test_a_followed_stream_ends_within_two_seconds_of_its_keys_revocation(stack, chat, what):
    owner, instance = chat
    client, key_id = key_of(stack, owner)
    other, other_id = key_of(stack, owner)
    followed = Follower(client, f"/inference-instances/{instance['id']}/{what}")
    stays = Follower(other, f"/inference-instances/{instance['id']}/{what}")
    wait(lambda: followed.text and stays.text, "the streams' beginning")
    owner.ok("DELETE", f"/api-keys/{key_id}")
    revoked = time.monotonic()
    followed.join(10)
    assert followed.error is None and followed.ended - revoked < 2.0
    name, data = followed.last()
    assert name == "error" and data["error"]["code"] == "unauthorized" and data["error"]["request_id"].startswith("req_")
    assert stays.ended is None  # others go on
    owner.ok("DELETE", f"/api-keys/{other_id}")
    stays.join(10)
    assert stays.ended is not None


def test_a_followed_stream_ends_when_its_key_expires(stack, chat):
    owner, instance = chat
    soon = datetime.datetime.fromtimestamp(stack.now_us() / 1e6 + 3, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    client, _ = key_of(stack, owner, expires_at=soon)
    followed = Follower(client, f"/inference-instances/{instance['id']}/events")
    followed.join(10)
    assert followed.error is None and followed.ended is not None
    assert followed.last()[1]["error"]["code"] == "unauthorized"
