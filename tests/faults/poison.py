"""Poison: from a moment on the database refuses every event of one consumer for a reason that no retry mends, as a bug in its handler
would; `mend` takes the refusal away, as the release with the fix would. What snapshots bring is not refused."""
import json
import queue
import re

import requests
import world
from eco.waiting import wait
from ecotest import pb
from ecotest.nats import NoResponders

CONSUMERS = {
    "registry": ("registry_scheduler_instance", "registry_gateway_usage"),
    "scheduler": ("scheduler_billing_hold", "scheduler_health_replica"),
    "billing": ("billing_registry_account", "billing_scheduler_instance", "billing_gateway_usage"),
    "health": ("health_scheduler_replica", "health_gateway_upstream"),
}


class Poison:
    def __init__(self, lab, service, consumer=None):
        self.lab, self.service = lab, service
        self.consumer = consumer or CONSUMERS[service][0]

    def __enter__(self):
        s = self.service
        self.before = self.metric()
        self.lab.sql(f"""
          CREATE FUNCTION {s}.poison() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN RAISE EXCEPTION 'poisoned on purpose' USING ERRCODE = 'check_violation'; END $$;
          CREATE TRIGGER poison BEFORE INSERT ON {s}.inbox FOR EACH ROW WHEN (NEW.consumer = '{self.consumer}') EXECUTE FUNCTION {s}.poison()""")
        return self

    def __exit__(self, kind, *_):
        self.mend()
        if kind is not None:  # what failed here leaves no letters to the next test's world
            self.lab.heal()
            wait(lambda: self.replay() and not self.letters(), "the replay", 30, 0.1)

    def mend(self):
        self.lab.sql(f"DROP TRIGGER IF EXISTS poison ON {self.service}.inbox; DROP FUNCTION IF EXISTS {self.service}.poison()")

    def provoke(self, tenants):
        """A life in which every owner has something to say to every consumer. Returns the tenant and a running instance."""
        tenant = tenants.new()
        instance = tenant.running()
        self.let_a_request_fail(tenant, instance)
        for _ in range(8):
            wait(lambda: tenant.chat(instance["model"], max_tokens=1).status_code == 200, "an answer of the other replica", 10, 0.01)
        tenant.wait_running(instance["id"])
        return tenant, instance

    def route(self, instance):
        """{region: port} of the replicas that gateways know."""
        _, _, value = world.look_bucket(self.lab.nats, "routes")[str(instance["id"])]
        return {r.region: r.port for r in pb.scheduler.RouteEntry.FromString(value).replicas}

    def let_a_request_fail(self, tenant, instance):
        """A replica dies, and a request meets it, which the gateway reports: the one that it prefers (the faster of late), and with
        those asleep who would keep requests away from it, perhaps before any has come."""
        def answer():
            return tenant.chat(instance["model"], max_tokens=1)

        def preferred():
            regions = {answer().headers["x-ecolink-region"] for _ in range(10)}
            return regions.pop() if len(regions) == 1 else None

        def failures():
            return self.counter("gateway", "ecolink_gateway_upstream_failures_total")
        before = failures()
        wait(lambda: len(self.route(instance)) == 2, "the route to both replicas", 20, 0.02)
        for name in ("scheduler", "health"):
            self.lab.pause(name)
        port = self.route(instance)[wait(preferred, "ten answers of one region", 20, 0.01)]
        next(r for r in self.lab.replicas(instance["id"]) if r.port == port).kill()
        wait(lambda: answer().status_code == 200 and failures() > before, "a request that meets the dead replica", 20, 0.01)
        for name in ("scheduler", "health"):
            self.lab.resume(name)

    def letters(self):
        return self.lab.sql(f"SELECT id, entity_id, error FROM {self.service}.dead_letters WHERE consumer = %s", (self.consumer,))

    def wait_letter(self):
        return wait(self.letters, f"a dead letter of {self.consumer}", 30)

    def counter(self, service, name):
        """The sum over all its labels."""
        port = self.lab.ports[f"{service.upper()}_ADMIN"]
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        return sum(int(n) for n in re.findall(rf"^{name}(?:\{{[^}}]*\}})? ([0-9]+)", text, re.M))

    def metric(self):
        return self.counter(self.service, "ecolink_dead_letters_total")

    def alarms(self):
        """Errors in the log that name this consumer's letters."""
        lines = [json.loads(x) for x in self.lab.log(self.service).splitlines() if x.startswith("{")]
        return [x for x in lines if x["level"] == "error" and "dead letter" in x["message"] and x.get("consumer") == self.consumer]

    def replay(self):
        return replay(self.lab, self.service)


def replay(lab, service, seconds=10):
    """The RPC, as an operator's tool would call it: the reply, or None when nobody answered."""
    context = pb.common.RequestContext(request_id="replay", deadline_us=2 ** 60)
    envelope = pb.common.RpcRequest(context=context, body=pb.common.ReplayDeadLettersRequest().SerializeToString())
    try:
        data = lab.nats.request(f"ecolink.rpc.{service}.ReplayDeadLetters", envelope.SerializeToString(), seconds)
    except (NoResponders, OSError, queue.Empty):
        return None
    return pb.common.RpcReply.FromString(data)
