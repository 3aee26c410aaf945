"""What billing's integration tests share: short words for its RPCs, and a stand-in for the scheduler's meter."""

import itertools
import json
import os
import secrets
import subprocess
import sys
import threading

from ecotest import pb
from ecotest.stack import eventually

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
USD = 1_000_000
S = 1_000_000
RUNNING, STOPPING, STOPPED, FAILED = (pb.scheduler.INSTANCE_STATUS_RUNNING, pb.scheduler.INSTANCE_STATUS_STOPPING,
                                      pb.scheduler.INSTANCE_STATUS_STOPPED, pb.scheduler.INSTANCE_STATUS_FAILED)
_instances = itertools.count(100)


class Meter:
    """Stands in for scheduler.ReadMeter: it answers what the test told it. The watermark is now unless the test froze it."""

    def __init__(self, stack):
        self._stack, self._readings, self.calls = stack, {}, 0
        self.watermark_us = None
        self.page = 0  # at most so many intervals in an answer; 0: all
        self.lock = threading.RLock()  # for a test that changes a reading and must not contradict a watermark told before
        self.told_us = 0
        self.begin()

    def begin(self):
        self._end = self._stack.serve("scheduler", {"ReadMeter": (pb.scheduler.ReadMeterRequest, self._read)})

    def _read(self, request):
        with self.lock:
            self.calls += 1
            watermark = self.watermark_us or self._stack.now_us()
            self.told_us = max(self.told_us, watermark)
            out = pb.scheduler.ReadMeterResponse()
            for q in request.queries:
                r = out.readings.add()
                if q.instance_id in self._readings:
                    r.CopyFrom(self._readings[q.instance_id])
                    r.observed_until_us = watermark
                r.instance_id = q.instance_id
            if self.page:
                self._cut(request, out)
            return out

    def _cut(self, request, out):
        room = self.page
        for q, r in zip(request.queries, out.readings):
            told = sorted((v for v in r.intervals if not v.ended_at_us or v.ended_at_us > q.from_us),
                          key=lambda v: (v.started_at_us, v.replica_id))
            del r.intervals[:]
            r.intervals.extend(told[:room])
            if len(told) > room:
                r.next_from_us = max(told[room].started_at_us, q.from_us)
            room -= len(r.intervals)

    def now_us(self):
        """An instant that contradicts nothing told before; for use under the lock."""
        return max(self._stack.now_us(), self.told_us)

    def set(self, instance, status=RUNNING, intervals=(), stop_us=0, complete=False):
        r = pb.scheduler.MeterReading(instance_id=instance, known=True, status=status, stop_requested_at_us=stop_us,
                                      complete=complete)
        for replica, start, end in intervals:
            r.intervals.add(replica_id=replica, region=f"r{replica}", run_id=f"run-{replica}-{start}", started_at_us=start,
                            ended_at_us=end)
        self._readings[instance] = r

    def forget(self, instance):
        self._readings.pop(instance, None)

    def evidence(self):
        """{instance: {"stop": us, "intervals": [[replica, start, end], ...]}} for check_ledger.py."""
        return {i: {"stop": r.stop_requested_at_us,
                    "intervals": [[v.replica_id, v.started_at_us, v.ended_at_us] for v in r.intervals]}
                for i, r in self._readings.items()}

    def end(self):
        self._end()


