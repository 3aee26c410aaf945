"""What goes on while a service dies at a crash point: one scenario per way of life, and which one leads to which point.

A scenario is a function of (Stage). It first brings about what it needs, then arms the point (`stage.arm()`), then acts. From
there on the stage's medic starts the service again whenever it has died; everything the scenario asks for is an Intent, sent until
it is answered. `stage.died` tells that the point was reached; `stage.reached()` waits for it."""
import re
import signal
import threading

import requests
from eco.waiting import wait
from ecotest import pb
from lab import CYCLE_S, DATABASE_SERVICES, SERVICES


class Stage:
    def __init__(self, lab, tenants, service, point):
        self.lab, self.tenants, self.service, self.point = lab, tenants, service, point
        self.died = 0
        self._armed = False
        self._end = threading.Event()
        self._medic = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._medic.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._medic.join(60)
        self.lab.disarm(self.service)

    def _watch(self):
        while not self._end.wait(0.01):
            if self._armed and not self.lab.runs(self.service):
                self.died += 1
                self.lab.disarm(self.service)
                self._armed = False
                self.lab.start_part(self.service, ready=False)

    def arm(self):
        self.lab.arm(self.service, self.point)
        self._armed = True

    def arm_from_start(self, sig=signal.SIGKILL, **settings):
        """The service starts with the point armed. `settings` hold for this one run."""
        self.lab.stop_part(self.service, sig)
        self.lab.arm(self.service, self.point)
        self.lab.start_part(self.service, ready=False, **settings)
        self._armed = True

    def reached(self, seconds=30):
        wait(lambda: self.died, f"the death of {self.service} at {self.point}", seconds, 0.01)
        wait(lambda: self.lab.ready(self.service), f"the return of {self.service}", 30, 0.02)

    def reached_while(self, act, seconds=30):
        """Acts until the point is reached."""
        def one_more():
            try:
                act()
            except (requests.RequestException, OSError, AssertionError):
                pass  # the service died under it
            return self.died
        wait(one_more, f"the death of {self.service} at {self.point}", seconds, 0.02)
        self.reached()

    def alone_with_nats(self):
        """Pauses every other service, so that what is missing on the bus is made by this one."""
        for name in SERVICES:
            if name != self.service:
                self.lab.pause(name)

    def everybody(self):
        for name in list(self.lab.paused):
            self.lab.resume(name)


def life(stage):
    """A launch, calls, a key, a restart, a renewal, a replica's death, a stop: whatever a day brings."""
    tenant = stage.tenants.new()
    stage.arm()
    key = tenant.want_key().ok()
    instance = tenant.want_launch(tenant.want_model().ok()).ok()
    tenant.wait_running(instance["id"])
    tenant.top_up().ok()
    wait(lambda: tenant.chat(instance["model"], max_tokens=1).status_code == 200, "a call", 20, 0.02)
    tenant.want("DELETE", f"/api-keys/{key['id']}").ok(200)
    tenant.want_restart(instance["id"]).ok(200)
    victim = wait(lambda: stage.lab.replicas(instance["id"]), "a replica", 20)[0]
    victim.kill()
    stage.lab.wait_proved()
    stage.lab.advance(CYCLE_S + 1)
    wait(lambda: [r["type"] for r in tenant.ledger() if r.get("instance_id") == instance["id"]].count("hold") >= 2, "the renewal", 30)
    tenant.wait_running(instance["id"])
    tenant.want_stop(instance["id"]).ok(200)
    tenant.wait_status(instance["id"], "stopped")
    stage.reached(15)


def launch(stage):
    tenant = stage.tenants.new()
    model = tenant.want_model().ok()
    stage.arm()
    instance = tenant.want_launch(model).ok()
    tenant.wait_running(instance["id"])
    stage.reached()


def stop(stage):
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.lab.wait_proved(1)
    stage.arm()
    tenant.want_stop(instance["id"]).ok(200)
    tenant.wait_status(instance["id"], "stopped")
    stage.reached()


def stubborn_stop(stage):
    """A replica that does not mind SIGTERM."""
    tenant = stage.tenants.new()
    instance = tenant.running(args=["--ignore-term"])
    stage.arm()
    tenant.want_stop(instance["id"]).ok(200)
    stage.reached()
    tenant.wait_status(instance["id"], "stopped")


