"""The world checker can fail: a healthy world pleases it, and each kind of damage, done on purpose to a copy of one, is reported."""
import copy

import pytest
import world as w


@pytest.fixture(scope="module")
def healthy(lab, tenants):
    """A world with one running, one stopped and one degraded-and-healed instance, a revoked key and several settlements."""
    lab.heal()
    tenant = tenants.new()
    tenant.running()
    stopped = tenant.running()
    lab.wait_proved(2)
    tenant.want_stop(stopped["id"]).ok(200)
    key = tenant.want_key().ok()
    tenant.want("DELETE", f"/api-keys/{key['id']}").ok(200)
    tenant.wait_status(stopped["id"], "stopped")
    return w.settle(lab, tenants.call)


def test_a_healthy_world_has_nothing_wrong_with_it(healthy):
    assert w.judge(healthy) == []


def live(x):
    return next(i for i in x["instances"] if i["status"] == w.RUNNING)


def ended(x):
    paid = {h["instance_id"] for h in x["books"]["holds"] if h["charged_seconds"] > 1}
    return next(i for i in x["instances"] if i["status"] == w.STOPPED and i["id"] in paid)


def replica_of(x, instance):
    return next(r for r in x["replicas"] if r["instance_id"] == instance["id"])


def name(x):
    return w.name_of(replica_of(x, live(x)))


def tombstone(bucket, key):
    bucket[key] = (bucket[key][0] + 1, True, b"")


def raise_amount(x, kind):
    row = next(e for e in x["books"]["entries"] if e["type"] == kind)
    row["amount_micros"] += 1


def book_twice(x):
    rows = [dict(e) for e in x["books"]["entries"] if e["type"] == "refund"]
    x["books"]["entries"].append(rows[0] | {"sequence": 99, "id": "txn_twice"})


def settle_again(x):
    hold = next(h for h in x["books"]["holds"] if h["status"] == "settled")
    x["books"]["holds"].append(hold | {"cycle": hold["cycle"] + 1})


def hide_uptime(x):
    evidence = x["books"]["evidence"][str(ended(x)["id"])]
    evidence["intervals"] = []


def route(x, **changes):
    key = str(live(x)["id"])
    version, deleted, value = x["buckets"]["routes"][key]
    entry = w.pb.scheduler.RouteEntry.FromString(value)
    del entry.replicas[changes.pop("drop", 99):]
    for field, value in changes.items():
        setattr(entry, field, value)
    x["buckets"]["routes"][key] = (version, deleted, entry.SerializeToString())


