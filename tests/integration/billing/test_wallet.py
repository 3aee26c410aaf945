"""Top-ups, corrections, lists, usage: what operators and customers do with a wallet."""

import concurrent.futures
import uuid

import pytest
from billing_world import ALPHABET, S, USD
from ecotest import pb
from ecotest.stack import RpcError, eventually


@pytest.fixture(scope="module", autouse=True)
def service(billing):
    return billing.start()


def test_top_up_with_the_same_key_is_booked_once(billing):
    account = billing.account()
    first = billing.top_up(account, 20, key="k1")
    again = billing.top_up(account, 20, key="k1")
    assert first == again
    assert (first.amount.micros, first.balance_after.micros, first.sequence) == (20 * USD, 20 * USD, 1)
    assert billing.rows(account) == [("topup", 20, 20)]


def test_top_up_with_the_same_key_and_another_amount_is_refused(billing, refused):
    account = billing.account()
    billing.top_up(account, 20, key="k2")
    assert refused(billing.top_up, account, 21, key="k2").code == "idempotency_mismatch"


def test_concurrent_top_ups_with_one_key_are_booked_once(billing):
    account = billing.account()

    def top_up(_):
        try:
            return billing.top_up(account, 7, key="k3").id
        except RpcError as e:
            return e.code
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outcomes = set(pool.map(top_up, range(8)))
    assert len(outcomes - {"in_progress"}) == 1
    assert billing.rows(account) == [("topup", 7, 7)]


def test_top_ups_without_a_key_are_all_booked_and_the_chain_holds(billing):
    account = billing.account()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: billing.top_up(account, n), range(1, 31)))
    rows = billing.transactions(account, limit=1000).data
    assert sorted(t.sequence for t in rows) == list(range(1, 31))
    assert billing.balance(account).available.micros == 465 * USD


@pytest.mark.parametrize("usd", [0, -5, 1_000_000_001])
def test_top_up_of_an_impossible_amount_is_refused(billing, refused, usd):
    e = refused(billing.top_up, billing.account(), usd)
    assert (e.code, e.param) == ("invalid_request", "amount")


def test_top_up_of_an_unheard_account_asks_the_registry(stack, billing, refused):
    account = "acc_" + ALPHABET[:26]
    unknown = "acc_" + ALPHABET[6:32]

    class NotFound(Exception):
        code = "not_found"

    def get_account(request):
        if request.id != account:
            raise NotFound("no such account")
        return pb.registry.Account(id=account, name="New")
    assert refused(billing.top_up, account, 5).code == "control_plane_unavailable"
    end = stack.serve("registry", {"GetAccount": (pb.registry.GetAccountRequest, get_account)})
    try:
        assert billing.top_up(account, 5).balance_after.micros == 5 * USD
        assert refused(billing.top_up, unknown, 5).code == "not_found"
    finally:
        end()
    assert stack.sql("SELECT 1 FROM billing.accounts WHERE id = %s", unknown) == []
    assert refused(billing.top_up, "acc_x", 5).code == "not_found"


def test_customers_cannot_top_up_and_inference_keys_cannot_read(stack, billing):
    account = billing.account()
    request = pb.billing.TopUpRequest(account_id=account, amount=pb.common.Money(micros=1))
    with pytest.raises(RpcError) as e:
        stack.rpc("billing.TopUp", request, caller=billing.owner(account))
    assert e.value.code == "forbidden"
    with pytest.raises(RpcError) as e:
        stack.rpc("billing.GetBalance", pb.billing.GetBalanceRequest(),
                  caller=pb.common.Caller(role=pb.common.ROLE_INFERENCE, account_id=account))
    assert e.value.code == "forbidden"


def create(stack, account, usd, operator, reason="goodwill"):
    request = pb.billing.CreateCorrectionRequest(account_id=account, amount=pb.common.Money(micros=round(usd * USD)),
                                                 reason=reason)
    return stack.rpc("billing.CreateCorrection", request, pb.billing.Correction, caller=stack.operator(operator))


def approve(stack, correction, operator):
    return stack.rpc("billing.ApproveCorrection", pb.billing.ApproveCorrectionRequest(id=correction), pb.billing.Correction,
                     caller=stack.operator(operator))


def test_correction_takes_effect_when_another_operator_approves(stack, billing, refused):
    account = billing.account(10)
    c = create(stack, account, -2.5, "op_ada")
    assert billing.rows(account) == [("topup", 10, 10)]
    assert refused(approve, stack, c.id, "op_ada").code == "forbidden"
    done = approve(stack, c.id, "op_bob")
    assert (done.requested_by, done.approved_by) == ("op_ada", "op_bob")
    assert billing.rows(account)[-1] == ("admin_correction", -2.5, 7.5)
    assert billing.transactions(account).data[0].description == "goodwill"
    assert refused(approve, stack, c.id, "op_bob").code == "wrong_state"
    assert billing.rows(account)[-1] == ("admin_correction", -2.5, 7.5)


def test_correction_never_takes_more_than_is_available(stack, billing, refused):
    account = billing.account(1)
    c = create(stack, account, -2, "op_ada")
    assert refused(approve, stack, c.id, "op_bob").code == "wrong_state"
    billing.top_up(account, 1)
    approve(stack, c.id, "op_bob")
    assert billing.balance(account).available.micros == 0