class Billing:
    def __init__(self, stack, meter):
        self.stack, self.meter = stack, meter
        self.service = None
        self.timeout = 10  # of a call, seconds
        self._versions = {}

    def start(self, **settings):
        settings = {"TICK_MS": 50, "RECONCILE_S": 1, "EVIDENCE_WAIT_S": 30, "NOTICE_TICK_MS": 100, "LEASE_TTL_MS": 600,
                    **settings}
        self.service = self.stack.start("billing", **settings)
        return self.service

    # ---- who ----
    def account(self, balance_usd=0):
        """A new account as the registry tells of it, with a balance in dollars."""
        account = "acc_" + "".join(secrets.choice(ALPHABET) for _ in range(26))
        self.stack.publish_event("registry", "account.created", account, 1, pb.registry.Account(id=account, name="Acme"))
        eventually(lambda: self.stack.sql("SELECT 1 FROM billing.accounts WHERE id = %s", account))
        if balance_usd:
            self.top_up(account, balance_usd)
        return account

    def owner(self, account):
        return pb.common.Caller(role=pb.common.ROLE_OWNER, account_id=account, key_id="key_owner")

    # ---- calls ----
    def top_up(self, account, usd, key="", operator="op_ada"):
        request = pb.billing.TopUpRequest(account_id=account, amount=pb.common.Money(micros=round(usd * USD)))
        return self.stack.rpc("billing.TopUp", request, pb.billing.Transaction, caller=self.stack.operator(operator),
                              idempotency_key=key, timeout=self.timeout)

    def place(self, account, instance=None, rate_usd=1.60, gpus=1, replicas=2, cycle=1):
        instance = instance or next(_instances)
        request = pb.billing.PlaceHoldRequest(
            account_id=account, instance_id=instance, cycle=cycle, rate_micros_per_gpu_hour=round(rate_usd * USD),
            gpu_count=gpus, total_replicas=replicas, description=f"my-llama:{instance}")
        return self.stack.rpc("billing.PlaceHold", request, pb.billing.PlaceHoldResponse,
                              timeout=self.timeout).hold

    def close(self, account, instance, cycle=1):
        request = pb.billing.CloseHoldRequest(account_id=account, instance_id=instance, cycle=cycle)
        return self.stack.rpc("billing.CloseHold", request, pb.billing.CloseHoldResponse).hold

    def balance(self, account):
        return self.stack.rpc("billing.GetBalance", pb.billing.GetBalanceRequest(), pb.billing.Balance,
                              caller=self.owner(account))

    def transactions(self, account, **query):
        return self.stack.rpc("billing.ListTransactions", pb.billing.ListTransactionsRequest(**query),
                              pb.billing.TransactionList, caller=self.owner(account))

    def rows(self, account):
        """(type, dollars, balance after) of every ledger row, oldest first."""
        listed = self.transactions(account, limit=1000).data
        return [(pb.billing.TransactionType.Name(t.type)[len("TRANSACTION_TYPE_"):].lower(), t.amount.micros / USD,
                 t.balance_after.micros / USD) for t in reversed(listed)]

    def notices(self, account):
        return self.stack.rpc("billing.ListNotices", pb.billing.ListNoticesRequest(), pb.billing.NoticeList,
                              caller=self.owner(account)).data

    # ---- the scheduler's word ----
    def tell_instance(self, account, instance, status, ready=2, total=2):
        """Publishes the scheduler's event about an instance."""
        version = self._versions[instance] = self._versions.get(instance, 0) + 1
        state = pb.scheduler.InstanceState(instance=pb.scheduler.Instance(
            id=instance, account_id=account, model=f"my-llama:{instance}", status=status, gpu_count=1, total_replicas=total,
            ready_replicas=ready))
        self.stack.publish_event("scheduler", "instance.changed", str(instance), version, state)

    def run(self, account, **terms):
        """Places a hold and has every replica Ready from the next whole second on. Returns (hold, that instant)."""
        hold = self.place(account, **terms)
        start = -(-hold.started_at_us // S) * S
        replicas = terms.get("replicas", 2)
        self.meter.set(hold.instance_id, RUNNING, [(r + 1, start, 0) for r in range(replicas)])
        self.tell_instance(account, hold.instance_id, RUNNING, replicas, replicas)
        return hold, start

    def stop(self, account, instance, start, at_us, replicas=2):
        """The scheduler stopped the instance at an instant; its evidence is complete."""
        self.meter.set(instance, STOPPED, [(r + 1, start, at_us) for r in range(replicas)], at_us, True)
        self.tell_instance(account, instance, STOPPED, 0, replicas)

    # ---- the table ----
    def holds(self, instance):
        return self.stack.sql(
            "SELECT cycle, status, amount_micros, charged_micros, charged_seconds, started_at_us, expires_at_us"
            " FROM billing.holds WHERE instance_id = %s ORDER BY cycle", instance)

    def statuses(self, instance):
        return [h[1] for h in self.holds(instance)]

    def check_ledger(self):
        """Against the stand-in's evidence, or the real scheduler's tables where there is no stand-in."""
        options = ["--scheduler"]
        if self.meter is not None:
            path = os.path.join(self.stack.dir, "evidence.json")
            with open(path, "w", encoding="utf-8") as f:
                json.dump(self.meter.evidence(), f)
            options = ["--evidence", path]
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "check_ledger.py")
        url = self.stack.pg.url("postgres", self.stack.database)
        done = subprocess.run([sys.executable, script, "--database", url, *options], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