DAMAGES = {
    "a process that died": (lambda x: x["processes"].pop(name(x)), "Ready with 0 processes"),
    "a process too many": (lambda x: x["processes"][name(x)].append((1, 1)), "2 processes"),
    "another process in its place": (lambda x: x["processes"].update({name(x): [(1, 1)]}), "is written down"),
    "a process of a stopped instance": (lambda x: x["processes"].update({f"{ended(x)['id']}-1": [(1, 1)]}), "should not run"),
    "a process of nobody": (lambda x: x["processes"].update({"999-1": [(1, 1)]}), "should not run"),
    "a pid file left behind": (lambda x: x["pid_files"].update({f"{ended(x)['id']}-1": 1}), "pid file"),
    "a pid file of another": (lambda x: x["pid_files"].update({name(x): 1}), "names another process"),
    "a launch without an answer": (lambda x: live(x).update(launch_state="open"), "launch still open"),
    "a stop that never ends": (lambda x: live(x).update(status=w.STOPPING), "still stopping"),
    "running without a Ready replica": (lambda x: [r.update(ready=False) for r in x["replicas"]], "0 Ready"),
    "a Ready replica of a stopped instance": (lambda x: replica_of(x, ended(x)).update(ready=True), "ended with 1 Ready"),
    "a reservation lost": (lambda x: [r.update(reserved=0) for r in x["rooms"]], "0 reserved"),
    "a reservation too many": (lambda x: x["rooms"][0].update(reserved=x["rooms"][0]["reserved"] + 1), "reserved, replicas take"),
    "a reservation of a stopped instance": (lambda x: replica_of(x, ended(x)).update(reserved=True), "reserved True"),
    "an interval that stays open": (lambda x: replica_of(x, live(x)).update(run_id="1-1"), "is open, the replica is not Ready in it"),
    "a Ready replica without evidence": (lambda x: x["intervals"].clear(), "without an open interval"),
    "a live instance without a hold": (lambda x: [h.update(status="closed") for h in x["holds"]], "open holds []"),
    "a stopped instance with a hold": (lambda x: x["holds"].append({"instance_id": ended(x)["id"], "cycle": 9, "status": "open"}), "has open holds [9]"),
    "a hold of nobody": (lambda x: x["holds"].append({"instance_id": 999, "cycle": 1, "status": "open"}), "does not know"),
    "an instance that billing missed": (lambda x: x["billed"].clear(), "unknown to billing"),
    "a stop that billing missed": (lambda x: next(b for b in x["billed"] if b["id"] == ended(x)["id"]).update(status=3), "billing knows 3"),
    "a charge changed": (lambda x: raise_amount(x, "gpu_usage"), "sums to"),
    "a top-up changed": (lambda x: raise_amount(x, "topup"), "hash does not match"),
    "a refund booked twice": (book_twice, "ledger:"),
    "a settlement done twice": (settle_again, "ledger:"),
    "a wallet beside its rows": (lambda x: x["books"]["accounts"][-1].update(available_micros=5), "wallet 5, ledger"),
    "uptime charged without evidence": (hide_uptime, "evidence"),
    "a row that is missing": (lambda x: x["books"]["entries"].remove(next(e for e in x["books"]["entries"] if e["type"] == "hold")), "ledger:"),
    "a route that is missing": (lambda x: tombstone(x["buckets"]["routes"], str(live(x)["id"])), "bucket routes lacks"),
    "a route of a stopped instance": (lambda x: x["buckets"]["routes"].update({str(ended(x)["id"]): (1, False, b"")}), "should not be there"),
    "a route without a replica": (lambda x: route(x, drop=1), "Ready are"),
    "a route of another account": (lambda x: route(x, account_id="acc_other"), "it tells"),
    "an old route": (lambda x: live(x).update(version=live(x)["version"] + 1), "the table has"),
    "a bucket never whole": (lambda x: x["buckets"]["routes"].pop("_generation"), "no generation"),
    "a key that is missing": (lambda x: tombstone(x["buckets"]["keys"], next(k["sha256_hex"] for k in x["keys"] if not k["revoked_at_us"])), "bucket keys lacks"),
    "a revoked key that is good": (lambda x: next(k for k in x["keys"] if not k["revoked_at_us"]).update(revoked_at_us=1), "its entry is good"),
    "a standing that is old": (lambda x: x["wallets"][0].update(version=1), "the wallet has"),
    "an account without a wallet": (lambda x: x["accounts"].append({"id": "acc_poor"}), "no wallet"),
    "a Ready replica that nobody probes": (lambda x: x["targets"].clear(), "not probed"),
    "a probe of the dead": (lambda x: x["targets"].append(dict(x["targets"][0], instance_id=999, probed=True)), "probed and not Ready"),
    "an outbox that is stuck": (lambda x: x["outbox"]["billing"].append({"seq": 1}), "not drained"),
    "a dead letter": (lambda x: x["dead_letters"]["registry"].append({"id": "evt_x"}), "dead letters of registry"),
    "a model without a pin": (lambda x: x["pins"].clear(), "without a pin"),
    "a pin of the dead": (lambda x: x["pins"].append({"instance_id": ended(x)["id"]}), "which do not live"),
    "a gateway that does not answer": (lambda x: x["gateway"].update({live(x)["id"]: (503, None)}), "answers 503"),
    "a gateway that answers from elsewhere": (lambda x: x["gateway"].update({live(x)["id"]: (200, "mars")}), "'mars'"),
    "a gateway that serves the dead": (lambda x: x["gateway"].update({ended(x)["id"]: (200, "us-east")}), "which has ended"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checker_reports(healthy, damage):
    spoil, words = DAMAGES[damage]
    spoiled = copy.deepcopy(healthy)
    spoil(spoiled)
    found = w.judge(spoiled)
    assert any(words in complaint for complaint in found), found


def test_every_judge_has_a_damage_that_it_alone_reports(healthy):
    """No part of the checker is dead: without it some damage would pass."""
    needed = set()
    for spoil, words in DAMAGES.values():
        spoiled = copy.deepcopy(healthy)
        spoil(spoiled)
        reporters = []
        for one in w.JUDGES:
            complaints = w.Complaints()
            one(spoiled, complaints)
            if any(words in c for c in complaints):
                reporters.append(one)
        assert reporters
        needed.update(reporters if len(reporters) == 1 else [])
    assert needed == set(w.JUDGES)
