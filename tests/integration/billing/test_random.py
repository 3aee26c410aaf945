"""Random lives of several customers: launches, stops, replicas that come and go, top-ups, a lagging meter, a clock that jumps,
kill -9 in between. After each seed the independent check finds every cent, and nothing is left held."""

import random

import pytest
from billing_world import FAILED, RUNNING, STOPPED
from ecotest.stack import NoAnswer, RpcError, eventually

HOUR = 3600


class Life:
    """One running instance: its Ready intervals as [replica, start, end]."""

    def __init__(self, account, hold, replicas):
        self.account, self.instance, self.replicas = account, hold.instance_id, replicas
        self.earliest, self.intervals = hold.started_at_us, []


class Chaos:
    def __init__(self, stack, billing, seed):
        self.stack, self.billing, self.meter, self.random = stack, billing, billing.meter, random.Random(seed)
        self.accounts = [billing.account(self.random.choice([20, 60, 200])) for _ in range(4)]
        self.lives = []

    def tell(self, life, status=RUNNING, stop_us=0, complete=False):
        self.meter.set(life.instance, status, life.intervals, stop_us, complete)
        ready = sum(1 for v in life.intervals if v[2] == 0)
        self.billing.tell_instance(life.account, life.instance, status, ready, life.replicas)

    def launch(self):
        account, replicas = self.random.choice(self.accounts), self.random.choice([1, 2])
        try:
            hold = self.billing.place(account, rate_usd=self.random.choice([0.35, 1.6, 2.999999]), replicas=replicas,
                                      gpus=self.random.choice([1, 2]))
        except RpcError as e:
            assert e.code == "insufficient_balance"
            return
        life = Life(account, hold, replicas)
        self.lives.append(life)
        self.tell(life)

    def flip(self):
        """A replica becomes Ready, or stops being it."""
        if not self.lives:
            return
        life = self.random.choice(self.lives)
        replica = self.random.randint(1, life.replicas)
        with self.meter.lock:
            now = max(self.meter.now_us(), life.earliest)
            running = next((v for v in life.intervals if v[0] == replica and v[2] == 0), None)
            if running:
                running[2] = max(now, running[1])
            else:
                life.intervals.append([replica, now, 0])
            self.tell(life)

    def stop(self):
        if not self.lives:
            return
        life = self.lives.pop(self.random.randrange(len(self.lives)))
        with self.meter.lock:
            now = max(self.meter.now_us(), life.earliest)
            for v in life.intervals:
                v[2] = v[2] or max(now, v[1])
            failed = self.random.random() < 0.3
            self.tell(life, FAILED if failed else STOPPED, 0 if failed else now, True)

    def abandon(self):
        """A launch that the scheduler gives up: closed at once, or forgotten and found later."""
        account = self.random.choice(self.accounts)
        try:
            hold = self.billing.place(account, rate_usd=0.5, replicas=1)
        except RpcError:
            return
        if self.random.random() < 0.5:
            self.billing.close(account, hold.instance_id)

    def top_up(self):
        self.billing.top_up(self.random.choice(self.accounts), self.random.choice([0.01, 1, 7.77]))

    def jump(self):
        self.stack.advance(self.random.choice([7, 61, 599, HOUR, 3 * HOUR + 11]))

    def lag(self):
        with self.meter.lock:
            self.meter.watermark_us = None if self.meter.watermark_us else self.meter.now_us()

    def crash(self):
        self.billing.service.kill()
        self.billing.start(CYCLE_S=HOUR)

    def step(self):
        moves = [(self.launch, 5), (self.flip, 8), (self.stop, 2), (self.abandon, 1), (self.top_up, 3), (self.jump, 5),
                 (self.lag, 2), (self.crash, 1)]
        try:
            self.random.choices([m for m, _ in moves], [w for _, w in moves])[0]()
        except NoAnswer:
            pass

    def earn(self):
        """One life that certainly costs something: the random ones may all end within their first second, or unproved."""
        self.accounts.append(self.billing.account(20))
        hold = self.billing.place(self.accounts[-1], rate_usd=1.6, replicas=1)
        life = Life(self.accounts[-1], hold, 1)
        self.lives.append(life)
        life.intervals.append([1, life.earliest, 0])
        self.tell(life)
        self.stack.advance(60)

    def end(self):
        self.meter.watermark_us = None
        while self.lives:
            self.stop()
        self.stack.advance(61)  # orphans are old enough
        eventually(lambda: not self.stack.sql("SELECT 1 FROM billing.holds WHERE status IN ('open', 'partial')"), 30)


def totals(stack):
    """What the whole ledger holds, micro-dollars: (given, revenue, held, available)."""
    sums = [stack.sql("SELECT coalesce(sum(amount_micros), 0)::bigint FROM billing.ledger_entries WHERE account_id = %s", name)[0][0]
            for name in ("platform:funding", "platform:revenue")]
    held, available = stack.sql("SELECT coalesce(sum(held_micros), 0)::bigint, coalesce(sum(available_micros), 0)::bigint"
                                " FROM billing.accounts")[0]
    return (*sums, held, available)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_cent_is_lost_in_random_lives(stack, billing, seed):
    if billing.service is None:
        billing.start(CYCLE_S=HOUR)
    before = totals(stack)
    chaos = Chaos(stack, billing, seed)
    chaos.earn()
    for _ in range(60):
        chaos.step()
    chaos.end()
    report = billing.check_ledger()
    print(report)
    assert "0 wrong" in report
    given, revenue, held, available = (now - then for now, then in zip(totals(stack), before))
    assert held == 0
    assert -given == revenue + available
    assert revenue >= 58 * 1_600_000 // 3600  # the certain life's minute, less the two whole seconds that rounding may take
