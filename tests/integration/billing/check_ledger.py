#!/usr/bin/env python3
"""Checks billing's ledger against its own rules, independently: SQL reads only, and every rule is written a second time here.

    check_ledger.py --database "host=... dbname=ecolink user=..." [--evidence FILE | --scheduler]

  1  every ledger transaction has entries and sums to zero; so do all entries together
  2  per account: sequence 1..n without a gap, balance_after exact at every row, hash chain intact, wallet = last row
  3  held money: the wallet's held = open holds = the account's share of the platform account `platform:held`
  4  each hold: booked once, charge <= hold, charge + refund = hold, and never ended without its rows
  5  charge = R(seconds through the cycle) - R(seconds before), capped by the hold
  6  with --evidence ({instance: {"stop", "intervals"}}) or --scheduler (its own tables): charged seconds = uptime recomputed
     second by second, and over the whole life of a stopped instance nothing is left out
Prints one line per failure and a summary; exit status 1 when anything is wrong.
"""

import argparse
import collections
import hashlib
import json
import sys

import psycopg2

HELD, REVENUE = "platform:held", "platform:revenue"
SECOND = 1_000_000


class Check:
    def __init__(self):
        self.failures, self.looked_at = [], collections.Counter()

    def that(self, condition, text):
        if not condition:
            self.failures.append(text)


def rounded_charge(seconds, rate, gpus):
    """Round half up of seconds x rate x gpus / 3600."""
    return (2 * seconds * rate * gpus + 3600) // 7200


def check_transactions(check, entries, transactions):
    sums, counts = collections.Counter(), collections.Counter()
    for e in entries:
        sums[e["transaction_id"]] += e["amount_micros"]
        counts[e["transaction_id"]] += 1
    for t in transactions.values():
        check.looked_at["transactions"] += 1
        check.that(counts[t["id"]] >= 2, f"transaction {t['key']}: {counts[t['id']]} entries")
        check.that(sums[t["id"]] == 0, f"transaction {t['key']}: sums to {sums[t['id']]}")
    check.that(sum(sums.values()) == 0, "the whole ledger does not sum to zero")


def row_hash(previous, e, key):
    text = "\n".join(str(x) for x in (
        "ecolink-ledger-1", e["account_id"], e["sequence"], e["id"], key, e["type"], e["amount_micros"],
        e["balance_after_micros"], e["instance_id"] or 0, e["created_at_us"], e["description"]))
    return hashlib.sha256(previous + text.encode()).digest()


def check_chain(check, account, rows, transactions):
    name, balance, head = account["id"], 0, bytes(32)
    for n, e in enumerate(rows, 1):
        check.looked_at["customer rows"] += 1
        balance += e["amount_micros"]
        where = f"{name} row {e['sequence']}"
        check.that(e["sequence"] == n, f"{where}: expected sequence {n}")
        check.that(e["balance_after_micros"] == balance, f"{where}: balance_after {e['balance_after_micros']}, is {balance}")
        check.that(balance >= 0, f"{where}: negative balance {balance}")
        check.that(bytes(e["previous_hash"]) == head, f"{where}: previous hash breaks the chain")
        head = row_hash(head, e, transactions[e["transaction_id"]]["key"])
        check.that(bytes(e["hash"]) == head, f"{where}: hash does not match the row")
    check.that(account["sequence"] == len(rows), f"{name}: wallet says sequence {account['sequence']} of {len(rows)}")
    check.that(account["available_micros"] == balance, f"{name}: wallet {account['available_micros']}, ledger {balance}")
    check.that(bytes(account["chain_head"]) == head, f"{name}: wallet's chain head is not the last row's")


def check_held(check, accounts, entries, holds):
    open_holds, booked = collections.Counter(), collections.Counter()
    owner = {e["transaction_id"]: e["account_id"] for e in entries if e["sequence"] is not None}
    for h in holds:
        if h["status"] in ("open", "partial"):
            open_holds[h["account_id"]] += h["amount_micros"]
    for e in entries:
        if e["account_id"] == HELD:
            check.that(e["transaction_id"] in owner, f"transaction {e['transaction_id']} books held money of nobody")
            booked[owner.get(e["transaction_id"])] += e["amount_micros"]
    for name, a in accounts.items():
        check.that(a["held_micros"] == open_holds[name], f"{name}: held {a['held_micros']}, open holds {open_holds[name]}")
        check.that(booked[name] == open_holds[name], f"{name}: booked as held {booked[name]}, open holds {open_holds[name]}")


def amounts_by_key(entries, transactions):
    """{transaction key: {customer row type: amount}}."""
    out = collections.defaultdict(dict)
    for e in entries:
        if e["sequence"] is not None:
            out[transactions[e["transaction_id"]]["key"]][e["type"]] = e["amount_micros"]
    return out


def check_hold_rows(check, h, rows):
    """Rows that must exist for a hold in its status, and no others."""
    name, amount, charge = f"{h['instance_id']}:{h['cycle']}", h["amount_micros"], h["charged_micros"]
    settled = {"hold_release": charge, "gpu_usage": -charge, "refund": amount - charge}
    expected = {
        f"hold:{name}": {"hold": -amount} if h["status"] != "refused" else {},
        f"settle:{name}": settled if h["status"] == "settled" else {},
        f"close:{name}": {"refund": amount} if h["status"] == "closed" else {},
    }
    for key, want in expected.items():
        want = {k: v for k, v in want.items() if v != 0}
        check.that(rows.get(key, {}) == want, f"{key}: rows {rows.get(key, {})}, expected {want}")
    check.that(0 <= charge <= amount, f"hold {name}: charge {charge} of {amount}")


