"""The world checker: is what is written, what is told and what runs one and the same?

It shares no code with the services. `look` reads from outside (PostgreSQL as a role of its own, the buckets from nats-server, /proc,
and the gateway over HTTP) and returns plain data; `judge` is a pure function of that data and says in sentences what is wrong, so that
the checker is tested on damaged copies of a healthy world (test_world_checker.py). What is still on its way (an outbox row, a
launch without an answer) is a complaint too: `settle` looks again until there are none, or the time is up.

  processes      each replica that should run is one process, the one that is written down; no other process runs
  reservations   counters = what the replicas of live instances take up
  holds          a live instance has exactly one open hold, an ended or undone one has none; both services tell the same story
  money          tests/integration/billing/check_ledger.py: zero sums, hash chains, balances, charges against Ready intervals
  routes, keys, standing, health    each bucket says what its owner's table says, tombstones aside; `_generation` is there
  leftovers      outboxes are empty, no dead letters, no unanswered launches, no pins or probe targets of the dead
  the gateway    answers for every running instance, from one of its regions, and for no stopped one
"""
import collections
import json
import pathlib
import queue
import time
import uuid

import check_ledger
import psycopg2
from eco.client import Unavailable
from ecotest import pb

PENDING, PROVISIONING, RUNNING, STOPPING, STOPPED, FAILED = range(1, 7)
LIVE = (PROVISIONING, RUNNING)
EPOCH = 1 << 44  # a bucket's version is epoch * this + the row's version (docs/kit.md)
SCHEMAS = ("registry", "scheduler", "billing", "health")


# ---- looking ----

