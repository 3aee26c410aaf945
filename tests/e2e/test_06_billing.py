"""Money (product description, section 6). What needs the business clock is in test_07_time.py."""
import pytest
from eco.waiting import wait

H = 76_800_000  # 1.60 x 1 GPU x 2 replicas x 24 h


def charge(seconds, rate=1_600_000, gpus=1):
    return (2 * seconds * rate * gpus + 3600) // 7200


def check_ledger(client):
    """balance_after is exact at every row; nothing was lost or made."""
    running = 0
    rows = client.ledger()
    assert [r["sequence"] for r in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        running += row["amount_micros"]
        assert row["balance_after_micros"] == running, row
        assert row["object"] == "transaction" and row["description"] and row["created_at"] and row["amount"]
    assert client.balance()["available_micros"] == running
    return rows


def test_the_hold_is_taken_at_launch_and_reserved_not_spent(tenant):
    """[D] 6: `hold = hourly_rate x gpu_count x total_replicas x 24`, taken from the available balance at once; reserved, not spent"""
    instance = tenant.launch(tenant.hf_model(), gpu_type="l40s")
    assert instance["hold_micros"] == H and instance["hold"] == "76.80" and instance["hourly_rate_micros"] == 1_600_000
    balance = tenant.balance()
    assert (balance["available_micros"], balance["held_micros"]) == (1_000_000_000 - H, H)
    rows = check_ledger(tenant)
    assert [(r["type"], r["amount"]) for r in rows] == [("topup", "1000.00"), ("hold", "-76.80")]
    assert rows[1]["instance_id"] == instance["id"]


@pytest.mark.parametrize("gpus", [1, 3])
def test_the_hold_grows_with_the_gpu_count(tenant, gpus):
    """[D] 6: hold = hourly_rate x gpu_count x total_replicas x 24"""
    assert tenant.launch(tenant.hf_model(), gpu_type="l40s", gpu_count=gpus)["hold_micros"] == H * gpus


def test_a_launch_below_the_hold_fails_with_402_and_the_amounts(tenants):
    """[D] 6: below it the launch fails with 402"""
    poor = tenants("76.79")
    error = poor.refused("POST", "/inference-instances", 402, "insufficient_balance",
                         json={"model_id": poor.hf_model()["id"], "engine": "simulator", "gpu_type": "l40s"})
    assert "76.80" in error["message"] and "76.79" in error["message"]
    assert poor.ok("GET", "/inference-instances")["data"] == []
    assert [r["type"] for r in check_ledger(poor)] == ["topup"]
    exact = tenants("76.80")
    exact.launch(exact.hf_model(), gpu_type="l40s")
    assert exact.balance()["available_micros"] == 0


def test_what_was_not_used_comes_back_when_it_is_stopped(stack, tenant):
    """[D] 6: Settlement: `hold_release` +c, `gpu_usage` -c, `refund` +(H-c); with the hold they sum to -c"""
    instance = tenant.run(tenant.hf_model(), gpu_type="l40s")
    stack.wait_proved(2)
    tenant.stop(instance["id"])
    rows = tenant.settled(instance["id"])
    cost = -sum(r["amount_micros"] for r in rows)
    assert 0 < cost < charge(120) and cost in {charge(s) for s in range(121)}, cost  # whole replica-seconds at the pinned price
    assert [(r["type"], r["amount_micros"]) for r in rows] == [
        ("hold", -H), ("hold_release", cost), ("gpu_usage", -cost), ("refund", H - cost)]
    check_ledger(tenant)
    wait(lambda: tenant.instance(instance["id"])["hold_micros"] in (0, None), "the scheduler to hear that the hold has ended", 10)


def test_a_replica_that_is_not_ready_is_not_charged(stack, tenant):
    """Uptime is metered per replica over its Ready intervals: a replica that is down is not charged"""
    instance = tenant.launch(tenant.hf_model(), gpu_type="l40s", args=["--start-delay-ms", "600000"])
    tenant.wait_status(instance["id"], "provisioning")
    tenant.stop(instance["id"])
    rows = tenant.settled(instance["id"])
    assert [(r["type"], r["amount_micros"]) for r in rows] == [("hold", -H), ("refund", H)]  # rows of zero are not written
    check_ledger(tenant)


def test_the_balance_tells_what_burns_and_for_how_long(tenant):
    """balance: available, held_micros, burn_rate_micros_per_hour, runway_seconds"""
    assert tenant.balance().get("runway_seconds") is None
    instance = tenant.run(tenant.hf_model(), gpu_type="l40s")
    wait(lambda: tenant.balance()["burn_rate_micros_per_hour"] == 3_200_000, "the burn rate")
    runway = tenant.balance()["runway_seconds"]
    assert 1_000_000_000 * 3600 // 3_200_000 - 120 <= runway <= 1_000_000_000 * 3600 // 3_200_000
    assert tenant.instance(instance["id"])["burn_rate_micros_per_hour"] == 3_200_000


def test_the_ledger_comes_as_csv_too(tenant):
    """[D] 6: Ledger rows: each with date, type, amount, balance after, description"""
    tenant.launch(tenant.hf_model(), gpu_type="l40s")
    answer = tenant.get("/billing/transactions", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv"), answer.headers
    lines = answer.text.splitlines()
    assert len(lines) == 3 and "amount" in lines[0] and "balance_after" in lines[0] and any("-76.80" in x for x in lines)


def test_the_price_is_fixed_at_launch_for_the_instances_life(stack, tenant):
    """The price belongs to the GPU type and is fixed at launch for the instance's life"""
    stack.admin.ok("PUT", "/admin/gpu-types/priced", json={"description": "x", "memory_gb": 1, "hourly_rate": "2.00"})
    regions = stack.admin.ok("GET", "/admin/regions")["data"]
    for r in regions:
        gpus = [{"gpu_type": g["gpu_type"], "total": g["total"]} for g in r["gpus"] if g["gpu_type"] != "priced"]
        stack.admin.ok("PUT", f"/admin/regions/{r['name']}", json={"driver": r["driver"], "gpus": gpus + [{"gpu_type": "priced", "total": 4}]})
    model = tenant.hf_model()
    instance = tenant.launch(model, gpu_type="priced")
    stack.admin.ok("PUT", "/admin/gpu-types/priced", json={"description": "x", "memory_gb": 1, "hourly_rate": "3.00"})
    assert tenant.instance(instance["id"])["hourly_rate"] == "2.00"
    assert tenant.launch(model, gpu_type="priced")["hourly_rate"] == "3.00"


def test_a_correction_needs_another_operator(stack, operator, tenant):
    """[D] 6: `admin_correction` (+-); corrections (approved by another operator)"""
    correction = stack.admin.ok("POST", f"/admin/accounts/{tenant.account_id}/corrections", 201, json={"amount": "-10.50", "reason": "wrong top-up"})
    assert stack.admin.post(f"/admin/corrections/{correction['id']}/approve").status_code in (403, 409)
    assert tenant.balance()["available"] == "1000.00"
    operator.ok("POST", f"/admin/corrections/{correction['id']}/approve")
    assert tenant.balance()["available"] == "989.50"
    assert check_ledger(tenant)[-1]["type"] == "admin_correction"


def test_calls_to_own_instances_are_metered_at_price_zero(stack, tenant):
    """[D] 6: Calls to own instances are metered (requests, tokens) at price zero by default"""
    instance = tenant.run(tenant.hf_model())
    for n in range(3):
        assert tenant.chat(instance["model"], max_tokens=7).status_code == 200
    list(tenant.chat(instance["model"], stream=True, max_tokens=9, stream_options={"include_usage": True}).iter_lines())

    def metered():
        rows = [r for r in tenant.ok("GET", "/billing/usage")["data"] if r["instance_id"] == instance["id"]]
        total = {k: sum(int(r[k]) for r in rows) for k in ("requests", "completion_tokens", "prompt_tokens")} if rows else {}
        assert rows and total["requests"] >= 5, rows
        return total
    total = wait(metered, "the usage", 20)
    calls = total["requests"]
    assert total["completion_tokens"] == 3 * 7 + 9 + (calls - 4) * 16, total  # the fixture's own call to wait for the route: 16
    assert [r["type"] for r in tenant.ledger()] == ["topup", "hold"]


def test_a_topup_is_booked_once_for_one_idempotency_key(stack, tenant):
    """[D] 6: Ledger rows: `topup`"""
    for _ in range(3):
        stack.admin.ok("POST", f"/admin/accounts/{tenant.account_id}/topups", 201, json={"amount": "5.00", "description": "x"},
                       headers={"Idempotency-Key": tenant.account_id})
    assert tenant.balance()["available"] == "1005.00"
    check_ledger(tenant)
