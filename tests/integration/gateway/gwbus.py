"""The gateway on a real nats-server: what stands for registry, scheduler and health, and what reads usage off the stream."""
import base64
import functools
import hashlib
import itertools
import pathlib

import gwtest
from ecotest import pb
from ecotest.stack import free_port
from gwtest import KEY, Engine, answer


def make_bucket(stack, name):
    stack.nats.js(f"STREAM.CREATE.KV_{name}", {"name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], "max_msgs_per_subject": 1,
                                               "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True, "discard": "new",
                                               "storage": "file", "num_replicas": 1})


class Bus:
    """Stands for registry, scheduler and health: puts entries with rising versions."""

    def __init__(self, stack):
        self.stack, self.version = stack, 0
        for name in ("keys", "routes", "health"):
            self.make(name)

    def make(self, name):
        make_bucket(self.stack, name)
        self.stack.nats.js_publish(f"$KV.{name}._generation", pb.common.KvEntry(version=1).SerializeToString())

    def put(self, bucket, key, message, deleted=False, version=None):
        self.version += 1
        entry = pb.common.KvEntry(version=version or self.version, value=message.SerializeToString(), deleted=deleted)
        self.stack.nats.js_publish(f"$KV.{bucket}.{key}", entry.SerializeToString())

    def key(self, key=KEY, **more):
        fields = {"key_id": "key_1", "account_id": "acc_one", "role": pb.common.ROLE_INFERENCE, "rate_limit_per_minute": 1000000, **more}
        self.put("keys", hashlib.sha256(key.encode()).hexdigest(), pb.registry.KeyEntry(**fields))

    def route(self, instance, engines, **more):
        replicas = [pb.scheduler.RouteReplica(replica_id=i + 1, region=f"region-{i + 1}", host="127.0.0.1", port=e.port) for i, e in enumerate(engines)]
        fields = {"instance_id": instance, "account_id": "acc_one", "served_name": "my-llama", "openai_compatible": True,
                  "status": pb.scheduler.INSTANCE_STATUS_RUNNING, "replicas": replicas, **more}
        self.put("routes", str(instance), pb.scheduler.RouteEntry(**fields))

    def no_route(self, instance):
        self.put("routes", str(instance), pb.scheduler.RouteEntry(), deleted=True)


class Live(gwtest.Gateway):
    """The same calls, on a gateway that the stack started."""

    def __init__(self, stack, **settings):
        self.stack, self.port = stack, free_port()
        self.settings = {"LISTEN": f"127.0.0.1:{self.port}", "SEAL_PUBLIC_KEY": "00" * 31 + "09", "IDEMPOTENCY_SECRET": "0123456789abcdef" * 2,
                         "SPOOL_DIR": stack.dir + f"/spool-{self.port}", "SNAPSHOT_FILE": stack.dir + f"/snapshot-{self.port}", **settings}
        self.start()

    def start(self, wait=True):
        self.service = self.stack.start("gateway", wait=wait, **self.settings)
        self.process, self.admin_port = self.service.process, self.service.admin_port


USAGE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}'


def usage_engine():
    return Engine(lambda c, r: c.send(answer(USAGE)))


def stream_batches(stack):
    """(event id, batch) of every message of usage that the stream holds."""
    try:
        last = stack.nats.js("STREAM.INFO.ECOLINK")["state"]["last_seq"]
    except Exception:  # noqa: BLE001 - no stream yet
        return
    for at in range(1, last + 1):
        message = stack.nats.js("STREAM.MSG.GET.ECOLINK", {"seq": at})["message"]
        if message["subject"] == "ecolink.evt.gateway.usage.recorded":
            event = pb.common.Event.FromString(base64.b64decode(message["data"]))
            yield event.id, pb.gateway.UsageBatch.FromString(event.state)


def spool_batches(g):
    """Likewise of the usage spool's file: records of magic, length, check, batch."""
    data, at = pathlib.Path(g.settings["SPOOL_DIR"], "usage.spool").read_bytes(), 0
    while at + 12 <= len(data) and (end := at + 12 + int.from_bytes(data[at + 4:at + 8], "little")) <= len(data):
        batch = pb.gateway.UsageBatch.FromString(data[at + 12:end])
        yield f"{batch.gateway}-{batch.boot}-{batch.sequence}", batch
        at = end


def recorded(stack, instance, g=None):
    """[(requests, prompt tokens, completion tokens, errors)] of each life of a gateway, in order: every batch of the stream, and of
    the spool of g, once."""
    seen, lives = set(), {}
    for event_id, batch in itertools.chain(stream_batches(stack), spool_batches(g) if g else ()):
        if event_id in seen:
            continue
        seen.add(event_id)
        for r in batch.records:
            if r.instance_id == instance:
                assert (r.account_id, r.key_id) == ("acc_one", "key_1") and r.minute_us % 60_000_000 == 0
                counts = (r.requests, r.prompt_tokens, r.completion_tokens, r.errors)
                lives[batch.boot] = add(lives.get(batch.boot, NOTHING), counts)
    return list(lives.values())


NOTHING = (0, 0, 0, 0)


def add(a, b):
    return tuple(x + y for x, y in zip(a, b))


def usage_in_stream(stack, instance):
    """The sum over all lives."""
    return functools.reduce(add, recorded(stack, instance), NOTHING)


def spooled(g):
    """Requests in the spool's file."""
    return sum(r.requests for _, batch in spool_batches(g) for r in batch.records)
