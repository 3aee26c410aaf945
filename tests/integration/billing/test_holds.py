"""Holds, the ledger's rows, and what others are told."""

import concurrent.futures

import psycopg2
import pytest
from billing_world import FAILED, S, USD
from ecotest import pb
from ecotest.stack import RpcError, eventually, next_event

HOLD = pb.billing.HOLD_STATUS_OPEN


@pytest.fixture(scope="module", autouse=True)
def service(billing):
    return billing.start()


def test_launch_then_stop_after_one_hour_shows_the_documented_rows(stack, billing):
    account = billing.account(100)
    hold, start = billing.run(account)
    assert (hold.amount_micros, hold.cycle, hold.status) == (76_800_000, 1, HOLD)
    assert hold.expires_at_us - hold.started_at_us == 86400 * S
    assert billing.rows(account) == [("topup", 100, 100), ("hold", -76.8, 23.2)]
    assert billing.balance(account).held.micros == 76_800_000
    billing.stop(account, hold.instance_id, start, start + 3600 * S)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])
    assert billing.rows(account) == [("topup", 100, 100), ("hold", -76.8, 23.2), ("hold_release", 3.2, 26.4),
                                     ("gpu_usage", -3.2, 23.2), ("refund", 73.6, 96.8)]
    assert billing.balance(account).held.micros == 0
    assert billing.holds(hold.instance_id)[0][3:5] == (3_200_000, 7200)


def test_launch_without_balance_is_refused_with_the_amounts(billing, refused):
    account = billing.account(12)
    e = refused(billing.place, account)
    assert e.code == "insufficient_balance"
    assert e.message == "this launch needs a hold of $76.80; $12.00 is available: top up at least $64.80"
    assert billing.rows(account) == [("topup", 12, 12)]


def test_place_hold_repeated_takes_the_money_once(billing):
    account = billing.account(1000)
    first = billing.place(account)
    again = billing.place(account, first.instance_id)
    assert again == first
    assert billing.balance(account).available.micros == (1000 - 76.8) * USD


def test_hold_of_another_accounts_instance_is_refused(billing, refused):
    hold = billing.place(billing.account(100))
    assert refused(billing.place, billing.account(100), hold.instance_id).code == "forbidden"


def test_later_cycles_cannot_be_placed_from_outside(billing, refused):
    account = billing.account(1000)
    hold = billing.place(account)
    e = refused(billing.place, account, hold.instance_id, cycle=2)
    assert (e.code, e.param) == ("invalid_request", "cycle")


def test_close_hold_returns_everything_and_can_be_repeated(billing):
    account = billing.account(100)
    hold = billing.place(account)
    assert billing.close(account, hold.instance_id).status == pb.billing.HOLD_STATUS_CLOSED
    assert billing.close(account, hold.instance_id).status == pb.billing.HOLD_STATUS_CLOSED
    assert billing.rows(account) == [("topup", 100, 100), ("hold", -76.8, 23.2), ("refund", 76.8, 100)]


def test_close_before_place_bars_the_place_that_arrives_later(billing, refused):
    account = billing.account(100)
    instance = billing.place(account).instance_id + 1_000_000
    assert billing.close(account, instance).status == pb.billing.HOLD_STATUS_CLOSED
    assert refused(billing.place, account, instance).code == "wrong_state"
    assert billing.statuses(instance) == ["closed"]


def test_concurrent_launches_on_one_balance_succeed_exactly_as_often_as_it_affords(billing):
    account = billing.account(76.80 * 3 + 76.79)

    def launch(_):
        try:
            return billing.place(account).amount_micros
        except RpcError as e:
            return e.code
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(launch, range(10)))
    assert outcomes.count(76_800_000) == 3
    assert outcomes.count("insufficient_balance") == 7
    assert billing.balance(account).available.micros == 76_790_000


def test_concurrent_place_and_close_of_one_hold_end_with_nothing_held(billing):
    account = billing.account(100)
    base = billing.place(account).instance_id + 2_000_000
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i in range(10):
            def place(instance=base + i):
                try:
                    billing.place(account, instance, rate_usd=0.01)
                except RpcError as e:
                    assert e.code == "wrong_state"
            done = [pool.submit(place), pool.submit(billing.close, account, base + i)]
            [d.result() for d in done]
            assert billing.statuses(base + i) == ["closed"]
    assert billing.balance(account).available.micros == 23_200_000


def test_failed_instance_that_was_never_ready_gets_everything_back(billing, meter):
    account = billing.account(100)
    hold = billing.place(account)
    meter.set(hold.instance_id, FAILED, [], 0, True)
    billing.tell_instance(account, hold.instance_id, FAILED, 0)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])
    assert billing.rows(account)[-1] == ("refund", 76.8, 100)


def test_settlement_waits_until_the_reading_is_complete(billing, meter):
    account = billing.account(100)
    hold, start = billing.run(account)
    meter.set(hold.instance_id, pb.scheduler.INSTANCE_STATUS_STOPPING, [(1, start, 0)], start + 60 * S, False)
    billing.tell_instance(account, hold.instance_id, pb.scheduler.INSTANCE_STATUS_STOPPING, 1)
    seen = meter.calls
    eventually(lambda: meter.calls > seen + 5)
    assert billing.statuses(hold.instance_id) == ["open"]
    billing.stop(account, hold.instance_id, start, start + 60 * S, replicas=1)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])
    assert billing.holds(hold.instance_id)[0][4] == 60


def test_missed_stop_event_is_found_by_reconciliation(billing, meter):
    account = billing.account(100)
    hold, start = billing.run(account)
    meter.set(hold.instance_id, pb.scheduler.INSTANCE_STATUS_STOPPED, [(1, start, start + 10 * S)], start + 10 * S, True)
    eventually(lambda: billing.statuses(hold.instance_id) == ["settled"])


