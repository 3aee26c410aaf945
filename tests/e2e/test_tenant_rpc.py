"""Tenants are kept apart by each service itself, not by the gateway in front of it: the same questions, asked on the bus.

Methods and roles come from the tables that the services print; every request field that holds an id is tried with another account's.
"""
import pytest
from eco.inside import SERVICES, Inside, RpcError, pb
from test_tenant_matrix import World

C, R = pb.common, pb.registry
MODULES = (pb.registry, pb.scheduler, pb.billing, pb.health, pb.common)
ROLES = {"owner": C.ROLE_OWNER, "member": C.ROLE_MEMBER, "inference": C.ROLE_INFERENCE, "operator": C.ROLE_OPERATOR}
TENANTS = ("owner", "member", "inference")


@pytest.fixture(scope="module")
def inside(stack):
    return Inside(stack)


@pytest.fixture(scope="module")
def world(stack, operator):
    return World(stack, operator)


@pytest.fixture(scope="module")
def bus(inside):
    connection = inside.user("admin")
    yield connection
    connection.close()


def message(name):
    return next(getattr(m, name) for m in MODULES if hasattr(m, name))


def methods(inside, of=None):
    for service in SERVICES:
        for rpc in inside.handlers[service]["rpcs"]:
            if of is None or set(rpc["allow"]) & set(of):
                yield f"{service}.{rpc['method']}", rpc


def caller(role, account=None):
    operator = role == "operator"
    return C.Caller(role=ROLES[role], account_id="" if operator or account is None else account.id, key_id="key_test",
                    operator_id="op_test" if operator else "")


def code(inside, bus, method, rpc, request, who):
    """The code of a refusal, or the answer."""
    try:
        return inside.rpc(bus, method, request, message(rpc["reply"]), caller=who)
    except RpcError as e:
        assert len(e.message) > 5
        return e.code


def test_every_method_refuses_every_role_that_its_table_does_not_name(inside, world, bus):
    cells = 0
    for method, rpc in methods(inside):
        request = message(rpc["request"])()
        for role in ROLES:
            if role not in rpc["allow"]:
                assert code(inside, bus, method, rpc, request, caller(role, world.a)) == "forbidden", (method, role)
                cells += 1
        if not {"none", "service"} & set(rpc["allow"]):
            assert code(inside, bus, method, rpc, request, None) == "unauthorized", method
            assert code(inside, bus, method, rpc, request, C.Caller(account_id=world.a.id)) == "unauthorized", method
            cells += 2
    assert cells > 150


def test_a_role_without_its_account_is_nobody(inside, bus):
    """Statements compare the account: an empty one must not pass for all of them."""
    for method, rpc in methods(inside):
        for role in set(rpc["allow"]) & set(ROLES):
            who = C.Caller(role=ROLES[role], key_id="key_test")
            assert code(inside, bus, method, rpc, message(rpc["request"])(), who) == "unauthorized", (method, role)


def foreign_ids(y):
    """(method, field) -> what y owns there, and what a stranger who names it is told."""
    instance = {(f"scheduler.{m}", "id"): (y.instance["id"], "forbidden") for m in
                ("GetInstance", "StopInstance", "RestartInstance", "ListInstanceEvents", "ReadInstanceLogs")}
    launch = {(f"scheduler.{m}", f): v for m in ("Launch", "Quote") for f, v in
              (("model_id", (y.model["id"], "forbidden")), ("filesystems", ([y.filesystem["id"]], "not_found")))}
    own = {("registry.CreateModel", "filesystem_id"): (y.filesystem["id"], "not_found"),
           ("registry.GetApiKey", "id"): (y.key["id"], "not_found"), ("registry.RevokeApiKey", "id"): (y.key["id"], "not_found"),
           ("registry.DeleteMember", "id"): (y.member["id"], "not_found")}
    own |= {(f"registry.{m}Model", "id"): (y.model["id"], "forbidden") for m in ("Get", "Delete")}
    own |= {(f"registry.{m}Filesystem", "id"): (y.filesystem["id"], "not_found") for m in ("Get", "Delete")}
    lists = {(m, "instance_id"): (y.instance["id"], "empty") for m in
             ("billing.ListTransactions", "billing.GetUsage", "health.GetHealthStatus")}
    return instance | launch | own | lists


def right_request(method, rpc, x):
    request = message(rpc["request"])()
    if method in ("scheduler.Launch", "scheduler.Quote"):
        request.model_id, request.engine, request.gpu_type = x.model["id"], "simulator", "cpu"
    if method == "registry.CreateModel":
        request.name, request.source, request.category = "thief", R.MODEL_SOURCE_SHARED_FILESYSTEM, R.MODEL_CATEGORY_CHAT
        request.path = "/x"
    return request


def id_fields(rpc):
    return [f for f in message(rpc["request"]).DESCRIPTOR.fields
            if (f.name == "id" or f.name.endswith(("_id", "_ids")) or f.name == "filesystems") and f.name != "replica_id"]


def test_another_accounts_ids_are_refused_by_the_service_that_owns_them(inside, world, bus):
    cells, known = 0, set()
    for x, y in ((world.a, world.b), (world.b, world.a)):
        table = foreign_ids(y)
        for method, rpc in methods(inside, TENANTS):
            for field in id_fields(rpc):
                assert (method, field.name) in table, f"{method}: say whose {field.name} is"
                value, expected = table[method, field.name]
                known.add((method, field.name))
                for role in [r for r in TENANTS if r in rpc["allow"]]:
                    request = right_request(method, rpc, x)
                    if isinstance(value, list):
                        getattr(request, field.name).extend(value)
                    else:
                        setattr(request, field.name, value)
                    got = code(inside, bus, method, rpc, request, caller(role, x))
                    if expected == "empty":
                        assert not isinstance(got, str) and len(got.data) == 0, (method, got)
                    else:
                        assert got == expected, (method, field.name, role, got)
                    cells += 1
        assert known == set(table)
    assert cells >= 60


def test_lists_never_hold_another_accounts_rows_whatever_the_cursor(inside, world, bus):
    for x, y in ((world.a, world.b), (world.b, world.a)):
        for method, rpc in methods(inside, TENANTS):
            request = message(rpc["request"])()
            if "cursor" not in request.DESCRIPTOR.fields_by_name or "id" in request.DESCRIPTOR.fields_by_name:
                continue
            cursors = [""]
            theirs = code(inside, bus, method, rpc, message(rpc["request"])(limit=1), caller("owner", y))
            cursors += [theirs.page.next_cursor] if not isinstance(theirs, str) and theirs.page.next_cursor else []
            for cursor in cursors:
                got = code(inside, bus, method, rpc, message(rpc["request"])(limit=100, cursor=cursor), caller("owner", x))
                assert not isinstance(got, str), (method, got)
                text = str(got)
                assert not [k for k in y.known() if k in text], method


def test_a_repeated_idempotency_key_gives_nobody_anothers_answer(inside, world, bus):
    request = R.CreateFilesystemRequest(name="same", region="eu-north", mount_path="/same")
    made = []
    for x in (world.a, world.b):
        for role in ("owner", "member"):
            made.append((x.id, inside.rpc(bus, "registry.CreateFilesystem", request, R.Filesystem, caller=caller(role, x),
                                          idempotency_key="the-same-for-all", http_path="/filesystems")))
    assert all(fs.account_id == account for account, fs in made)
    assert len({fs.id for _, fs in made}) == 2