def ready_seconds(evidence, begin_us, end_us):
    """Replica-seconds of whole epoch seconds in [begin, end) that one Ready interval covers completely."""
    if evidence["stop"]:
        end_us = min(end_us, evidence["stop"])
    seconds = collections.defaultdict(set)
    for replica, start, end in evidence["intervals"]:
        start, end = max(start, begin_us), min(end or end_us, end_us)
        seconds[replica].update(range(-(-start // SECOND), end // SECOND))
    return sum(len(s) for s in seconds.values())


def check_charges(check, instance, holds, evidence):
    through, until = 0, None
    for h in sorted(holds, key=lambda h: h["cycle"]):
        name = f"{h['instance_id']}:{h['cycle']}"
        if h["status"] != "settled":
            continue
        check.looked_at["settlements"] += 1
        rate, gpus = instance["rate_micros_per_gpu_hour"], instance["gpu_count"]
        exact = rounded_charge(through + h["charged_seconds"], rate, gpus) - rounded_charge(through, rate, gpus)
        through += h["charged_seconds"]
        check.that(h["charged_micros"] == min(exact, h["amount_micros"]),
                   f"hold {name}: charged {h['charged_micros']} for {h['charged_seconds']} s, expected {exact}")
        check.that(until in (None, h["charged_from_us"]), f"hold {name}: charges from {h['charged_from_us']}, not {until}")
        until = h["charged_until_us"]
        if evidence is not None:
            check.looked_at["recomputed uptimes"] += 1
            seconds = ready_seconds(evidence, h["charged_from_us"], h["charged_until_us"])
            check.that(seconds == h["charged_seconds"], f"hold {name}: {h['charged_seconds']} s charged, evidence {seconds} s")
    last = max(holds, key=lambda h: h["cycle"])
    if evidence is not None and last["status"] == "settled":  # it stopped, and not for want of credit: nothing is left out
        ends = [end for _, _, end in evidence["intervals"]]
        first = min(h["charged_from_us"] for h in holds if h["status"] == "settled")
        whole = ready_seconds(evidence, first, max(ends, default=0))
        check.that(through == whole, f"instance {instance['id']}: {through} s charged in its life, evidence {whole} s")
    check.that(instance["seconds_settled"] == through,
               f"instance {instance['id']}: {instance['seconds_settled']} s settled, its holds say {through} s")


def load(connection, table, order):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM billing.{table} ORDER BY {order}")
        names = [c.name for c in cursor.description]
        return [dict(zip(names, (bytes(x) if isinstance(x, memoryview) else x for x in row))) for row in cursor.fetchall()]


def scheduler_evidence(connection):
    """Ready intervals and ends of charging from the scheduler's own tables."""
    out = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, charge_end_us FROM scheduler.instances")
        for instance, stop in cursor.fetchall():
            out[str(instance)] = {"stop": stop or 0, "intervals": []}
        cursor.execute("SELECT instance_id, replica_id, started_at_us, ended_at_us FROM scheduler.ready_intervals")
        for instance, *interval in cursor.fetchall():
            out[str(instance)]["intervals"].append(interval)
    return out


def read(connection, evidence, ask_scheduler=False):
    """All rows that are judged, in one snapshot."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return {
            "evidence": scheduler_evidence(connection) if ask_scheduler else evidence,
            "transactions": load(connection, "ledger_transactions", "id"),
            "entries": load(connection, "ledger_entries", "transaction_id, position"),
            "accounts": load(connection, "accounts", "id"),
            "holds": load(connection, "holds", "instance_id, cycle"),
            "instances": load(connection, "instances", "id"),
        }
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")


def judge(books):
    """What is wrong with the rows that `read` found."""
    check = Check()
    entries, holds, evidence = books["entries"], books["holds"], books["evidence"]
    transactions = {t["id"]: t for t in books["transactions"]}
    accounts = {a["id"]: a for a in books["accounts"]}
    instances = {i["id"]: i for i in books["instances"]}

    check_transactions(check, entries, transactions)
    rows = collections.defaultdict(list)
    for e in entries:
        if e["sequence"] is not None:
            rows[e["account_id"]].append(e)
    check.that(set(rows) <= set(accounts), f"rows of unknown accounts: {set(rows) - set(accounts)}")
    for name, a in accounts.items():
        check_chain(check, a, sorted(rows[name], key=lambda e: e["sequence"]), transactions)
    check_held(check, accounts, entries, holds)
    by_key, by_instance = amounts_by_key(entries, transactions), collections.defaultdict(list)
    for h in holds:
        check.looked_at["holds"] += 1
        check_hold_rows(check, h, by_key)
        by_instance[h["instance_id"]].append(h)
    for name, own in by_instance.items():
        check_charges(check, instances[name], own, (evidence or {}).get(str(name)))
    revenue = sum(e["amount_micros"] for e in entries if e["account_id"] == REVENUE)
    charged = sum(h["charged_micros"] for h in holds)
    check.that(revenue == charged, f"revenue {revenue}, holds charged {charged}")
    return check


def run(connection, evidence, ask_scheduler=False):
    return judge(read(connection, evidence, ask_scheduler))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="libpq connection string of a role that may read schema billing")
    parser.add_argument("--evidence", help="JSON file: {instance: {stop, intervals: [[replica, start, end]]}}, microseconds")
    parser.add_argument("--scheduler", action="store_true", help="take the evidence from schema scheduler")
    options = parser.parse_args()
    evidence = None
    if options.evidence:
        with open(options.evidence, encoding="utf-8") as f:
            evidence = json.load(f)
    check = run(psycopg2.connect(options.database), evidence, options.scheduler)
    for failure in check.failures:
        print("WRONG", failure)
    print("ledger:", ", ".join(f"{n} {what}" for what, n in check.looked_at.items()), f"- {len(check.failures)} wrong")
    return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
