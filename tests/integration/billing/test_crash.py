"""kill -9 at every step of a settlement, a renewal, a top-up and a hold: after the restart each has happened exactly once."""

import subprocess

import pytest
from billing_world import S, USD
from ecotest import pb
from ecotest.nats import NoResponders
from ecotest.stack import NoAnswer, RpcError, eventually

HOUR = 3600
WORKER_POINTS = ["billing.meter.read", "billing.cycles.settled", "billing.cycles.before_commit", "billing.cycles.committed",
                 "kit.relay.published", "kit.relay.deleted", "kit.rpc.called"]
RPC_POINTS = ["kit.tx.committed", "kit.rpc.handled", "kit.relay.published", "kit.relay.deleted"]


@pytest.fixture(scope="module", autouse=True)
def clean_end(billing):
    yield
    billing.service.stop()


@pytest.fixture
def service(billing):
    """A healthy service for the preparation (the last test's, where it left one); the test kills it and starts one that dies."""
    if billing.service is None or billing.service.process.poll() is not None:
        billing.start(CYCLE_S=HOUR)
    return billing.service


def die_at(billing, point):
    """Starts a service that dies at the point."""
    billing.service.kill()
    return billing.stack.start("billing", crash_point=point, CYCLE_S=HOUR, TICK_MS=50, RECONCILE_S=1, LEASE_TTL_MS=600)


def attempt(billing, call, *args, **kwargs):
    """A call to a service that dies meanwhile: no answer, or one."""
    billing.timeout = 2
    try:
        return call(*args, **kwargs)
    except (NoAnswer, NoResponders, RpcError):
        return None
    finally:
        billing.timeout = 10


def test_every_crash_point_of_billing_is_tried(stack):
    listed = subprocess.run([stack.binary("billing"), "--list-crash-points"], capture_output=True, text=True, check=True).stdout
    own = {p for p in listed.split() if p.startswith("billing.")}
    assert own == {p for p in WORKER_POINTS if p.startswith("billing.")} | {"billing.topup.account_asked",
                                                                            "billing.topup.committed"}


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_settlement_survives_a_crash(billing, service, point):
    account = billing.account(10)
    hold, start = billing.run(account)
    dying = die_at(billing, point)
    billing.stop(account, hold.instance_id, start, start + 1800 * S)
    dying.wait_exit(20)
    billing.start(CYCLE_S=HOUR)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])
    assert billing.rows(account) == [("topup", 10, 10), ("hold", -3.2, 6.8), ("hold_release", 1.6, 8.4),
                                     ("gpu_usage", -1.6, 6.8), ("refund", 1.6, 8.4)]


@pytest.mark.parametrize("point", WORKER_POINTS)
def test_renewal_survives_a_crash(stack, billing, service, point):
    account = billing.account(10)
    hold, start = billing.run(account)
    dying = die_at(billing, point)
    stack.advance(HOUR + 1)
    dying.wait_exit(20)
    billing.start(CYCLE_S=HOUR)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "open"])
    stop = start + (HOUR + 600) * S
    stack.advance(600)
    billing.stop(account, hold.instance_id, start, stop)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "settled"])
    charge = round(2 * (HOUR + 600) * 1.6 / HOUR * USD)
    assert billing.balance(account).available.micros == 10 * USD - charge


@pytest.mark.parametrize("point", RPC_POINTS + ["billing.topup.committed"])
def test_top_up_repeated_after_a_crash_is_booked_once(billing, service, point):
    account = billing.account(1)
    dying = die_at(billing, point)
    attempt(billing, billing.top_up, account, 5, key=account)
    dying.wait_exit(20)
    billing.start(CYCLE_S=HOUR)
    assert billing.top_up(account, 5, key=account).amount.micros == 5 * USD
    assert billing.rows(account) == [("topup", 1, 1), ("topup", 5, 6)]


@pytest.mark.parametrize("point", RPC_POINTS)
def test_place_hold_repeated_after_a_crash_takes_the_money_once(billing, service, point):
    account = billing.account(10)
    dying = die_at(billing, point)
    attempt(billing, billing.place, account, 777_000 + RPC_POINTS.index(point))
    dying.wait_exit(20)
    billing.start(CYCLE_S=HOUR)
    hold = billing.place(account, 777_000 + RPC_POINTS.index(point))
    assert billing.rows(account) == [("topup", 10, 10), ("hold", -3.2, 6.8)]
    entry = eventually(lambda: billing.stack.nats.kv_get("standing", account))
    eventually(lambda: pb.billing.StandingEntry.FromString(
        billing.stack.nats.kv_get("standing", account).value).credit_micros == 6_800_000)
    assert entry.version > 0
    billing.close(account, hold.instance_id)


def test_top_up_of_a_new_account_survives_a_crash_after_asking_the_registry(stack, billing, service):
    account = "acc_" + "7" * 26
    end = stack.serve("registry", {"GetAccount": (pb.registry.GetAccountRequest,
                                                  lambda r: pb.registry.Account(id=r.id, name="New"))})
    try:
        dying = die_at(billing, "billing.topup.account_asked")
        attempt(billing, billing.top_up, account, 5, key=account)
        dying.wait_exit(20)
        billing.start(CYCLE_S=HOUR)
        billing.top_up(account, 5, key=account)
    finally:
        end()
    assert billing.rows(account) == [("topup", 5, 5)]


def test_second_copy_takes_over_when_the_first_is_killed(billing, service):
    first = billing.service
    account = billing.account(10)
    hold, start = billing.run(account)
    billing.start(CYCLE_S=HOUR)
    first.kill()
    billing.stop(account, hold.instance_id, start, start + 1800 * S)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])
    assert billing.rows(account)[-1] == ("refund", 1.6, 8.4)


def test_two_copies_settle_and_renew_each_cycle_once(stack, billing, service):
    first = billing.service
    billing.start(CYCLE_S=HOUR)
    accounts = [billing.account(10) for _ in range(5)]
    runs = [billing.run(a)[0] for a in accounts]
    stack.advance(2 * HOUR + 1)
    for run in runs:
        eventually(lambda: billing.statuses(run.instance_id) == ["settled", "settled", "open"])  # noqa: B023
    first.stop()


def test_restart_of_postgresql_and_nats_loses_nothing(stack, billing, service):
    account = billing.account(10)
    hold, start = billing.run(account)
    stack.pg.restart()
    billing.meter.end()
    stack.stop_nats()
    stack.start_nats()
    billing.meter.begin()
    billing.service.wait_ready()
    billing.stop(account, hold.instance_id, start, start + 1800 * S)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"], timeout=30)
    assert billing.rows(account)[-1] == ("refund", 1.6, 8.4)
