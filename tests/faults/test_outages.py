"""Long outages in real time: a leader that sleeps for a minute and wakes up in another's reign, PostgreSQL and NATS away for a minute.
While it lasts replicas keep running and every request to them succeeds. `make test` shortens the minute; later tiers do not."""
import time

import pytest
import world
from conftest import TIER
from eco.waiting import wait
from lab import CYCLE_S
from workload import Caller

OUTAGE_S = 4 if TIER == "test" else 60
LEADERS = ["scheduler"] if TIER == "test" else ["scheduler", "billing"]


@pytest.fixture
def canary(lab, tenants):
    lab.heal()
    tenants.forget()
    owner = tenants.new("100000.00")
    yield owner, owner.running()
    tenants.stop_all()


def pids(lab, instance):
    return {r.name: r.pid for r in lab.replicas(instance["id"])}


def last_for(seconds):
    """The outage's own length: there is nothing to wait for but time."""
    time.sleep(seconds)  # act: the length of the outage


@pytest.mark.parametrize("service", LEADERS)
def test_a_leader_that_sleeps_wakes_up_in_anothers_reign(lab, tenants, canary, service):
    owner, instance = canary
    before = pids(lab, instance)
    with Caller(owner, instance) as caller:
        other = owner.want_launch(owner.want_model().ok())
        lab.pause(service)
        lab.second(service)
        other.attempt(2)  # the one who could answer sleeps, or goes on without him
        last_for(OUTAGE_S / 2)
        lab.advance(CYCLE_S + 1)  # the successor has something to do that the sleeper would do again
        if service != "scheduler":  # whose successor on one machine waits for the replicas' folder
            other.ok(seconds=60)
        last_for(OUTAGE_S / 2)
        lab.resume(service)
        other.ok(seconds=60)
        caller.reaches(10)
        world.settle(lab, tenants.call, 60, expect=lambda _: tenants.broken_promises())  # both of them run
        lab.end_copies()
        lab.heal()
    assert caller.failures == 0 and caller.answered > OUTAGE_S, (caller.answered, caller.why[:5])
    assert pids(lab, instance) == before
    world.settle(lab, tenants.call, expect=lambda _: tenants.broken_promises())


@pytest.mark.parametrize("part", ["nats", "postgres"])
def test_the_data_plane_does_not_notice_that_it_is_alone(lab, tenants, canary, part):
    owner, instance = canary
    before = pids(lab, instance)
    with Caller(owner, instance) as caller:
        lab.stop_part(part)
        if part == "postgres":
            lab.stop_part("nats")
        refused = owner.want_launch({"id": instance["model_id"]})
        assert not refused.attempt(30), "a launch was answered for good without a control plane"
        last_for(OUTAGE_S)
        lab.heal()
        caller.reaches(10)
    assert caller.failures == 0 and caller.answered > OUTAGE_S, (caller.answered, caller.why[:5])
    assert pids(lab, instance) == before
    refused.ok(seconds=60)
    wait(lambda: usage(lab, instance) >= caller.answered, "the usage of the time alone", 60)
    world.settle(lab, tenants.call, 60, expect=lambda _: tenants.broken_promises())


def usage(lab, instance):
    return int(lab.sql("SELECT coalesce(sum(requests), 0) FROM billing.usage_daily WHERE instance_id = %s", (instance["id"],))[0][0])
