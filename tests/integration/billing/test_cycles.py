"""The billing cycle on a clock that the test moves: renewal in full, in part, not at all; late workers, lagging evidence."""

import pytest
from billing_world import S, STOPPED, USD
from ecotest import pb
from ecotest.stack import eventually

HOUR = 3600
PARTIAL, REFUSED = pb.billing.HOLD_STATUS_PARTIAL, pb.billing.HOLD_STATUS_REFUSED
# $1.60 x 1 GPU x 2 replicas for a cycle of an hour
FULL = 3.2


@pytest.fixture(scope="module", autouse=True)
def service(billing):
    return billing.start(CYCLE_S=HOUR)


@pytest.fixture(autouse=True)
def calm(stack, billing, meter):
    """After each test: watermark live, and whatever still runs is stopped."""
    yield
    meter.watermark_us = None
    for instance, in stack.sql("SELECT instance_id FROM billing.holds WHERE status IN ('open', 'partial')"):
        meter.set(instance, STOPPED, [], 1, True)
    eventually(lambda: not stack.sql("SELECT 1 FROM billing.holds WHERE status IN ('open', 'partial')"), timeout=20)
    evidence = meter.evidence()
    for instance in evidence:  # their made-up end is no evidence for the ledger check
        if evidence[instance]["stop"] == 1:
            meter.forget(instance)


def test_full_renewal_settles_the_old_hold_then_places_the_new_one(stack, billing):
    account = billing.account(10)
    hold, start = billing.run(account)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "open"])
    old, new = billing.holds(hold.instance_id)
    seconds = 2 * ((hold.expires_at_us - start) // S)
    charge = round(seconds * 1.6 / 3600 * USD)
    assert (old[3], old[4]) == (charge, seconds)
    assert new[5] == hold.expires_at_us and new[6] == hold.expires_at_us + HOUR * S  # n+1 begins where n ends
    types = [r[0] for r in billing.rows(account)]
    assert types in (["topup", "hold", "hold_release", "gpu_usage", "refund", "hold"],
                     ["topup", "hold", "hold_release", "gpu_usage", "hold"])
    # Stopped a quarter of an hour later: only that is charged from the second hold.
    stop = new[5] // S * S + 900 * S
    stack.advance(900)
    billing.stop(account, hold.instance_id, start, stop)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "settled"])
    total = sum(h[3] for h in billing.holds(hold.instance_id))
    assert total == round(2 * (stop - start) / S * 1.6 / 3600 * USD)
    assert billing.balance(account).available.micros == 10 * USD - total


def test_late_worker_catches_up_cycle_by_cycle(stack, billing, service):
    account = billing.account(100)
    hold, start = billing.run(account)
    stack.advance(5 * HOUR + 60)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"] * 5 + ["open"])
    holds = billing.holds(hold.instance_id)
    assert [h[5] for h in holds] == [hold.started_at_us + n * HOUR * S for n in range(6)]
    assert [h[4] for h in holds[1:5]] == [2 * HOUR] * 4


def test_closing_a_launchs_hold_reaches_the_cycle_that_followed_meanwhile(stack, billing):
    """The launch is given up behind its first cycle's end: its scheduler died with the hold placed, and the clock was stepped."""
    account = billing.account(10)
    hold = billing.place(account)
    billing.meter.set(hold.instance_id, pb.scheduler.INSTANCE_STATUS_PROVISIONING)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "open"])
    for _ in range(2):
        assert billing.close(account, hold.instance_id).status == pb.billing.HOLD_STATUS_SETTLED
        assert billing.statuses(hold.instance_id) == ["settled", "closed"]
    assert billing.rows(account)[-1] == ("refund", FULL, 10) and billing.balance(account).held.micros == 0


def test_partial_renewal_takes_all_and_warns(stack, billing):
    account = billing.account(FULL + 1.6)
    hold, _ = billing.run(account)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "partial"])
    partial = billing.holds(hold.instance_id)[1]
    assert billing.balance(account).available.micros == 0
    lasts_s = partial[2] * HOUR // (3_200_000)
    assert partial[6] - partial[5] == lasts_s * S
    notice = next(n for n in billing.notices(account) if n.type == "partial_hold")
    assert notice.severity == pb.billing.NOTICE_SEVERITY_WARNING
    assert notice.message.endswith(" credit can cover 0.5 more hours. Recharge to continue.")
    assert notice.instance_id == hold.instance_id