def rows(cursor, text):
    cursor.execute(text)
    names = [c.name for c in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def look_database(connection):
    with connection.cursor() as c:
        world = {
            "instances": rows(c, "SELECT id, account_id, status, launch_state, gpu_type, gpu_count, total_replicas, hold_cycle,"
                                 " served_name, model_id, openai_compatible, version, stopped_at_us FROM scheduler.instances"),
            "replicas": rows(c, "SELECT * FROM scheduler.replicas"),
            "rooms": rows(c, "SELECT * FROM scheduler.gpu_rooms"),
            "intervals": rows(c, "SELECT instance_id, replica_id, run_id, started_at_us, ended_at_us FROM scheduler.ready_intervals"),
            "holds": rows(c, "SELECT instance_id, cycle, status FROM billing.holds"),
            "billed": rows(c, "SELECT id, status, ready_replicas, hold_cycle FROM billing.instances"),
            "wallets": rows(c, "SELECT id, available_micros, version FROM billing.accounts"),
            "accounts": rows(c, "SELECT id FROM registry.accounts"),
            "keys": rows(c, "SELECT id, sha256_hex, account_id, revoked_at_us, expires_at_us, version FROM registry.api_keys"),
            "pins": rows(c, "SELECT DISTINCT instance_id FROM registry.pins"),
            "pinnable": rows(c, "SELECT id FROM registry.models"),
            "targets": rows(c, "SELECT instance_id, replica_id, host, port, run_id, probed FROM health.targets"),
            "outbox": {}, "dead_letters": {},
        }
        for schema in SCHEMAS:
            world["outbox"][schema] = rows(c, f"SELECT seq, kind, subject, name FROM {schema}.outbox ORDER BY seq LIMIT 5")
            world["dead_letters"][schema] = rows(c, f"SELECT id, consumer, error FROM {schema}.dead_letters")
    return world


def look_bucket(nats, bucket):
    """{key: (version, deleted, value)}; `_generation` among them. One pass of a consumer that ends with this look."""
    inbox = f"_INBOX_tests.{uuid.uuid4().hex}"
    feed = nats.subscribe(inbox)
    try:
        config = {"deliver_subject": inbox, "deliver_policy": "last_per_subject", "ack_policy": "none", "mem_storage": True,
                  "inactive_threshold": 5_000_000_000, "filter_subject": f"$KV.{bucket}.>"}
        made = nats.js(f"CONSUMER.CREATE.KV_{bucket}", {"stream_name": f"KV_{bucket}", "config": config})
        out = {}
        for _ in range(made["num_pending"] + made["delivered"]["consumer_seq"]):
            message = feed.next(5)
            if b"KV-Operation" in message.headers:
                continue
            entry = pb.common.KvEntry.FromString(message.data)
            out[message.subject.split(".", 2)[2]] = (entry.version, entry.deleted, entry.value)
        nats.js(f"CONSUMER.DELETE.KV_{bucket}.{made['name']}")
        return out
    except queue.Empty as e:
        raise OSError(f"bucket {bucket} cannot be read") from e
    finally:
        feed.close()


def look_processes(state):
    """Every process that runs in a home of ours: {"<instance>-<replica>": [(pid, start ticks)]}."""
    found = collections.defaultdict(list)
    homes = str(pathlib.Path((state / "public.path").read_text().strip()) / "replicas/homes") + "/"
    for proc in pathlib.Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        try:
            env = (proc / "environ").read_bytes()
            stat = (proc / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        home = next((e[5:] for e in env.decode(errors="replace").split("\0") if e.startswith("HOME=")), "")
        if home.startswith(homes) and stat[0] not in "ZX":
            found[home[len(homes):]].append((int(proc.name), int(stat[19])))
    return dict(found)


def look_pid_files(state):
    return {f.stem: int(f.read_text()) for f in (state / "run/replicas").glob("*.pid")}


def look_gateway(call, instances, ended_at_most=3):
    """What the gateway answers for live instances and for those that ended last: {id: (status, region)}."""
    out = {}
    ended = sorted((i for i in instances if i["status"] in (STOPPED, FAILED)), key=lambda i: -i["id"])[:ended_at_most]
    for i in [i for i in instances if i["status"] in LIVE] + ended:
        if i["openai_compatible"] and i["launch_state"] == "done":
            answer = call(i)
            if answer is not None:
                out[i["id"]] = answer
    return out


def look(lab, call=None):
    connection = lab.database()
    try:
        books = check_ledger.read(connection, None, ask_scheduler=True)
        world = look_database(connection)
    finally:
        connection.close()
    world["books"] = books
    world["buckets"] = {b: look_bucket(lab.nats, b) for b in ("routes", "keys", "standing", "health")}
    world["processes"] = look_processes(lab.state)
    world["pid_files"] = look_pid_files(lab.state)
    world["gateway"] = look_gateway(call, world["instances"]) if call else {}
    world["now_us"] = int((time.time() + lab.offset_s) * 1_000_000)
    return world


# ---- judging ----

class Complaints(list):
    def unless(self, condition, text):
        if not condition:
            self.append(text)


def name_of(replica):
    return f"{replica['instance_id']}-{replica.get('replica_id', replica.get('id'))}"


def judge_processes(w, c):
    status = {i["id"]: i["status"] for i in w["instances"]}
    expected = {}
    for r in w["replicas"]:
        if not r["gone"] and status[r["instance_id"]] in LIVE:
            expected[name_of(r)] = r
    for name, r in expected.items():
        running = w["processes"].get(name, [])
        if not r["ready"]:
            c.unless(len(running) <= 1, f"replica {name}: {len(running)} processes")
            continue
        c.unless(len(running) == 1, f"replica {name} is Ready with {len(running)} processes")
        runs = {f"{pid}-{ticks}" for pid, ticks in running}
        c.unless(r["run_id"] in runs, f"replica {name}: run {r['run_id']} is written down, {sorted(runs)} run")
        c.unless(w["pid_files"].get(name) in {pid for pid, _ in running}, f"replica {name}: its pid file names another process")
    for name, running in w["processes"].items():
        c.unless(name in expected, f"process {running} of replica {name}, which should not run")
    for name in w["pid_files"]:
        c.unless(name in expected, f"pid file of replica {name}, which should not run")


def judge_instances(w, c):
    for i in w["instances"]:
        c.unless(i["launch_state"] in ("done", "discarded"), f"instance {i['id']}: launch still {i['launch_state']}")
        c.unless(i["status"] != STOPPING, f"instance {i['id']} is still stopping")
        own = [r for r in w["replicas"] if r["instance_id"] == i["id"]]
        ready = sum(1 for r in own if r["ready"])
        if i["status"] in LIVE:
            c.unless((i["status"] == RUNNING) == (ready > 0), f"instance {i['id']} has status {i['status']} with {ready} Ready")
        else:
            c.unless(ready == 0, f"instance {i['id']} ended with {ready} Ready replicas")
            c.unless(all(r["gone"] for r in own) or i["launch_state"] != "done", f"instance {i['id']} ended, a replica is not gone")


def judge_reservations(w, c):
    instance = {i["id"]: i for i in w["instances"]}
    taken = collections.Counter()
    for r in w["replicas"]:
        i = instance[r["instance_id"]]
        if r["reserved"]:
            taken[(r["region"], i["gpu_type"])] += i["gpu_count"]
        c.unless(r["reserved"] == (i["status"] in LIVE or not (r["gone"] or i["launch_state"] == "discarded")),
                 f"replica {name_of(r)}: reserved {r['reserved']} at status {i['status']}, gone {r['gone']}")
    for room in w["rooms"]:
        where = (room["region"], room["gpu_type"])
        c.unless(room["reserved"] == taken[where], f"{where}: {room['reserved']} reserved, replicas take {taken[where]}")


def judge_intervals(w, c):
    ready = {name_of(r): r for r in w["replicas"] if r["ready"]}
    open_ones = {f"{i['instance_id']}-{i['replica_id']}": i["run_id"] for i in w["intervals"] if not i["ended_at_us"]}
    for name, run in open_ones.items():
        c.unless(name in ready and ready[name]["run_id"] == run, f"Ready interval of {name} is open, the replica is not Ready in it")
    for name in ready:
        c.unless(name in open_ones, f"replica {name} is Ready without an open interval")


def judge_holds(w, c):
    open_holds = collections.defaultdict(list)
    for h in w["holds"]:
        if h["status"] in ("open", "partial"):
            open_holds[h["instance_id"]].append(h["cycle"])
    instance = {i["id"]: i for i in w["instances"]}
    for i in w["instances"]:
        held = open_holds.pop(i["id"], [])
        if i["status"] in LIVE:
            c.unless(held == [i["hold_cycle"]], f"instance {i['id']}: open holds {held}, the scheduler knows cycle {i['hold_cycle']}")
        else:
            c.unless(held == [], f"instance {i['id']} with status {i['status']} ({i['launch_state']}) has open holds {held}")
    for unknown, held in open_holds.items():
        c.append(f"open holds {held} of instance {unknown}, which the scheduler does not know")
    for b in w["billed"]:
        i = instance.get(b["id"])
        if i is not None and i["launch_state"] == "done":
            c.unless(b["status"] == i["status"], f"instance {i['id']}: status {i['status']}, billing knows {b['status']}")
    for i in w["instances"]:
        if i["launch_state"] == "done":
            c.unless(any(b["id"] == i["id"] for b in w["billed"]), f"instance {i['id']} is unknown to billing")


def judge_money(w, c):
    c.extend("ledger: " + failure for failure in check_ledger.judge(w["books"]).failures)


def judge_bucket(name, wanted, bucket, c):
    """wanted: {key: check(version, value) -> what is wrong or None}."""
    c.unless("_generation" in bucket, f"bucket {name} has no generation")
    present = {k: v for k, v in bucket.items() if k != "_generation" and not v[1]}
    for key in sorted(set(wanted) - set(present)):
        c.append(f"bucket {name} lacks {key}")
    for key in sorted(set(present) - set(wanted)):
        c.append(f"bucket {name} has {key}, which should not be there")
    for key in set(wanted) & set(present):
        wrong = wanted[key](present[key][0] % EPOCH, present[key][2])
        c.unless(not wrong, f"bucket {name}, {key}: {wrong}")


def judge_routes(w, c):
    ready = collections.defaultdict(set)
    for r in w["replicas"]:
        if r["ready"]:
            ready[r["instance_id"]].add((r["id"], r["region"], r["host"], r["port"], r["run_id"]))

    def check(i):
        def wrong(version, value):
            e = pb.scheduler.RouteEntry.FromString(value)
            told = {(r.replica_id, r.region, r.host, r.port, r.run_id) for r in e.replicas}
            if version != i["version"]:
                return f"version {version}, the table has {i['version']}"
            if told != ready[i["id"]]:
                return f"replicas {sorted(told)}, Ready are {sorted(ready[i['id']])}"
            if (e.account_id, e.served_name, e.status) != (i["account_id"], i["served_name"], i["status"]):
                return f"it tells {(e.account_id, e.served_name, e.status)}"
            return None
        return wrong
    judge_bucket("routes", {str(i["id"]): check(i) for i in w["instances"] if i["status"] in LIVE}, w["buckets"]["routes"], c)


def judge_keys(w, c):
    def check(k):
        def wrong(version, value):
            e = pb.registry.KeyEntry.FromString(value)
            if version != k["version"]:
                return f"version {version}, the table has {k['version']}"
            if (e.key_id, e.account_id, e.revoked) != (k["id"], k["account_id"] or "", k["revoked_at_us"] is not None):
                return f"it tells {(e.key_id, e.account_id, e.revoked)}"
            return None
        return wrong
    bucket = {k: v for k, v in w["buckets"]["keys"].items()}
    wanted = {}
    for k in w["keys"]:
        listed = k["revoked_at_us"] is None and (k["expires_at_us"] is None or k["expires_at_us"] > w["now_us"])
        entry = bucket.get(k["sha256_hex"])
        if listed:
            wanted[k["sha256_hex"]] = check(k)
        elif entry is not None and not entry[1]:
            # One that ended may stay for a while, as long as the entry itself says that it is no good any more.
            e = pb.registry.KeyEntry.FromString(entry[2])
            c.unless(e.revoked or 0 < e.expires_at_us <= w["now_us"], f"bucket keys: {k['id']} has ended, its entry is good")
            del bucket[k["sha256_hex"]]
    judge_bucket("keys", wanted, bucket, c)


def judge_standing(w, c):
    def check(a):
        def wrong(version, value):
            credit = pb.billing.StandingEntry.FromString(value).credit_micros
            if version != a["version"] or credit != a["available_micros"]:
                return f"credit {credit} at version {version}, the wallet has {a['available_micros']} at {a['version']}"
            return None
        return wrong
    judge_bucket("standing", {a["id"]: check(a) for a in w["wallets"]}, w["buckets"]["standing"], c)
    wallets = {a["id"] for a in w["wallets"]}
    for a in w["accounts"]:
        c.unless(a["id"] in wallets, f"account {a['id']} has no wallet")


def judge_health(w, c):
    ready = {(r["instance_id"], r["id"]): r for r in w["replicas"] if r["ready"]}
    probed = {(t["instance_id"], t["replica_id"]): t for t in w["targets"] if t["probed"]}
    for name, r in ready.items():
        t = probed.get(name)
        c.unless(t is not None, f"replica {name} is Ready and not probed")
        c.unless(t is None or (t["host"], t["port"], t["run_id"]) == (r["host"], r["port"], r["run_id"]),
                 f"replica {name} is probed where it is not")
    for name in set(probed) - set(ready):
        c.append(f"replica {name} is probed and not Ready")
    condemned = set()
    for key, (_, deleted, value) in w["buckets"]["health"].items():
        if key != "_generation" and not deleted:
            entry = pb.health.RegionHealth.FromString(value)
            condemned |= {(u.instance_id, u.replica_id) for u in entry.unhealthy}
    c.unless(not (condemned & set(ready)), f"health condemns {sorted(condemned & set(ready))}, which are Ready")


def judge_leftovers(w, c):
    for schema in SCHEMAS:
        c.unless(not w["outbox"][schema], f"outbox of {schema} is not drained: {w['outbox'][schema]}")
        c.unless(not w["dead_letters"][schema], f"dead letters of {schema}: {w['dead_letters'][schema]}")
    models = {m["id"] for m in w["pinnable"]}
    live = {i["id"] for i in w["instances"] if i["status"] in LIVE and i["model_id"] in models}
    pinned = {p["instance_id"] for p in w["pins"]}
    c.unless(live <= pinned, f"instances {sorted(live - pinned)} live without a pin on their model")
    c.unless(pinned <= live, f"pins of instances {sorted(pinned - live)}, which do not live")


def judge_gateway(w, c):
    regions = collections.defaultdict(set)
    for r in w["replicas"]:
        if r["ready"]:
            regions[r["instance_id"]].add(r["region"])
    status = {i["id"]: i["status"] for i in w["instances"]}
    for instance, (code, region) in w["gateway"].items():
        if status[instance] == RUNNING:
            c.unless(code == 200 and region in regions[instance],
                     f"the gateway answers {code} from {region!r} for running instance {instance} in {sorted(regions[instance])}")
        elif status[instance] in (STOPPED, FAILED):
            c.unless(code == 404, f"the gateway answers {code} for instance {instance}, which has ended")


JUDGES = (judge_processes, judge_instances, judge_reservations, judge_intervals, judge_holds, judge_money, judge_routes, judge_keys,
          judge_standing, judge_health, judge_leftovers, judge_gateway)


def judge(world):
    complaints = Complaints()
    for one in JUDGES:
        one(world, complaints)
    return complaints


def settle(lab, call=None, seconds=30.0, expect=lambda world: ()):
    """Looks until nothing is wrong; returns that world. `expect` adds a scenario's own complaints. Fails with what is left."""
    end = time.monotonic() + seconds
    while True:
        try:
            world = look(lab, call)
            wrong = judge(world) + list(expect(world))
        except (OSError, RuntimeError, queue.Empty, psycopg2.Error, Unavailable) as e:
            wrong = [f"the world cannot be looked at: {e}"]
        if not wrong:
            return world
        if time.monotonic() > end:
            raise AssertionError(f"{len(wrong)} complaints after {seconds:g} s:\n  " + "\n  ".join(wrong[:25]))
        time.sleep(0.1)  # act: between two looks at the world, which tells all that is wrong


def dump(world):
    return json.dumps(world, default=repr, indent=1)
