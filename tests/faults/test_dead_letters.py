"""A poisoned message of each consumer is set aside, alarmed, repaired from its owner's snapshot and, once its cause is mended, replayed.
That nothing else ever becomes a dead letter is a rule of the world checker, and so of every other test here."""
import pytest
import requests
import world
from conftest import TIER
from eco.waiting import wait
from poison import CONSUMERS, Poison

EVERY = [(s, c) for s, consumers in CONSUMERS.items() for c in consumers]
SOME = [("billing", "billing_registry_account"), ("billing", "billing_gateway_usage"), ("registry", "registry_scheduler_instance")]


@pytest.mark.parametrize("service,consumer", SOME if TIER == "test" else EVERY)
def test_a_poisoned_message_is_set_aside_alarmed_repaired_and_replayed(lab, tenants, service, consumer):
    lab.heal()
    with Poison(lab, service, consumer) as poison:
        tenant, instance = poison.provoke(tenants)
        letters = poison.wait_letter()
        assert all("poisoned on purpose" in error for _, _, error in letters)
        wait(lambda: poison.metric() > poison.before, "the counter of dead letters")
        wait(lambda: {x["id"] for x in poison.alarms()} >= {i for i, _, _ in letters}, "the alarm in the log")

        # What has an owner with a snapshot is repaired although no event of it came through. The letters are still there.
        def complaints():
            return [c for c in world.judge(world.look(lab, tenants.call)) if not c.startswith("dead letters of " + service)]
        wait(lambda: not complaints(), "the repair from the snapshot", 30, 0.1)
        assert poison.letters()

        # As long as the cause is there a replay is refused and loses nothing.
        reply = poison.replay()
        assert reply is not None and reply.status.code and poison.letters()
        poison.mend()
        wait(lambda: poison.replay() and not poison.letters(), "the replay", 30)
    if consumer == "billing_gateway_usage":
        called = 1 + 8  # by running() at least once, then by provoke()
        wait(lambda: sum(r["requests"] for r in tenant.ok("GET", "/billing/usage")["data"] if r["instance_id"] == instance["id"])
             >= called, "the usage that was set aside")
    world.settle(lab, tenants.call)


def test_the_contract_names_every_consumer(lab):
    """The table above is whole: each durable consumer that the services made on the stream is in it."""
    names = set(lab.nats.js("CONSUMER.NAMES.ECOLINK")["consumers"])
    durable = {n for n in names if n.split("_")[0] in CONSUMERS}
    assert durable == {c for _, c in EVERY}


def test_nobody_but_operators_may_replay(lab, tenants):
    """There is no public route to it."""
    tenant = tenants.new()
    for path in ("/dead-letters", "/admin/dead-letters"):
        assert requests.post(lab.url + path, headers={"Authorization": f"Bearer {tenant.key}"}, timeout=5).status_code in (403, 404)