def test_zero_balance_refuses_the_next_cycle_and_says_why(stack, billing):
    account = billing.account(FULL)
    events = stack.events("ecolink.evt.billing.hold.refused")
    hold, start = billing.run(account)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "refused"])
    event = pb.common.Event.FromString(events.next().data)
    state = pb.billing.HoldState.FromString(event.state)
    assert (event.entity_id, state.cycle, state.status, state.amount_micros) == (str(hold.instance_id), 2, REFUSED, 0)
    notice = next(n for n in billing.notices(account) if n.type == "credit_depleted")
    assert notice.message == "Instance terminated: credit balance depleted."
    assert notice.severity == pb.billing.NOTICE_SEVERITY_CRITICAL
    # The run ends at the cycle's end: what it still did until the scheduler stopped it is free.
    billing.stop(account, hold.instance_id, start, hold.expires_at_us + 30 * S)
    assert billing.balance(account).held.micros == 0
    assert billing.holds(hold.instance_id)[0][3] <= FULL * USD


def test_partial_hold_that_runs_out_is_a_cycle_end(stack, billing):
    account = billing.account(FULL + 1.6)
    hold, _ = billing.run(account)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "partial"])
    stack.advance(HOUR // 2 + 10)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "settled", "refused"])


def test_top_up_during_a_partial_hold_extends_it_at_the_next_tick(stack, billing):
    account = billing.account(FULL + 1.6)
    hold, start = billing.run(account)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "partial"])
    stack.advance(600)
    billing.top_up(account, 50)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "settled", "open"])
    _, second, third = billing.holds(hold.instance_id)
    assert second[6] > third[5] > second[5]  # ended before its time, and the next begins there
    assert third[2] == FULL * USD
    assert abs(second[4] - 1200) <= 8  # what it had used: ten minutes of two replicas


def test_cent_during_the_last_seconds_of_a_partial_hold_changes_nothing(stack, billing):
    account = billing.account(FULL + 1.6)
    hold, _ = billing.run(account)
    stack.advance(HOUR + 1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "partial"])
    stack.advance(HOUR // 2 - 40)
    billing.top_up(account, 0.01)
    seen = billing.meter.calls
    eventually(lambda: billing.meter.calls > seen + 5)
    assert billing.statuses(hold.instance_id) == ["settled", "partial"]


def test_due_holds_of_an_account_share_the_balance_by_due_time_then_instance(stack, billing):
    account = billing.account(3 * FULL)
    holds = [billing.run(account)[0] for _ in range(3)]
    # All three are due; what comes back is next to nothing, so one top-up of one full hold and a half decides.
    billing.top_up(account, FULL * 1.5)
    stack.advance(HOUR + 5)
    eventually(lambda: [billing.statuses(h.instance_id)[-1] for h in holds] == ["open", "partial", "refused"])


def test_unreachable_scheduler_makes_settlement_wait(stack, billing, meter):
    account = billing.account(10)
    hold, _ = billing.run(account)
    meter.end()
    try:
        stack.advance(HOUR + 1)
        eventually(lambda: "cycle" in billing.service.logs() and "timer failed" in billing.service.logs())
        assert billing.statuses(hold.instance_id) == ["open"]
    finally:
        meter.begin()
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "open"])


def test_due_cycle_waits_for_the_watermark_then_charges_it_all(stack, billing, meter):
    account = billing.account(10)
    hold, start = billing.run(account)
    meter.watermark_us = start + 100 * S
    stack.advance(HOUR + 1)
    seen = meter.calls
    eventually(lambda: meter.calls > seen + 5)
    assert billing.statuses(hold.instance_id) == ["open"]
    meter.watermark_us = None
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "open"])
    assert billing.holds(hold.instance_id)[0][4] == 2 * ((hold.expires_at_us - start) // S)


def test_time_proved_only_after_the_wait_is_charged_in_the_next_settlement(stack, billing, meter):
    account = billing.account(10)
    hold, start = billing.run(account)
    meter.watermark_us = start + 100 * S
    stack.advance(HOUR + 1)
    seen = meter.calls
    eventually(lambda: meter.calls > seen + 5)
    stack.advance(31)  # EVIDENCE_WAIT_S is over
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "open"])
    assert billing.holds(hold.instance_id)[0][4] == 200
    meter.watermark_us = None
    stop = start + 200 * S
    billing.stop(account, hold.instance_id, start, stop)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled", "settled"])
    assert billing.holds(hold.instance_id)[1][4] == 200