def restart(stage):
    tenant = stage.tenants.new()
    instance = tenant.running()
    before = {r.name: r.pid for r in stage.lab.replicas(instance["id"])}
    stage.arm()
    tenant.want_restart(instance["id"]).ok(200)
    wait(lambda: (now := {r.name: r.pid for r in stage.lab.replicas(instance["id"])}) and set(now) == set(before)
         and not set(now.values()) & set(before.values()), "both replicas replaced", 30)
    tenant.wait_running(instance["id"])
    stage.reached()


def renewal(stage):
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.lab.wait_proved()
    stage.arm()
    stage.lab.advance(CYCLE_S + 1)
    wait(lambda: [r["type"] for r in tenant.ledger() if r.get("instance_id") == instance["id"]].count("hold") >= 2, "the renewal", 30)
    stage.reached()


def depletion(stage):
    """The balance runs out: a partial hold, then the end."""
    tenant = stage.tenants.new("0.15")
    instance = tenant.running()
    stage.lab.wait_proved()
    stage.arm()

    def ended():
        stage.lab.advance(CYCLE_S // 2 + 1)
        return tenant.instance(instance["id"])["status"] == "stopped"
    wait(ended, "the end of the credit", 40, 0.3)
    assert tenant.instance(instance["id"])["termination_reason"] == "credit_depleted"
    stage.reached()


def crash_loop(stage):
    tenant = stage.tenants.new()
    stage.arm()
    instance = tenant.want_launch(tenant.want_model().ok(), args=["--exit-at-start=3"]).ok()
    stage.reached()
    tenant.want_stop(instance["id"]).ok(200)
    tenant.wait_status(instance["id"], "stopped")


def refused_launch(stage):
    """Not enough money: the launch leaves nothing."""
    tenant = stage.tenants.new("0.01")
    model = tenant.want_model().ok()
    stage.arm()
    code, body = tenant.want_launch(model).until_answered()
    assert (code, body["error"]["code"]) in ((402, "insufficient_balance"), (503, "control_plane_unavailable")), body
    stage.reached()


def launch_without_billing(stage):
    """No definite answer about the hold: the launch is undone when billing is back."""
    tenant = stage.tenants.new()
    model = tenant.want_model().ok()
    intent = tenant.want_launch(model)
    stage.lab.stop_part("billing")
    stage.arm()
    intent.attempt(12)
    stage.lab.start_part("billing")
    stage.reached()
    tenant.wait_running(intent.ok()["id"])


def asked(stage):
    """An operator's tool asks on the bus: of its own accord nobody asks health for anything but its snapshot, now and then."""
    from poison import replay
    stage.arm()
    stage.reached_while(lambda: replay(stage.lab, stage.service, 2))


def start(stage):
    """A start with everything there: an instance to adopt, buckets to compare, snapshots to pull."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.arm_from_start()
    stage.reached()
    tenant.wait_running(instance["id"])


def start_without_bucket(stage):
    stage.tenants.new().running()
    bucket = {"registry": "keys", "scheduler": "routes", "billing": "standing", "health": "health"}[stage.service]
    stage.lab.stop_part(stage.service)
    stage.lab.nats.kv_delete_bucket(bucket)
    stage.arm_from_start()
    stage.reached()


def start_with_stray_entry(stage):
    """The bucket has what its table does not know."""
    bucket, key = {"registry": ("keys", "ab" * 32), "scheduler": ("routes", "987654"), "billing": ("standing", "acc_stray")}[stage.service]
    entry = pb.common.KvEntry(version=1, value=b"")
    stage.lab.stop_part(stage.service)
    stage.lab.nats.js_publish(f"$KV.{bucket}.{key}", entry.SerializeToString())
    stage.arm_from_start()
    stage.reached()


def start_behind_bucket(stage):
    """The bucket has seen versions that the table has not: the database was restored from a backup."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    bucket, key = {"registry": ("keys", stage.lab.sql("SELECT sha256_hex FROM registry.api_keys WHERE id = %s", (tenant.key_id,))[0][0]),
                   "scheduler": ("routes", str(instance["id"])), "billing": ("standing", tenant.account_id)}[stage.service]
    stage.lab.stop_part(stage.service)
    entry = stage.lab.nats.kv_get(bucket, key)
    entry.version += 1000
    stage.lab.nats.js_publish(f"$KV.{bucket}.{key}", entry.SerializeToString())
    stage.arm_from_start()
    stage.reached()
    tenant.wait_running(instance["id"])


