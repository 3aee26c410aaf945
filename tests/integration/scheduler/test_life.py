"""The life of an instance, from launch to stop."""

import time

import pytest
from ecotest import pb
from ecotest.stack import RpcError, eventually
from world import S


@pytest.fixture(scope="module", autouse=True)
def scheduler(world):
    return world.start()


def test_a_launch_runs_in_two_regions_and_stops_without_a_trace(world):
    i = world.launch()
    assert i.status == S.INSTANCE_STATUS_PROVISIONING
    assert i.model == f"my-llama:{i.id}" and i.name == "my-llama"
    assert i.proxy_url == f"http://gw/inference-instances/{i.id}/proxy"
    assert i.hold.micros == 1_600_000 * 2 * 24
    assert {r.region for r in i.replicas} == {"east", "west"}
    i = world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    assert i.burn_rate_micros_per_hour == 3_200_000
    route = eventually(lambda: (r := world.route(i.id)) and len(r.replicas) == 2 and r)
    assert route.served_name == "my-llama" and route.status == S.INSTANCE_STATUS_RUNNING
    assert world.reserved() == 2
    assert len(world.replica_pids()) == 2
    stopping = world.stop(i.id)
    assert stopping.status == S.INSTANCE_STATUS_STOPPING
    i = world.until(i.id, S.INSTANCE_STATUS_STOPPED)
    assert i.termination_reason == S.TERMINATION_REASON_USER_REQUESTED
    assert world.reserved() == 0 and world.simulators() == []
    assert world.route(i.id) is None
    assert world.stop(i.id).status == S.INSTANCE_STATUS_STOPPED  # idempotent
    types = [e.type for e in world.events(i.id)]
    assert types[:2] == ["launch.accepted", "hold.placed"] and types[-1] == "instance.stopped"
    assert types.index("instance.running") < types.index("instance.stopping")