def test_hold_without_a_live_instance_is_found_and_given_back(stack, billing):
    account = billing.account(10)
    hold = billing.place(account)  # the meter knows no such instance
    seen = billing.meter.calls
    eventually(lambda: billing.meter.calls > seen + 2)
    assert billing.statuses(hold.instance_id) == ["open"]
    stack.advance(61)
    eventually(lambda: billing.statuses(hold.instance_id) == ["closed"])
    assert billing.rows(account)[-1] == ("refund", FULL, 10)


def test_degraded_instance_pays_for_its_ready_replica_alone(stack, billing, meter):
    account = billing.account(10)
    hold, start = billing.run(account)
    billing.tell_instance(account, hold.instance_id, pb.scheduler.INSTANCE_STATUS_RUNNING, ready=1)
    stack.advance(1800)
    meter.set(hold.instance_id, STOPPED, [(1, start, start + 1800 * S), (2, start, start + 600 * S)], start + 1800 * S, True)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])
    assert billing.holds(hold.instance_id)[0][4] == 2400


def test_what_the_meter_tells_in_many_answers_is_settled_as_one(stack, billing, meter):
    account, neighbour = billing.account(10), billing.account(10)
    hold, start = billing.run(account)
    other, began = billing.run(neighbour)
    stack.advance(1800)
    flapping = [(1, start + i * 20 * S, start + i * 20 * S + 10 * S) for i in range(90)]
    with meter.lock:
        meter.page = 7
        meter.set(hold.instance_id, STOPPED, [*flapping, (2, start, start + 1800 * S)], start + 1800 * S, True)
        meter.set(other.instance_id, STOPPED, [(1, began, began + 600 * S)], began + 600 * S, True)
    try:
        eventually(lambda: billing.statuses(hold.instance_id) == billing.statuses(other.instance_id) == ["settled"])
    finally:
        meter.page = 0
    assert billing.holds(hold.instance_id)[0][4] == 900 + 1800
    assert billing.holds(other.instance_id)[0][4] == 600


def test_balance_tells_burn_rate_and_runway(stack, billing):
    account = billing.account(10)
    assert not billing.balance(account).HasField("runway_seconds")
    hold, _ = billing.run(account)
    b = eventually(lambda: (lambda b: b if b.burn_rate_micros_per_hour else None)(billing.balance(account)))
    assert b.burn_rate_micros_per_hour == 3_200_000
    assert (b.available.micros, b.held.micros) == (round(6.8 * USD), round(3.2 * USD))
    assert abs(11250 - b.runway_seconds) <= 10  # ten dollars at 3.20 an hour
    stack.advance(1800)
    assert abs(9450 - billing.balance(account).runway_seconds) <= 10


def low(billing, account):
    """Minutes in the low-balance notices so far, oldest first."""
    return [(int(n.message.split("less than ")[1].split()[0]), n.severity) for n in reversed(billing.notices(account))
            if n.type == "low_balance"]


def test_low_balance_notices_come_once_per_threshold_and_episode(stack, billing):
    warning, critical = pb.billing.NOTICE_SEVERITY_WARNING, pb.billing.NOTICE_SEVERITY_CRITICAL
    account = billing.account(FULL * 1.02)
    billing.run(account)
    eventually(lambda: billing.balance(account).HasField("runway_seconds"))  # since billing has heard of the run
    expected = []
    for minutes, severity in ((60, warning), (30, warning), (20, warning), (10, critical), (5, critical), (3, critical)):
        runway = billing.balance(account).runway_seconds
        if runway > minutes * 60 - 5:
            stack.advance(runway - minutes * 60 + 5)
        expected.append((minutes, severity))
        eventually(lambda: low(billing, account) == expected, what=f"notice at {minutes} minutes")
    billing.top_up(account, 0.2)  # not enough to end the episode: nothing is repeated
    stack.advance(60)
    assert low(billing, account) == expected
    billing.top_up(account, 10)  # a new episode
    eventually(lambda: billing.balance(account).runway_seconds > 3600)
    stack.sql("SELECT pg_sleep(0.3)")
    stack.advance(billing.balance(account).runway_seconds - 1795)
    eventually(lambda: low(billing, account) == expected + [(30, warning)])