def test_correction_needs_reason_amount_and_a_known_account(stack, billing, refused):
    account = billing.account()
    assert refused(create, stack, account, 0, "op_ada").param == "amount"
    assert refused(create, stack, account, 1, "op_ada", "").param == "reason"
    assert refused(create, stack, "acc_nobody", 1, "op_ada").code == "not_found"
    assert refused(approve, stack, "cor_nothing", "op_bob").code == "not_found"


def test_transactions_are_paged_newest_first_and_filtered(billing):
    account = billing.account()
    for n in range(1, 8):
        billing.top_up(account, 100 * n)
    hold = billing.place(account)
    seen, cursor, pages = [], "", 0
    while True:
        page = billing.transactions(account, limit=3, cursor=cursor)
        seen += [t.sequence for t in page.data]
        pages += 1
        if not page.page.has_more:
            break
        cursor = page.page.next_cursor
    assert (seen, pages) == (list(range(8, 0, -1)), 3)
    holds = billing.transactions(account, type=pb.billing.TRANSACTION_TYPE_HOLD).data
    assert [t.instance_id for t in holds] == [hold.instance_id]
    assert [t.sequence for t in billing.transactions(account, instance_id=hold.instance_id).data] == [8]
    assert holds[0].description == f"Hold for my-llama:{hold.instance_id}, cycle 1"


@pytest.mark.parametrize("query", [{"limit": -1}, {"limit": 1001}, {"cursor": "x"}, {"type": 77}])
def test_bad_list_parameter_is_named(billing, refused, query):
    e = refused(billing.transactions, billing.account(), **query)
    assert (e.code, e.param) == ("invalid_request", next(iter(query)))


def record(account, instance=7, key="key_a", minute_us=0, **counts):
    return pb.gateway.UsageRecord(account_id=account, key_id=key, instance_id=instance, minute_us=minute_us, **counts)


def usage(stack, billing, account, **query):
    return stack.rpc("billing.GetUsage", pb.billing.GetUsageRequest(**query), pb.billing.UsageList,
                     caller=billing.owner(account))


def test_usage_batch_is_counted_once_however_often_it_arrives(stack, billing):
    account = billing.account()
    now = stack.now_us()
    counts = {"requests": 3, "errors": 1, "prompt_tokens": 30, "completion_tokens": 60, "bytes_in": 5, "bytes_out": 9,
              "time_to_first_byte_us_sum": 600}
    batch = pb.gateway.UsageBatch(gateway="gw", boot="b", sequence=1, records=[
        record(account, minute_us=now, **counts), record(account, minute_us=now, **counts),
        record(account, instance=8, key="key_b", minute_us=now - 2 * 86400 * S, requests=1)])
    event = f"gw-b-{uuid.uuid4().hex}"
    for _ in range(3):
        stack.publish_event("gateway", "usage.recorded", "gw", 0, batch, event)
    eventually(lambda: len(usage(stack, billing, account).data) == 2)
    rows = usage(stack, billing, account).data
    assert [(u.instance_id, u.key_id, u.requests) for u in rows] == [(7, "key_a", 6), (8, "key_b", 1)]
    assert (rows[0].errors, rows[0].prompt_tokens, rows[0].completion_tokens, rows[0].bytes_in, rows[0].bytes_out,
            rows[0].mean_time_to_first_byte_us) == (2, 60, 120, 10, 18, 200)
    assert rows[0].day > rows[1].day
    assert [u.instance_id for u in usage(stack, billing, account, instance_id=8).data] == [8]
    assert [u.instance_id for u in usage(stack, billing, account, **{"from": rows[0].day}).data] == [7]
    assert [u.instance_id for u in usage(stack, billing, account, to=rows[1].day).data] == [8]
    assert billing.balance(account).available.micros == 0  # own instances are metered at price zero


def test_usage_up_to_a_day_begins_thirty_days_before_it(stack, billing):
    account = billing.account()
    assert len(usage(stack, billing, account, to="2001-01-01").data) == 0


def test_usage_is_paged(stack, billing):
    account = billing.account()
    batch = pb.gateway.UsageBatch(gateway="gw", boot="c", sequence=1, records=[
        record(account, i, f"key.{k}", stack.now_us() - d * 86400 * S, requests=1)
        for d in range(3) for i in (1, 2) for k in "ab"])
    stack.publish_event("gateway", "usage.recorded", "gw", 0, batch)
    eventually(lambda: len(usage(stack, billing, account).data) == 12)
    seen, cursor = [], ""
    while True:
        page = usage(stack, billing, account, limit=5, cursor=cursor)
        seen += [(u.day, u.instance_id, u.key_id) for u in page.data]
        if not page.page.has_more:
            break
        cursor = page.page.next_cursor
    assert len(seen) == len(set(seen)) == 12
    assert seen == sorted(seen, key=lambda r: (-int(r[0].replace("-", "")), r[1], r[2]))


def test_usage_refuses_bad_dates(stack, billing, refused):
    account = billing.account()
    assert refused(usage, stack, billing, account, to="yesterday").param == "to"
    assert refused(usage, stack, billing, account, **{"from": "2026-13-01"}).param == "from"
    assert refused(usage, stack, billing, account, **{"from": "2026-02-02", "to": "2026-02-01"}).param == "from"