def without_stream(stage):
    """The event stream is gone, and nobody else is there to make it again."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.alone_with_nats()
    stage.lab.nats.js("STREAM.DELETE.ECOLINK")
    if stage.service == "gateway":
        stage.arm()
        stage.reached_while(lambda: tenant.chat(instance["model"], max_tokens=1, timeout=5))
    else:
        stage.arm_from_start()
        stage.reached()
    stage.everybody()


def calls(stage):
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.arm()
    stage.reached_while(lambda: tenant.chat(instance["model"], max_tokens=1, timeout=5))


def new_route(stage):
    """Something for a gateway to remember."""
    stage.arm()
    stage.tenants.new()
    stage.reached()


def new_connection(stage):
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.lab.stop_part("gateway")
    stage.lab.start_part("gateway")
    stage.arm()
    stage.reached_while(lambda: tenant.chat(instance["model"], max_tokens=1, timeout=5))


def forgotten_pin(stage):
    """The registry missed an end: its own look at old pins finds it."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    tenant.want_stop(instance["id"]).ok(200)
    tenant.wait_status(instance["id"], "stopped")
    wait(lambda: not stage.lab.sql("SELECT 1 FROM registry.pins WHERE instance_id = %s", (instance["id"],)), "the release")
    stage.arm()
    # again and again: a last event of the instance may release it before the look does
    stage.reached_while(lambda: stage.lab.sql("INSERT INTO registry.pins VALUES (%s, %s, 1) ON CONFLICT DO NOTHING",
                                              (instance["id"], instance["model_id"])))


def account_unknown_to_billing(stage):
    """A top-up that comes before the account's event."""
    tenant = stage.tenants.new(balance=None)
    wait(lambda: stage.lab.sql("SELECT 1 FROM billing.accounts WHERE id = %s", (tenant.account_id,)), "the wallet")
    stage.lab.sql("DELETE FROM billing.accounts WHERE id = %s", (tenant.account_id,))
    stage.arm()
    tenant.top_up().ok()
    stage.reached()


def overdue_hold(stage):
    """Billing is away for longer than the grace: the scheduler stops the instance by itself."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    stage.lab.wait_proved()
    stage.lab.stop_part("billing")
    stage.lab.advance(CYCLE_S + 10)
    stage.arm_from_start(HOLD_GRACE_S="1")
    stage.reached()
    stage.lab.start_part("billing")
    tenant.wait_status(instance["id"], "stopped")


def leavings(stage):
    """Logs and homes of an instance that ended are dropped after a while."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    tenant.want_stop(instance["id"]).ok(200)
    tenant.wait_status(instance["id"], "stopped")
    stage.lab.advance(1)
    stage.arm_from_start(signal.SIGTERM, LOG_KEEP_S="0")  # in order: the next one has the lease at once, and looks once a minute
    stage.reached()


def orphan(stage):
    """A replica runs in a region where no row wants it."""
    tenant = stage.tenants.new()
    instance = tenant.running()
    free = wait(lambda: stage.lab.sql("SELECT name FROM scheduler.regions WHERE name NOT IN "
                                      "(SELECT region FROM scheduler.replicas WHERE instance_id = %s)", (instance["id"],)), "a region")[0][0]
    stage.lab.stop_part("scheduler")
    stage.lab.sql("BEGIN; UPDATE scheduler.gpu_rooms g SET reserved = g.reserved - 1 FROM scheduler.replicas r WHERE r.instance_id = %(i)s "
                  "AND r.id = 1 AND g.region = r.region AND g.gpu_type = 'l40s';"
                  "UPDATE scheduler.gpu_rooms SET reserved = reserved + 1 WHERE region = %(r)s AND gpu_type = 'l40s';"
                  "UPDATE scheduler.replicas SET region = %(r)s WHERE instance_id = %(i)s AND id = 1; COMMIT",
                  {"i": instance["id"], "r": free})
    # the region with the row comes later: it would take the process for its own, as one machine has them all
    stage.lab.sql("INSERT INTO scheduler.leases (name, holder, epoch, expires_at) VALUES ('region:' || %(r)s, 'somebody', 1, now() + interval '8 s') "
                  "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = leases.epoch + 1, expires_at = excluded.expires_at",
                  {"r": free})
    stage.arm_from_start()
    stage.reached()
    tenant.wait_running(instance["id"])


