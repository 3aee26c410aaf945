"""What needs days to pass (product description, sections 5 and 6): the business clock of every service is moved forward together."""
import pytest
from eco.client import Client
from eco.waiting import wait
from test_06_billing import H, charge, check_ledger

DAY = 86400


def rows_of(client, instance):
    return [r for r in client.ledger() if r.get("instance_id") == instance["id"]]


def run(tenant, **fields):
    return tenant.run(tenant.hf_model(), gpu_type="l40s", **fields)


def test_stopped_after_one_hour_about_23_hours_come_back(stack, tenant):
    """[D] 6: Stop after one hour -> about 23 hours are refunded. Example ($1.60, 1 GPU, 2 replicas, one Ready hour each): -76.80, +3.20, -3.20, +73.60"""
    instance = run(tenant)
    stack.advance(3600)
    stack.wait_proved()
    tenant.stop(instance["id"])
    rows = tenant.settled(instance["id"])
    cost = -sum(r["amount_micros"] for r in rows)
    assert cost in {charge(s) for s in range(7200 - 2, 7200 + 121)}, cost
    assert [(r["type"], r["amount_micros"]) for r in rows] == [
        ("hold", -H), ("hold_release", cost), ("gpu_usage", -cost), ("refund", H - cost)]
    check_ledger(tenant)


def test_every_24_hours_the_old_hold_is_settled_and_a_full_one_is_placed(stack, tenant):
    """[D] 6: Every 24 hours: (1) settle the old hold: actual cost charged from it, the rest refunded; (2) new hold: balance >= full -> full"""
    instance = run(tenant)
    stack.advance(DAY)
    rows = wait(lambda: (r := rows_of(tenant, instance)) and [x["type"] for x in r].count("hold") == 2 and r, "the second hold")
    cost = rows[1]["amount_micros"]
    assert H - charge(240) <= cost <= H
    expected = [("hold", -H), ("hold_release", cost), ("gpu_usage", -cost)] + ([("refund", H - cost)] if cost < H else []) + [("hold", -H)]
    assert [(r["type"], r["amount_micros"]) for r in rows] == expected
    assert tenant.balance()["held_micros"] == H
    assert tenant.instance(instance["id"])["status"] == "running"
    check_ledger(tenant)


def test_a_smaller_balance_gives_a_partial_hold_with_a_warning_then_the_instance_ends(stack, tenants):
    """[D] 6: 0 < balance < full -> partial hold of all of it and a warning notice ("$X credit can cover Y more hours. Recharge to
    continue."); 0 -> stop, pods killed, `credit_depleted`, notice "Instance terminated: credit balance depleted.\""""
    tenant = tenants("100.00")
    instance = run(tenant)
    stack.advance(DAY)
    notice = wait(lambda: next((n for n in tenant.ok("GET", "/notices")["data"] if "Recharge to continue" in n["message"]), None), "the warning")
    assert "credit can cover" in notice["message"] and "more hours" in notice["message"] and notice["severity"] == "warning"
    rows = rows_of(tenant, instance)
    partial = -rows[-1]["amount_micros"]
    assert rows[-1]["type"] == "hold" and 23_000_000 <= partial <= 25_000_000 and tenant.balance()["available_micros"] == 0
    assert f"${partial // 10_000 / 100:.2f} credit" in notice["message"], notice  # whole cents, rounded down
    assert f" {partial * 10 // 3_200_000 / 10:.1f} more" in notice["message"], notice
    assert tenant.instance(instance["id"])["status"] == "running"
    stack.advance(partial * 3600 // 3_200_000 + 5)
    end = tenant.wait_status(instance["id"], "stopped")
    assert end["termination_reason"] == "credit_depleted"
    wait(lambda: not stack.replicas(instance["id"]), "the replicas to be gone")
    wait(lambda: "Instance terminated: credit balance depleted." in tenant.get("/notices").text, "the last notice")
    wait(lambda: tenant.balance()["held_micros"] == 0, "the last settlement")
    check_ledger(tenant)
    assert tenant.balance()["available_micros"] >= 0


def test_a_topup_during_a_partial_hold_extends_it(stack, tenants):
    """a top-up during it extends it at the next tick"""
    tenant = tenants("100.00")
    instance = run(tenant)
    stack.advance(DAY)
    wait(lambda: tenant.balance()["available_micros"] == 0, "the partial hold")
    stack.topup(tenant.account_id, "500.00")
    wait(lambda: tenant.balance()["held_micros"] == H, "a full hold")
    assert tenant.instance(instance["id"])["status"] == "running"
    check_ledger(tenant)


def test_low_balance_notices_come_once_at_each_threshold(stack, tenants):
    """[D] 6: Low-balance notices at 60, 30, 20 (warning), 10, 5, 3, 1 (critical) minutes of remaining runtime"""
    tenant = tenants("76.80")
    instance = run(tenant)
    low = lambda: [n for n in tenant.ok("GET", "/notices", params={"limit": 100})["data"] if n["type"] == "low_balance"]
    assert low() == []
    passed = 0
    for count, (minutes, severity) in enumerate([(60, "warning"), (30, "warning"), (20, "warning"), (10, "critical"), (5, "critical"), (3, "critical")], 1):
        target = DAY - minutes * 60 + 20
        stack.advance(target - passed)
        passed = target
        notices = wait(lambda: (n := low()) and len(n) >= count and n, f"the notice at {minutes} minutes", 15)
        assert len(notices) == count and notices[0]["severity"] == severity, notices
    assert tenant.instance(instance["id"])["status"] == "running"


def test_a_key_expires(stack, tenant):
    """optional expiry"""
    import datetime
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=stack.offset_s)
    made = tenant.ok("POST", "/api-keys", 201, json={"name": "short", "expires_at": (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")})
    client = Client(stack.url, made["key"])
    wait(lambda: client.get("/v1/models").status_code == 200, "the key at the gateway", 5)
    stack.advance(3700)
    wait(lambda: client.get("/v1/models").status_code == 401, "its end", 5)


def test_an_invite_is_valid_for_14_days(stack, tenant):
    """[D] 5: invites are links, valid 14 days"""
    nobody = Client(stack.url, None)
    early, late = (tenant.ok("POST", "/invites", 201, json={"email": f"{w}@example.com"})["token"] for w in ("early", "late"))
    stack.advance(14 * DAY - 60)
    nobody.ok("POST", f"/invites/{early}/accept", 201)
    stack.advance(120)
    answer = nobody.post(f"/invites/{late}/accept")
    assert answer.status_code in (404, 409, 410) and "eco_" not in answer.text
