"""Launches that are refused, repeated, quoted, or never answered."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from ecotest import pb
from ecotest.stack import RpcError, eventually
from world import B, C, Refusal, S


@pytest.fixture(scope="module", autouse=True)
def scheduler(world):
    return world.start()


def nothing_is_left(world, before=0):
    assert world.reserved() == before
    listed = world.stack.rpc("scheduler.ListInstances", S.ListInstancesRequest(limit=100), S.InstanceList, caller=world.owner)
    assert all(i.status in (S.INSTANCE_STATUS_STOPPED, S.INSTANCE_STATUS_FAILED) for i in listed.data)


def refused(world, code, param="", **fields):
    with pytest.raises(RpcError) as e:
        world.launch(**fields)
    assert e.value.code == code, e.value
    if param:
        assert e.value.param == param
    nothing_is_left(world)
    return e.value


def test_what_cannot_be_understood_is_refused_with_its_field(world):
    refused(world, "invalid_request", "model_id", model_id="")
    refused(world, "invalid_request", "engine", engine="gpt")
    refused(world, "invalid_request", "engine", engine="")
    refused(world, "invalid_request", "engine", engine="vllm")  # no containers on this machine
    refused(world, "invalid_request", "gpu_count", gpu_count=0)
    refused(world, "invalid_request", "regions", regions=["mars", "east"])
    refused(world, "invalid_request", "gpu_type", gpu_type="h900")
    refused(world, "invalid_request", "env", env=[C.KeyValue(name="ECOLINK_PORT", value="1")])
    refused(world, "invalid_request", "custom_api_path", custom_api_path="/generate")
    refused(world, "invalid_request", "health_path", health_path="/../x")
    refused(world, "not_found", model_id="mdl_unknown")


def test_fewer_than_two_regions_are_refused_unless_one_is_allowed(world):
    e = refused(world, "insufficient_capacity", gpu_type="big")
    assert "allow_single_region" in e.message
    refused(world, "insufficient_capacity", gpu_count=5)
    i = world.launch(gpu_type="big", allow_single_region=True)
    assert i.total_replicas == 1 and i.hourly_rate.micros == 3_000_000
    world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=1)
    world.stopped(i.id)
    nothing_is_left(world)


def test_a_quote_reserves_nothing(world):
    q = world.stack.rpc("scheduler.Quote", S.LaunchRequest(model_id="mdl_1", engine="simulator", gpu_count=2), S.Quote,
                        caller=world.owner)
    assert q.total_replicas == 2 and sorted(q.regions) == ["east", "west"]
    assert q.hourly_rate.micros == 1_600_000 and q.hold.micros == 1_600_000 * 2 * 2 * 24
    assert q.burn_rate_micros_per_hour == 6_400_000
    nothing_is_left(world)


def test_a_launch_without_balance_leaves_no_instance(world):
    world.books.refuse = Refusal("insufficient_balance", "76.80 needed, 1.00 there")
    try:
        e = refused(world, "insufficient_balance", key="poor")
        assert "76.80" in e.message
    finally:
        world.books.refuse = None
    highest = world.stack.sql("SELECT max(id) FROM scheduler.instances")[0][0]
    with pytest.raises(RpcError) as e:
        world.get(highest)
    assert e.value.code == "not_found"
    assert not world.meter(highest).known
    assert eventually(lambda: world.route(highest) is None)
    with pytest.raises(RpcError) as e:  # the answer is kept for its key
        world.launch(key="poor")
    assert e.value.code == "insufficient_balance"


def test_a_repeated_launch_is_one_launch(world):
    first = world.launch(key="twice")
    again = world.launch(key="twice")
    assert again.id == first.id and again.model == first.model
    with pytest.raises(RpcError) as e:
        world.launch(key="twice", name="other")
    assert e.value.code == "idempotency_mismatch"
    assert world.reserved() == 2
    world.until(first.id, S.INSTANCE_STATUS_RUNNING, ready=2)
    world.stopped(first.id)


def test_a_launch_that_billing_never_answered_is_undone(world):
    world.end_billing()
    try:
        with pytest.raises(RpcError) as e:
            world.launch(key="silent", timeout=30)
        assert e.value.code == "control_plane_unavailable"
        assert world.reserved() == 2  # kept until it is sure that no hold can follow
    finally:
        world.serve_billing()
    eventually(lambda: world.reserved() == 0, 20, 0.1)
    nothing_is_left(world)
    highest = world.stack.sql("SELECT max(id) FROM scheduler.instances")[0][0]
    assert (highest, 1) in world.books.closed
    i = world.launch(key="silent")
    assert i.id > highest
    world.stopped(i.id)


def test_a_model_the_registry_does_not_give_is_refused(world):
    world.shelf.refuse = Refusal("not_found", "deleted meanwhile")
    try:
        refused(world, "not_found")
    finally:
        world.shelf.refuse = None


def test_a_model_on_a_filesystem_runs_where_it_lies(world):
    world.shelf.region = "west"
    try:
        i = world.launch()
        assert [r.region for r in i.replicas] == ["west"]
        world.until(i.id, S.INSTANCE_STATUS_RUNNING, ready=1)
        world.stopped(i.id)
        refused(world, "invalid_request", "regions", regions=["east"])
    finally:
        world.shelf.region = ""


def test_anothers_instance_is_forbidden_and_an_unknown_one_not_found(world):
    i = world.launch()
    other = C.Caller(account_id="acc_b", role=C.ROLE_OWNER)
    for call in ("GetInstance", "StopInstance", "RestartInstance"):
        request = getattr(S, call + "Request")(id=i.id)
        with pytest.raises(RpcError) as e:
            world.stack.rpc("scheduler." + call, request, S.Instance, caller=other)
        assert e.value.code == "forbidden"
        with pytest.raises(RpcError) as e:
            world.stack.rpc("scheduler." + call, getattr(S, call + "Request")(id=10**12), S.Instance, caller=other)
        assert e.value.code == "not_found"
    with pytest.raises(RpcError) as e:
        world.stack.rpc("scheduler.StopInstance", S.StopInstanceRequest(id=i.id), S.Instance,
                        caller=C.Caller(account_id="acc_a", role=C.ROLE_INFERENCE))
    assert e.value.code == "forbidden"
    done = world.stack.rpc("scheduler.AdminStopInstance", S.AdminStopInstanceRequest(id=i.id), S.Instance,
                           caller=world.stack.operator())
    assert done.termination_reason == S.TERMINATION_REASON_ADMIN
    world.until(i.id, S.INSTANCE_STATUS_STOPPED)


def test_lists_are_paged_newest_first(world):
    def page(cursor="", limit=2):
        return world.stack.rpc("scheduler.ListInstances", S.ListInstancesRequest(limit=limit, cursor=cursor), S.InstanceList,
                               caller=world.owner)
    seen, cursor = [], ""
    while True:
        p = page(cursor)
        seen += [i.id for i in p.data]
        if not p.page.has_more:
            break
        cursor = p.page.next_cursor
    assert seen == sorted(seen, reverse=True) and len(seen) == len(set(seen)) > 2
    for bad in ({"limit": 101}, {"limit": -1}, {"cursor": "x"}):
        with pytest.raises(RpcError) as e:
            page(**bad)
        assert e.value.code == "invalid_request"


def test_operators_set_regions_types_and_prices(world):
    op = world.stack.operator()

    def call(method, request, reply, caller=op):
        return world.stack.rpc("scheduler." + method, request, reply, caller=caller)
    call("PutGpuType", S.PutGpuTypeRequest(name="tiny", hourly_rate=C.Money(micros=500_000)), S.GpuType)
    rooms = [S.GpuRoom(gpu_type="tiny", total=1)]
    r = call("PutRegion", S.PutRegionRequest(name="north", driver="process", gpus=rooms), S.Region)
    assert r.status == "available" and r.gpus[0].free == 1
    r = call("PutRegion", S.PutRegionRequest(name="north", driver="process", gpus=rooms, cordoned=True), S.Region)
    assert r.status == "cordoned"
    refused(world, "insufficient_capacity", gpu_type="tiny", allow_single_region=True)
    listed = call("ListRegions", S.ListRegionsRequest(), S.RegionList, caller=world.owner)
    assert [x.name for x in listed.data] == ["east", "north", "west"]
    with pytest.raises(RpcError) as e:
        call("PutRegion", S.PutRegionRequest(name="n", driver="process"), S.Region, caller=world.owner)
    assert e.value.code == "forbidden"
    with pytest.raises(RpcError) as e:  # this very machine
        call("PutRegion", S.PutRegionRequest(name="north", driver="process", gpus=rooms, lost=True), S.Region)
    assert (e.value.code, e.value.param) == ("invalid_request", "lost")
    with pytest.raises(RpcError) as e:
        call("DeleteRegion", S.DeleteRegionRequest(name="east"), S.Region)
    assert e.value.code == "in_use"
    call("DeleteRegion", S.DeleteRegionRequest(name="north"), S.Region)
    call("DeleteGpuType", S.DeleteGpuTypeRequest(name="tiny"), S.GpuType)
    with pytest.raises(RpcError) as e:
        call("GetRegion", S.GetRegionRequest(name="north"), S.Region)
    assert e.value.code == "not_found"
    call("DeleteGpuType", S.DeleteGpuTypeRequest(name="big"), S.GpuType)  # has been launched: retired
    assert call("GetGpuType", S.GetGpuTypeRequest(name="big"), S.GpuType).retired
    call("PutGpuType", S.PutGpuTypeRequest(name="big", hourly_rate=C.Money(micros=3_000_000)), S.GpuType)


def test_launches_at_once_never_take_more_gpus_than_there_are(world):
    def attempt(n):
        try:
            return world.launch(gpu_count=1, name=f"n{n}", timeout=30).id
        except RpcError as e:
            return e.code
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(8)))
    launched = [a for a in answers if isinstance(a, int)]
    assert len(launched) == 4 and answers.count("insufficient_capacity") == 4
    over = world.stack.sql("SELECT * FROM scheduler.gpu_rooms WHERE reserved > total")
    assert over == [] and world.reserved() == 8
    for i in launched:
        world.stop(i)
    for i in launched:
        world.until(i, S.INSTANCE_STATUS_STOPPED)
    nothing_is_left(world)