# Every consumer's service, an event that it takes, and what makes its owner say it.
def poisoned(stage):
    """A message that cannot be applied is set aside; when its cause is mended it is applied again."""
    from poison import Poison
    with Poison(stage.lab, stage.service) as poison:
        if stage.point == "kit.dead_letter.set_aside":
            stage.arm()
        poison.provoke(stage.tenants)
        poison.wait_letter()
        poison.mend()
        if stage.point == "kit.dead_letter.applied":
            stage.arm()
        wait(lambda: poison.replay() and not poison.letters(), "the replay", 30, 0.1)
    stage.reached()


# ---- which leads where: the first pattern that matches; a kit's point is tried in all of its scenarios ----

LEADS = [
    (r"scheduler:process\.adopted", [start]),
    (r"scheduler:process\.kill_sent", [stubborn_stop]),
    (r"scheduler:process\.record_removed", [stop]),
    (r"scheduler:process\.(exit_recorded|term_sent|stop_recorded)", [stop, restart]),
    (r"scheduler:process\.", [launch, crash_loop, restart]),
    (r"scheduler:scheduler\.janitor\.stopped", [overdue_hold]),
    (r"scheduler:scheduler\.janitor\.leavings_dropped", [leavings]),
    (r"scheduler:scheduler\.launch\.(claimed|hold_closed)", [launch_without_billing]),
    (r"scheduler:scheduler\.launch\.discarded", [refused_launch, launch_without_billing]),
    (r"scheduler:scheduler\.launch\.", [launch]),
    (r"scheduler:scheduler\.prune\.removed", [orphan]),
    (r"scheduler:scheduler\.reconcile\.removed", [stop, depletion]),
    (r"scheduler:scheduler\.reconcile\.applied", [launch, restart, crash_loop]),
    (r"scheduler:scheduler\.reconcile\.", [launch, stop, restart, crash_loop]),
    (r"scheduler:scheduler\.", [launch, stop]),
    (r"billing:billing\.topup\.account_asked", [account_unknown_to_billing]),
    (r"billing:billing\.topup\.", [life]),
    (r"billing:billing\.", [stop, renewal, depletion]),
    (r"registry:registry\.pins\.released", [forgotten_pin]),
    (r"registry:registry\.bootstrap\.committed", [start]),
    (r"registry:registry\.", [life]),
    (r"health:health\.", [launch]),
    (r"gateway:gateway\.snapshot\.saved", [new_route]),
    (r"gateway:gateway\.upstream\.connected", [new_connection]),
    (r"gateway:gateway\.management\.answered", [launch]),
    (r"gateway:(gateway\.|kit\.event\.published_direct)", [calls]),
    (r".*:kit\.bus\.bucket_created", [start_without_bucket]),
    (r".*:kit\.bus\.stream_created", [without_stream]),
    (r".*:kit\.kv_repair\.put", [start_without_bucket]),
    (r".*:kit\.kv_repair\.marked", [start_with_stray_entry]),
    (r".*:kit\.kv_repair\.epoch_raised", [start_behind_bucket]),
    (r".*:kit\.(kv_repair|lease|consumer|snapshot)\.", [start]),
    (r".*:kit\.dead_letter\.", [poisoned]),
    (r"registry:kit\.rpc\.called", [start]),
    (r"health:kit\.rpc\.called", [start]),
    (r"billing:kit\.rpc\.called", [stop, renewal]),
    (r"scheduler:kit\.rpc\.called", [launch]),
    (r"billing:kit\.rpc\.", [launch, renewal]),
    (r"health:kit\.rpc\.", [asked]),
    (r"health:kit\.", [launch, stop]),
    (r"registry:kit\.", [life]),
    (r"billing:kit\.", [launch, stop, renewal, depletion]),
    (r"scheduler:kit\.", [launch, stop, restart, depletion]),
]


def leads_to(service, point):
    """The scenarios in which the service passes the point; empty: nobody has said."""
    return next((scenarios for pattern, scenarios in LEADS if re.match(pattern, f"{service}:{point}")), [])


def later_passages(point):
    """A point of the kit is passed many times in a life, each after another step: which of the later ones are tried, in `life`."""
    return {"kit.tx.committed": (2, 4, 7), "kit.relay.published": (2, 4), "kit.relay.deleted": (2,)}.get(point, ())


assert set(DATABASE_SERVICES) < set(SERVICES)
