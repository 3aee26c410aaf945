"""What each service's NATS user may do on the bus of a running stack, and that it may do nothing else.

The expectation is made here a second time, from the tables that each service prints (`ecolink-<service> handlers`): a handler, a
consumer or a bucket that is added is covered without a change of this file.
"""
import socket

import pytest
from eco.inside import SERVICES, Inside, Nats, pb

STREAM = "ECOLINK"


@pytest.fixture(scope="module")
def inside(stack):
    return Inside(stack)


def served(h):
    return [r["method"] for r in h["rpcs"]]


def consumer_subjects(c):
    name, own = c["name"], f"ecolink.evt.{c['owner']}.{c['entity']}.*"
    return [f"$JS.API.CONSUMER.CREATE.{STREAM}.{name}.{own}", f"$JS.API.CONSUMER.INFO.{STREAM}.{name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name}", f"$JS.ACK.{STREAM}.{name}.>"]


def bucket_subjects(bucket, owner):
    read = [f"$JS.API.STREAM.INFO.KV_{bucket}", f"$JS.API.CONSUMER.CREATE.KV_{bucket}", f"$JS.API.CONSUMER.CREATE.KV_{bucket}.>",
            f"$JS.API.CONSUMER.DELETE.KV_{bucket}.>", f"$JS.FC.KV_{bucket}.>"]
    return read + ([f"$JS.API.STREAM.CREATE.KV_{bucket}", f"$KV.{bucket}.>"] if owner else [])


def calls(h):
    return set(h["calls"]) | {f"{c['owner']}.Snapshot" for c in h["consumers"] if c["snapshot"]}