def test_hold_events_carry_state_and_rising_versions(stack, billing):
    account = billing.account(100)
    events = stack.events("ecolink.evt.billing.hold.*")
    hold, start = billing.run(account)
    billing.stop(account, hold.instance_id, start, start + S)
    seen = []
    while not seen or seen[-1].type != "hold.settled":
        e = next_event(events)
        if e.entity_id == str(hold.instance_id):
            seen.append(e)
    assert [(e.type, e.entity_version) for e in seen] == [("hold.placed", 1), ("hold.settled", 2)]
    state = pb.billing.HoldState.FromString(seen[1].state)
    assert (state.status, state.amount_micros, state.account_id) == (pb.billing.HOLD_STATUS_SETTLED, 76_800_000, account)


def test_balance_is_told_by_event_and_standing_entry(stack, billing):
    events = stack.events("ecolink.evt.billing.balance.changed")
    account = billing.account(5)
    states = []
    while not states or states[-1].available_micros != 5 * USD:
        e = next_event(events)
        if e.entity_id == account:
            states.append(pb.billing.BalanceState.FromString(e.state))
    assert [s.available_micros for s in states] == [0, 5 * USD]

    def credit():
        entry = stack.nats.kv_get("standing", account)
        return entry and pb.billing.StandingEntry.FromString(entry.value).credit_micros == 5 * USD
    eventually(credit)


def snapshot(stack, entity):
    after, out = "", {}
    while True:
        page = stack.rpc("billing.Snapshot", pb.common.SnapshotRequest(entity=entity, after_id=after, limit=3),
                         pb.common.SnapshotPage)
        out.update({e.entity_id: e for e in page.entities})
        if page.done:
            return out
        after = page.next_after_id


def test_snapshots_hold_every_instance_and_account_with_their_newest_state(stack, billing):
    account = billing.account(200)
    hold, start = billing.run(account)
    holds = snapshot(stack, "hold")
    assert pb.billing.HoldState.FromString(holds[str(hold.instance_id)].state) == hold
    assert len(holds) == stack.sql("SELECT count(*) FROM billing.instances WHERE hold_version > 0")[0][0]
    balances = snapshot(stack, "balance")
    assert pb.billing.BalanceState.FromString(balances[account].state).available_micros == (200 - 76.8) * USD
    assert len(balances) == stack.sql("SELECT count(*) FROM billing.accounts")[0][0]


def test_runtime_role_can_append_to_the_ledger_and_nothing_else(stack, billing):
    billing.account(1)
    with stack.pg.connect(stack.database, "billing_app") as c, c.cursor() as cur:
        for table in ("ledger_entries", "ledger_transactions"):
            for statement in ("UPDATE billing.{} SET created_at_us = 0", "DELETE FROM billing.{}", "TRUNCATE billing.{}",
                              "DROP TABLE billing.{}", "ALTER TABLE billing.{} DISABLE TRIGGER ALL"):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cur.execute(statement.format(table))
        for table in ("accounts", "holds", "corrections", "notices"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cur.execute(f"DELETE FROM billing.{table}")


def test_even_the_owner_cannot_change_ledger_rows_by_a_slip(stack, billing):
    billing.account(1)
    with stack.pg.connect(stack.database, "billing_owner") as c, c.cursor() as cur:
        for statement in ("UPDATE billing.ledger_entries SET amount_micros = 1", "DELETE FROM billing.ledger_transactions"):
            with pytest.raises(psycopg2.errors.IntegrityConstraintViolation):
                cur.execute(statement)


TRANSACTION = ("INSERT INTO billing.ledger_transactions (key, kind, created_at_us) VALUES (%s, 'test', 0) RETURNING id")
ENTRY = ("INSERT INTO billing.ledger_entries (transaction_id, position, account_id, amount_micros, created_at_us)"
         " VALUES (%s, %s, %s, %s, 0)")


def test_transaction_that_does_not_sum_to_zero_is_refused_at_commit(stack, billing):
    connection = psycopg2.connect(stack.pg.url("billing_app", stack.database))
    with connection.cursor() as cur:
        cur.execute(TRANSACTION, ("test:unbalanced",))
        transaction = cur.fetchone()[0]
        cur.execute(ENTRY, (transaction, 0, "platform:revenue", 5))
        cur.execute(ENTRY, (transaction, 1, "platform:held", -4))
        with pytest.raises(psycopg2.errors.IntegrityConstraintViolation, match="sums to 1, not to zero"):
            connection.commit()
    connection.rollback()
    with connection.cursor() as cur:
        cur.execute(TRANSACTION, ("test:empty",))
        with pytest.raises(psycopg2.errors.IntegrityConstraintViolation, match="sums to nothing"):
            connection.commit()
    connection.close()
    assert stack.sql("SELECT 1 FROM billing.ledger_transactions WHERE key LIKE 'test:%%'") == []


def test_entries_cannot_join_a_transaction_of_the_past(stack, billing):
    billing.account(1)
    connection = psycopg2.connect(stack.pg.url("billing_app", stack.database))
    with connection.cursor() as cur:
        cur.execute("SELECT max(id) FROM billing.ledger_transactions")
        old = cur.fetchone()[0]
        cur.execute(ENTRY, (old, 10, "platform:revenue", 5))
        cur.execute(ENTRY, (old, 11, "platform:held", -5))
        with pytest.raises(psycopg2.errors.IntegrityConstraintViolation, match="is closed"):
            connection.commit()
    connection.close()