def expected(h):
    """(publish, subscribe, may answer) of a service, from its tables."""
    publish = {f"$JS.API.STREAM.INFO.{STREAM}", f"$JS.API.STREAM.CREATE.{STREAM}"}
    publish |= {f"ecolink.evt.{h['service']}.>"} if h["database"] else set()
    publish |= {f"ecolink.evt.{p}" for p in h["publishes"]}
    publish |= {f"ecolink.rpc.{c}" for c in calls(h)}
    for c in h["consumers"]:
        publish |= set(consumer_subjects(c))
    for b in h["buckets"]:
        publish |= set(bucket_subjects(b, True))
    for b in h["reads"]:
        publish |= set(bucket_subjects(b, False))
    subscribe = {f"_INBOX_{h['service']}.>"} | ({f"ecolink.rpc.{h['service']}.*"} if h["rpcs"] else set())
    return publish, subscribe, bool(h["rpcs"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_users_rights_are_what_its_tables_need(inside, service):
    rights = inside.permissions[service]
    publish, subscribe, answers = expected(inside.handlers[service])
    assert set(rights["publish"]["allow"]) == publish
    assert set(rights["subscribe"]["allow"]) == subscribe
    assert rights.get("allow_responses", False) == answers


def concrete(subject):
    """A subject to publish on, below a pattern."""
    return subject.replace("*", "x").replace(">", "x.1.1.1.1.1" if subject.startswith("$JS.ACK") else "x")


def covers(pattern, subject):
    """NATS' own matching, for literal subjects."""
    p, s = pattern.split("."), subject.split(".")
    for i, token in enumerate(p):
        if token == ">":
            return len(s) > i
        if i >= len(s) or token not in ("*", s[i]):
            return False
    return len(p) == len(s)


def world(inside):
    """Every subject that anything in this system is published on, made concrete."""
    out = set()
    streams = {STREAM}
    for s, h in inside.handlers.items():
        publish, _, _ = expected(h)
        out |= {concrete(p) for p in publish}
        out |= {f"ecolink.rpc.{s}.{m}" for m in served(h)} | {f"ecolink.rpc.{s}.Unheard"}
        out |= {f"ecolink.evt.{s}.x.y", f"_INBOX_{s}.x", f"_INBOX_{s}.x.1"}
        streams |= {f"KV_{b}" for b in h["buckets"]}
        for b in h["buckets"]:
            out |= {f"$KV.{b}.x", f"$KV.{b}._generation"}
        for c in h["consumers"]:
            n = c["name"]
            out |= {f"$JS.API.CONSUMER.DELETE.{STREAM}.{n}", f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{n}",
                    f"$JS.API.CONSUMER.CREATE.{STREAM}.{n}", f"$JS.API.CONSUMER.CREATE.{STREAM}.{n}.ecolink.evt.x.x.x",
                    f"$JS.API.CONSUMER.PAUSE.{STREAM}.{n}", f"$JS.API.CONSUMER.LEADER.STEPDOWN.{STREAM}.{n}"}
    for stream in streams:
        for verb in ("DELETE", "PURGE", "UPDATE", "CREATE", "INFO", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE",
                     "LEADER.STEPDOWN", "PEER.REMOVE"):
            out.add(f"$JS.API.STREAM.{verb}.{stream}")
        out |= {f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.DIRECT.GET.{stream}.$KV.x.y", f"$JS.API.CONSUMER.CREATE.{stream}",
                f"$JS.API.CONSUMER.NAMES.{stream}", f"$JS.API.CONSUMER.LIST.{stream}"}
    out |= {"$JS.API.STREAM.CREATE.NEW", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.INFO", "$JS.API.STREAM.INFO.NEW",
            "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE.x", "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$SRV.PING", "ecolink", "anything",
            "_INBOX.x", "_INBOX_tests.x", "_INBOX_admin.x", "_R_.x", "_GR_.x"}
    return out


@pytest.mark.parametrize("service", SERVICES)
def test_a_user_publishes_nothing_beyond_its_rights(inside, service):
    publish, _, _ = expected(inside.handlers[service])
    forbidden = sorted(s for s in world(inside) if not any(covers(p, s) for p in publish))
    assert len(forbidden) > 150
    bus = inside.user(service)
    try:
        for subject in forbidden:
            bus.publish(subject, b"")
        said = [e for e in bus.refusals() if "Publish" in e]
        refused = {e.split('"')[1] for e in said}
        assert refused == set(forbidden)
    finally:
        bus.close()


def eavesdropping(inside, service):
    own = inside.handlers[service]
    out = {">", "*", "*.>", "$SYS.>", "$SYS.REQ.>", "$JS.>", "$JS.API.>", "$JS.EVENT.>", "$JS.ACK.>", "$KV.>", "ecolink.>",
           "ecolink.*.>", "ecolink.evt.>", "ecolink.rpc.>", "ecolink.rpc.*.*", "_INBOX.>", "_INBOX_admin.>", "*.x"}
    for s, h in inside.handlers.items():
        out |= {f"ecolink.evt.{s}.>"}
        out |= {f"$KV.{b}.>" for b in h["buckets"]}
        if s != service:
            out |= {f"_INBOX_{s}.>", f"ecolink.rpc.{s}.*", f"ecolink.rpc.{s}.>"} | {f"ecolink.rpc.{s}.{m}" for m in served(h)}
    return out | (set() if own["rpcs"] else {f"ecolink.rpc.{service}.*"})


@pytest.mark.parametrize("service", SERVICES)
def test_a_user_hears_nothing_beyond_its_own_inbox_and_requests(inside, service):
    bus = inside.user(service)
    try:
        wanted = eavesdropping(inside, service)
        for subject in wanted:
            bus.subscribe(subject)
            bus.subscribe(subject, "gang")  # a queue group is no way round
        refused = {e.split('"')[1] for e in bus.refusals() if "Subscription" in e}
        assert refused == wanted
    finally:
        bus.close()


@pytest.mark.parametrize("service", SERVICES)
def test_a_user_may_do_what_it_needs(inside, service):
    """The other side: nothing that is needed is refused. Requests are malformed on purpose and reach nobody's handler."""
    publish, subscribe, _ = expected(inside.handlers[service])
    harmless = {p for p in publish if not p.startswith(("ecolink.evt", "$KV", "$JS.ACK", "$JS.FC")) and "MSG.NEXT" not in p}
    bus = inside.user(service)
    try:
        for subject in harmless:
            bus.publish(concrete(subject), b"{")
        for subject in subscribe:
            bus.subscribe(subject.replace("ecolink.rpc.", "ecolink.rpc.") if "INBOX" in subject else concrete(subject), "nobody-else")
        assert bus.refusals() == []
    finally:
        bus.close()


def test_nobody_gets_in_without_a_password(inside):
    def tries(user, password):
        with socket.create_connection(("127.0.0.1", inside.stack.ports["NATS"]), timeout=5) as s:
            f = s.makefile("rb")
            f.readline()
            who = f'"user":"{user}","pass":"{password}",' if user else ""
            s.sendall(f'CONNECT {{{who}"verbose":false}}\r\nPUB ecolink.evt.billing.x.y 0\r\n\r\nPING\r\n'.encode())
            return f.readline().decode()

    for user in SERVICES:
        other = SERVICES[(SERVICES.index(user) + 1) % len(SERVICES)]
        for password in ("", "wrong", user, inside.secret(f"nats_{other}")):
            assert "Authorization Violation" in tries(user, password), user
    assert "Authorization Violation" in tries("", "")
    assert "Authorization Violation" in tries("root", "")


@pytest.mark.parametrize("service", [s for s in SERVICES if s != "gateway"])
def test_a_consumers_filter_is_held_to_the_events_that_it_needs(inside, service):
    """The right names the filter, and the server compares it with the body: no other events, and no consumer of another stream."""
    bus = inside.user(service)
    try:
        for c in inside.handlers[service]["consumers"]:
            own = f"ecolink.evt.{c['owner']}.{c['entity']}.*"
            for filters in ({"filter_subject": "ecolink.evt.>"}, {"filter_subject": ""}, {},
                            {"filter_subjects": ["ecolink.evt.>"]}, {"filter_subjects": [own, "ecolink.evt.billing.>"]}):
                config = {"name": c["name"], "durable_name": c["name"], "ack_policy": "explicit", **filters}
                with pytest.raises(RuntimeError):
                    bus.js(f"CONSUMER.CREATE.{STREAM}.{c['name']}.{own}", {"stream_name": STREAM, "config": config})
        assert bus.refusals() == []
    finally:
        bus.close()


def test_an_answer_cannot_be_sent_where_the_answering_service_may_not_be_led(inside):
    """The bus lets a responder publish on whatever reply subject the caller named, beyond its rights. A gateway that is taken over must
    not delete a stream, write a key or forge an event through it."""
    gateway, admin = inside.user("gateway"), inside.user("admin")
    lures = ["$JS.API.STREAM.DELETE.KV_keys", "$JS.API.STREAM.PURGE.ECOLINK", "$KV.keys." + "0" * 64, "ecolink.evt.billing.hold.refused",
             "ecolink.rpc.billing.CloseHold", "$SYS.x", "_GATEWAY.x"]
    heard = [admin.subscribe(lure) for lure in lures]
    try:
        envelope = pb.common.RpcRequest(context=pb.common.RequestContext()).SerializeToString()
        for service, h in inside.handlers.items():
            mine = [c for c in calls(inside.handlers["gateway"]) if c.startswith(service + ".")]
            for call in mine[:3]:
                for lure in lures:
                    gateway.publish(f"ecolink.rpc.{call}", envelope, lure)
            # As many honest requests as there are workers, behind them in the same queue: all have been taken from it.
            for _ in range(32 if mine else 0):
                assert gateway.request(f"ecolink.rpc.{mine[0]}", envelope)
        assert gateway.refusals() == []
        admin.flush()
        assert [(lure, m.data) for lure, sub in zip(lures, heard) for m in sub.pending()] == []
        assert admin.js("STREAM.INFO.KV_keys")["state"]["messages"] > 0
    finally:
        gateway.close()
        admin.close()


def test_the_running_server_has_these_very_rights(inside):
    """The stack's configuration is written from the binaries; nobody is in it but the services and `admin`."""
    text = (inside.stack.state / "nats/nats.conf").read_text()
    users = [line.split("user: ")[1].split(",")[0].rstrip("}") for line in text.splitlines() if "{user: " in line]
    assert sorted(users) == sorted((*SERVICES, "admin"))
    assert "no_auth_user" not in text and "anonymous" not in text
    assert Nats  # the client of these tests is not the product's
