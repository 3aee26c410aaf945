"""Every route of the management API through HTTP, on a real stack: what succeeds, and what is refused and how.

The first half is made from the REST table itself: each rule that holds for every row is tried on every row. The second half
walks each route's own story. The last test asks whether any row was left out.
"""

import csv
import io
import json
import time
import uuid

import pytest

from management import Api, LocalStack, documented, eventually, table

ROWS = table()
MODEL = {"name": "my-llama", "source": "huggingface", "repo": "acme/my-llama", "revision": "main", "category": "chat"}


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def stack():
    local = LocalStack()
    try:
        env = local.up()
        yield local, env
    finally:
        local.close()


@pytest.fixture(scope="module")
def api(stack):
    return Api(stack[1]["ECOLINK_URL"], stack[1]["ECOLINK_ADMIN_KEY"])


@pytest.fixture(scope="module")
def account(api):
    return api.account()


@pytest.fixture(scope="module")
def owner(api, account):
    return api.key(account[1], "owner")


@pytest.fixture(scope="module")
def member(api, owner):
    return api.key(owner, "member")


@pytest.fixture(scope="module")
def inference(api, owner):
    return api.key(owner, "inference")


@pytest.fixture(scope="module")
def stranger(api):
    """The owner of another account."""
    return api.key(api.account()[1], "owner")


@pytest.fixture(scope="module")
def model(owner):
    return owner.post("/models", dict(MODEL, name=unique("llama"))).json()


def launch(client, model_id, **more):
    return client.post("/inference-instances", {"model_id": model_id, "engine": "simulator", "gpu_type": "local-cpu",
                                                **more}).json()


def wait_status(client, instance_id, *wanted):
    def look():
        seen = client.get("/inference-instances/{id}", id=instance_id).json()
        return seen if seen["status"] in wanted else None
    return eventually(look, 60, 0.2, f"instance {instance_id} {wanted}")


@pytest.fixture(scope="module")
def instance(owner, model):
    """An instance that runs."""
    launched = launch(owner, model["id"])
    return wait_status(owner, launched["id"], "running")


# ---- what holds for every row ----

SAMPLES = {"id": "7", "token": "nosuchtoken", "name": "nosuchname", "account_id": "acc_00000000000000000000000000"}


def caller_of(row, api, owner):
    return api.operator if "operator" in row.roles and "owner" not in row.roles else owner


def params_of(row):
    return {name: value for name, value in SAMPLES.items() if "{" + name + "}" in row.path}


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_without_a_key_only_public_routes_are_reached(row, api):
    answer = api.nobody.call(row.method, row.path, json={} if row.body else None, **params_of(row))
    assert (answer.status_code == 401) == ("public" not in row.roles), answer.text


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_a_role_that_may_not_is_refused_403(row, api, owner, member, inference):
    callers = {"owner": owner, "member": member, "inference": inference, "operator": api.operator}
    for role, client in callers.items():
        if role not in row.roles:
            answer = client.call(row.method, row.path, json={} if row.body else None, expect=403, **params_of(row))
            assert answer.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_an_unknown_query_parameter_is_refused_422(row, api, owner):
    client = caller_of(row, api, owner)
    answer = client.call(row.method, row.path, query={"surprise": "1"}, json={} if row.body else None, expect=422,
                         **params_of(row))
    assert answer.json()["error"]["param"] == "surprise"


@pytest.mark.parametrize("row", [r for r in ROWS if r.body], ids=repr)
def test_a_body_is_judged_as_json_before_anything_is_done(row, api, owner):
    client, params = caller_of(row, api, owner), params_of(row)
    as_json = {"Content-Type": "application/json"}
    for text, status, code in ((b"", 400, "invalid_json"), (b"{", 400, "invalid_json"), (b'{"a":}', 400, "invalid_json"),
                               (b'{"a":"\xff"}', 400, "invalid_json"), (b"[]", 422, "invalid_request"),
                               (b"7", 422, "invalid_request"), (b"{}" + b" " * (1 << 21), 413, "too_large")):
        answer = client.call(row.method, row.path, data=text, headers=as_json, expect=status, **params)
        assert answer.json()["error"]["code"] == code
    answer = client.call(row.method, row.path, json={"surprise": 1}, expect=422, **params)
    assert answer.json()["error"]["param"] == "surprise"
    answer = client.call(row.method, row.path, data=b"{}", headers={"Content-Type": "text/plain"}, expect=415, **params)
    assert answer.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize("path", sorted({r.path for r in ROWS}))
def test_a_wrong_method_is_refused_405_with_allow(path, api, owner):
    served = {r.method for r in ROWS if r.path == path}
    row = next(r for r in ROWS if r.path == path)
    answer = caller_of(row, api, owner).call("PATCH", path, expect=405, **params_of(row))
    assert {m.strip() for m in answer.headers["allow"].split(",")} == served


@pytest.mark.parametrize("row", [r for r in ROWS if r.method == "GET" and "{" not in r.path], ids=repr)
def test_lists_judge_limit_and_cursor(row, api, owner):
    client = caller_of(row, api, owner)
    if row.path == "/billing/balance":
        return
    for limit in ("0", "-1", "1001", "many", "1.5", ""):
        answer = client.call("GET", row.path, query={"limit": limit}, expect=422)
        assert answer.json()["error"]["param"] == "limit", limit
    page = client.get(row.path, query={"limit": "1"}).json()
    assert page["object"] == "list" and len(page["data"]) <= 1
    assert isinstance(page["has_more"], bool) and (not page["has_more"] or page["next_cursor"])


def test_unknown_paths_are_404(owner):
    for path in ("/nowhere", "/models/", "/admin", "/inference-instances/7/nothing"):
        assert owner.call("GET", path, expect=404).json()["error"]["code"] == "not_found"


# ---- models and filesystems ----

def test_a_model_is_registered_read_listed_and_deleted(owner, stranger):
    name = unique("llama")
    made = owner.post("/models", dict(MODEL, name=name, hf_token="hf_hush")).json()
    assert made["object"] == "model_registration" and made["has_hf_token"] is True
    assert made["name"] == name and made["source"] == "huggingface" and made["category"] == "chat"
    assert "hf_token" not in made
    assert owner.get("/models/{id}", id=made["id"]).json() == made
    assert made["id"] in [m["id"] for m in owner.get("/models", query={"limit": "100"}).json()["data"]]
    assert owner.post("/models", dict(MODEL, name=name), expect=409).json()["error"]["code"] == "name_taken"
    assert stranger.get("/models/{id}", id=made["id"], expect=403).json()["error"]["code"] == "forbidden"
    stranger.delete("/models/{id}", id=made["id"], expect=403)
    owner.delete("/models/{id}", id=made["id"])
    owner.get("/models/{id}", id=made["id"], expect=404)
    owner.delete("/models/{id}", id=made["id"], expect=404)


@pytest.mark.parametrize("change,param", [({"name": "-x"}, "name"), ({"name": ""}, "name"), ({"name": "a" * 129}, "name"),
                                          ({"source": "tape"}, "source"), ({"repo": "norepo"}, "repo"),
                                          ({"repo": None}, "repo"), ({"revision": "a..b"}, "revision"),
                                          ({"category": "smell"}, "category"), ({"name": 5}, "name"),
                                          ({"hf_token": {"a": 1}}, "hf_token")])
def test_bad_models_are_refused(owner, change, param):
    body = {**MODEL, "name": unique("m"), **change}
    assert owner.post("/models", body, expect=422).json()["error"]["param"] == param


def test_a_filesystem_is_registered_used_and_deleted(owner, stranger):
    name = unique("share")
    made = owner.post("/filesystems", {"name": name, "region": "local-a", "mount_path": "/shared"}).json()
    assert made["object"] == "filesystem" and made["region"] == "local-a"
    assert owner.get("/filesystems/{id}", id=made["id"]).json() == made
    assert made["id"] in [f["id"] for f in owner.get("/filesystems").json()["data"]]
    stranger.get("/filesystems/{id}", id=made["id"], expect=404)
    tuned = owner.post("/models", {"name": unique("tune"), "source": "shared_filesystem", "filesystem_id": made["id"],
                                   "path": "/shared/models/tune/", "category": "chat"}).json()
    owner.delete("/filesystems/{id}", id=made["id"], expect=409)
    bad = {"name": unique("tune"), "source": "shared_filesystem", "filesystem_id": made["id"], "category": "chat"}
    for path in ("/shared/../etc", "/etc/passwd", ""):
        assert owner.post("/models", dict(bad, path=path), expect=422).json()["error"]["param"] == "path"
    owner.delete("/models/{id}", id=tuned["id"])
    owner.delete("/filesystems/{id}", id=made["id"])
    owner.delete("/filesystems/{id}", id=made["id"], expect=404)


# ---- instances ----

def test_a_quote_names_price_and_place_and_holds_nothing(owner, model):
    before = owner.get("/billing/balance").json()
    quote = owner.post("/inference-instances", {"model_id": model["id"], "engine": "simulator", "gpu_type": "local-cpu"},
                       query={"dry_run": "true"}, expect=200).json()
    assert quote["object"] == "quote" and quote["total_replicas"] == 2
    assert sorted(quote["regions"]) == ["local-a", "local-b"]
    assert quote["hold_micros"] == quote["hourly_rate_micros"] * quote["gpu_count"] * 2 * 24
    after = owner.get("/billing/balance").json()
    assert after["held_micros"] == before["held_micros"]


def test_an_instance_runs_and_shows_itself(owner, stranger, instance, model):
    assert instance["object"] == "inference_instance" and instance["model"] == f"{model['name']}:{instance['id']}"
    assert instance["model_id"] == model["id"] and len(instance["replicas"]) == 2
    assert instance["hold_micros"] > 0 and instance["hourly_rate_micros"] > 0
    listed = owner.get("/inference-instances", query={"status": "running"}).json()["data"]
    assert instance["id"] in [i["id"] for i in listed]
    stranger.get("/inference-instances/{id}", id=instance["id"], expect=403)
    stranger.post("/inference-instances/{id}/stop", id=instance["id"], expect=403)
    owner.get("/inference-instances/{id}", id=999999999, expect=404)
    for bad in ("abc", "99999999999999999999"):
        owner.get("/inference-instances/{id}", id=bad, expect=422)
    owner.get("/inference-instances", query={"status": "asleep"}, expect=422)
    owner.delete("/models/{id}", id=model["id"], expect=409)


@pytest.mark.parametrize("change,status,param", [
    ({"model_id": "mdl_00000000000000000000000000"}, 404, "model_id"), ({"model_id": None}, 422, None),
    ({"gpu_count": 0}, 422, "gpu_count"), ({"gpu_count": "1"}, 422, "gpu_count"), ({"gpu_type": "abacus"}, 422, "gpu_type"),
    ({"engine": "steam"}, 422, "engine"), ({"env": {"A": 1}}, 422, "env.A"), ({"env": {"A": "1\x00"}}, 422, "env.A"),
    ({"regions": ["atlantis"]}, 422, "regions"), ({"port": 70000}, 422, "port"),
    ({"secret_env": ["A"]}, 422, "secret_env")])
def test_bad_launches_are_refused(owner, model, change, status, param):
    body = {"model_id": model["id"], "engine": "simulator", "gpu_type": "local-cpu", **change}
    error = owner.post("/inference-instances", body, expect=status).json()["error"]
    assert param is None or error["param"].split("[")[0] == param, error


def test_a_launch_beyond_the_balance_is_402_and_leaves_nothing(api):
    _, poor = api.account("0.01")
    made = poor.post("/models", dict(MODEL, name=unique("m"))).json()
    body = {"model_id": made["id"], "engine": "simulator", "gpu_type": "h100"}
    assert poor.post("/inference-instances", body, expect=402).json()["error"]["code"] == "insufficient_balance"
    assert poor.get("/inference-instances").json()["data"] == []
    assert poor.get("/billing/balance").json()["held_micros"] == 0


def read_stream(answer, seconds):
    """The server-sent events of an answer: (event, id, data) until it ends or the time is over."""
    out, event, ident, end = [], None, None, time.monotonic() + seconds
    for line in answer.iter_lines(decode_unicode=True):
        assert time.monotonic() < end, "the stream did not end"
        if line.startswith("event: "):
            event = line[7:]
        elif line.startswith("id: "):
            ident = line[4:]
        elif line.startswith("data: "):
            out.append((event, ident, json.loads(line[6:])))
        elif line == "":
            event = ident = None
    return out


def test_events_and_logs_are_read_in_order(owner, stranger, instance):
    page = owner.get("/inference-instances/{id}/events", id=instance["id"]).json()
    ids = [e["id"] for e in page["data"]]
    assert ids == sorted(ids) and len(ids) >= 2
    first = owner.get("/inference-instances/{id}/events", id=instance["id"], query={"limit": "1"}).json()
    assert first["has_more"] is True
    second = owner.get("/inference-instances/{id}/events", id=instance["id"],
                       query={"limit": "1", "cursor": first["next_cursor"]}).json()
    assert [e["id"] for e in first["data"] + second["data"]] == ids[:2]
    logs = owner.get("/inference-instances/{id}/logs", id=instance["id"]).json()
    assert logs["object"] == "list" and isinstance(logs["data"], list) and logs["ended"] is False
    for what in ("events", "logs"):
        route = "/inference-instances/{id}/" + what
        stranger.get(route, id=instance["id"], expect=403)
        owner.get(route, id=999999999, expect=404)
        owner.get(route, id=instance["id"], query={"follow": "perhaps"}, expect=422)
        owner.get(route, id=instance["id"], query={"cursor": "not one of ours"}, expect=422)
        owner.get(route, id=999999999, query={"follow": "true"}, expect=404)


def test_an_instance_is_restarted_stopped_and_followed_to_its_end(owner, model):
    launched = launch(owner, model["id"], name="short-lived")
    ident = launched["id"]
    wait_status(owner, ident, "running")
    events = owner.get("/inference-instances/{id}/events", id=ident, query={"follow": "true"}, stream=True)
    logs = owner.get("/inference-instances/{id}/logs", id=ident, query={"follow": "true"}, stream=True)
    assert events.headers["content-type"].startswith("text/event-stream")
    owner.post("/inference-instances/{id}/restart", id=ident, expect=200)
    stopping = owner.post("/inference-instances/{id}/stop", id=ident, expect=200).json()
    assert stopping["status"] in ("stopping", "stopped")
    stopped = wait_status(owner, ident, "stopped")
    assert stopped["termination_reason"] == "user_requested" and stopped["stopped_at"]
    told = read_stream(events, 60)
    numbers = [d["id"] for _, _, d in told if "id" in d]
    assert numbers == sorted(set(numbers)) and told[-1][0] == "end"
    assert read_stream(logs, 60)[-1][0] == "end"
    assert owner.post("/inference-instances/{id}/restart", id=ident, expect=409).json()["error"]["code"] == "wrong_state"
    owner.post("/inference-instances/{id}/stop", id=999999999, expect=404)
    owner.post("/inference-instances/{id}/restart", id=999999999, expect=404)


def test_deleting_an_instance_stops_it(owner, model):
    launched = launch(owner, model["id"])
    assert owner.delete("/inference-instances/{id}", id=launched["id"]).json()["status"] in ("stopping", "stopped")
    wait_status(owner, launched["id"], "stopped")
    owner.delete("/inference-instances/{id}", id=999999999, expect=404)


# ---- idempotency ----

def test_a_repeated_key_answers_as_the_first_time_without_doing_it_again(owner):
    key, name = {"Idempotency-Key": unique("idem")}, unique("llama")
    first = owner.post("/models", dict(MODEL, name=name), headers=key).json()
    assert owner.post("/models", dict(MODEL, name=name), headers=key).json() == first
    other = owner.post("/models", dict(MODEL, name=unique("x")), headers=key, expect=409).json()
    assert other["error"]["code"] == "idempotency_mismatch"
    owner.delete("/models/{id}", id=first["id"])


def test_a_replayed_answer_no_longer_shows_the_secret(owner):
    key = {"Idempotency-Key": unique("idem")}
    first = owner.post("/api-keys", {"name": "once"}, headers=key).json()
    again = owner.post("/api-keys", {"name": "once"}, headers=key).json()
    assert first["key"].startswith("eco_") and "key" not in again and again["id"] == first["id"]
    owner.delete("/api-keys/{id}", id=first["id"])


@pytest.mark.parametrize("key", ["two words", "k" * 256, ""])
def test_a_bad_idempotency_key_is_refused(owner, key):
    answer = owner.post("/models", dict(MODEL, name=unique("m")), headers={"Idempotency-Key": key}, expect=422)
    assert answer.json()["error"]["param"] == "Idempotency-Key"


# ---- keys, members, invites ----

def test_a_key_is_made_listed_and_revoked_at_once(api, owner, stranger):
    made = owner.post("/api-keys", {"name": "ci", "source_tag": "pipeline", "role": "member", "spend_cap": "5.00",
                                    "expires_at": "2099-01-01T00:00:00Z", "rate_limit_per_minute": 60}).json()
    assert made["object"] == "api_key" and made["key"].startswith(made["prefix"])
    assert made["spend_cap_micros"] == 5_000_000 and made["rate_limit_per_minute"] == 60
    client = api.works(made["key"])
    listed = [k for k in owner.get("/api-keys", query={"limit": "100"}).json()["data"] if k["id"] == made["id"]]
    assert len(listed) == 1 and "key" not in listed[0]
    stranger.delete("/api-keys/{id}", id=made["id"], expect=404)
    assert owner.delete("/api-keys/{id}", id=made["id"]).json()["revoked_at"]
    eventually(lambda: client.call("GET", "/models").status_code == 401, 2, what="the revoked key is refused")


@pytest.mark.parametrize("body,param", [({"name": "x", "role": "operator"}, "role"), ({"name": "x", "role": "king"}, "role"),
                                        ({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
                                        ({"name": "x", "expires_at": "soon"}, "expires_at"),
                                        ({"name": "x", "rate_limit_per_minute": -1}, "rate_limit_per_minute"),
                                        ({"name": "x", "spend_cap": "-1.00"}, "spend_cap"),
                                        ({"name": "x", "spend_cap": 5}, "spend_cap")])
def test_bad_keys_are_refused(owner, body, param):
    assert owner.post("/api-keys", body, expect=422).json()["error"]["param"] == param


def test_an_invite_is_a_link_that_makes_a_member_once(api, owner):
    email = f"{uuid.uuid4().hex}@example.com"
    invite = owner.post("/invites", {"email": email, "role": "member"}).json()
    assert invite["object"] == "invite" and invite["accept_url"] == f"{api.url}/invites/{invite['token']}/accept"
    joined = api.nobody.post("/invites/{token}/accept", token=invite["token"]).json()
    assert joined["member"]["email"] == email and joined["member"]["role"] == "member"
    newcomer = api.works(joined["api_key"]["key"])
    newcomer.get("/models")
    assert api.nobody.post("/invites/{token}/accept", token=invite["token"], expect=None).status_code in (404, 409)
    api.nobody.post("/invites/{token}/accept", token="nosuchtoken", expect=404)
    members = owner.get("/members", query={"limit": "100"}).json()["data"]
    assert joined["member"]["id"] in [m["id"] for m in members]
    owner.delete("/members/{id}", id=joined["member"]["id"])
    eventually(lambda: newcomer.call("GET", "/models").status_code == 401, 2, what="the member's key is refused")
    owner.delete("/members/{id}", id=joined["member"]["id"], expect=404)


@pytest.mark.parametrize("body,param", [({"email": "nobody"}, "email"), ({}, "email"),
                                        ({"email": "a@example.com", "role": "operator"}, "role")])
def test_bad_invites_are_refused(owner, body, param):
    assert owner.post("/invites", body, expect=422).json()["error"]["param"] == param


# ---- money ----

def test_the_balance_and_the_ledger_agree(api):
    account_id, rich = api.account("100.00")
    api.operator.post("/admin/accounts/{account_id}/topups", {"amount_micros": 1, "description": "=1+1, \"odd\""},
                      account_id=account_id)
    rows = rich.get("/billing/transactions").json()["data"]
    assert [r["amount_micros"] for r in rows] == [1, 100_000_000] and rows[0]["object"] == "transaction"
    assert rows[0]["balance_after_micros"] == 100_000_001 and rows[0]["balance_after"] == "100.000001"
    balance = rich.get("/billing/balance").json()
    assert balance["object"] == "balance" and balance["available"] == "100.000001" and balance["held_micros"] == 0
    assert "runway_seconds" not in balance
    assert rich.get("/billing/transactions", query={"type": "hold"}).json()["data"] == []
    rich.get("/billing/transactions", query={"type": "gift"}, expect=422)


def test_the_ledger_is_exported_as_csv(api):
    account_id, rich = api.account("100.00")
    api.operator.post("/admin/accounts/{account_id}/topups", {"amount": "1.00", "description": "=1+1, \"odd\""},
                      account_id=account_id)
    as_json = rich.get("/billing/transactions").json()["data"]
    by_accept = rich.get("/billing/transactions", headers={"Accept": "text/csv"})
    assert by_accept.headers["content-type"].startswith("text/csv")
    assert rich.get("/billing/transactions", query={"format": "csv"}).text == by_accept.text
    rows = list(csv.DictReader(io.StringIO(by_accept.text, newline="")))
    assert [r["id"] for r in rows] == [r["id"] for r in as_json]
    assert [r["amount"] for r in rows] == [r["amount"] for r in as_json]
    assert rows[0]["description"] == "'=1+1, \"odd\""
    rich.get("/billing/transactions", query={"format": "csv", "limit": "5"}, expect=422)
    rich.get("/billing/transactions", query={"format": "xml"}, expect=422)


def test_usage_and_notices_are_listed(owner):
    assert owner.get("/billing/usage").json()["object"] == "list"
    for query in ({"from": "yesterday"}, {"to": "2026-13-01"}, {"from": "2026-02-01", "to": "2026-01-01"}):
        owner.get("/billing/usage", query=query, expect=422)
    assert owner.get("/notices").json()["object"] == "list"


# ---- the catalogue ----

def test_regions_and_gpu_types_tell_what_can_be_launched(owner, inference, api):
    regions = {r["name"]: r for r in owner.get("/regions").json()["data"]}
    assert {"local-a", "local-b"} <= set(regions) and regions["local-a"]["object"] == "region"
    assert any(g["gpu_type"] == "local-cpu" and g["free"] > 0 for g in regions["local-a"]["gpus"])
    types = {t["name"]: t for t in inference.get("/gpu-types").json()["data"]}
    assert types["l40s"]["hourly_rate"] == "1.60" and types["l40s"]["hourly_rate_micros"] == 1_600_000
    assert api.nobody.get("/platform/models").json()["object"] == "list"


# ---- operators ----

@pytest.fixture(scope="module")
def second_operator(api):
    made = api.operator.post("/admin/operators", {"name": unique("ops")}).json()
    assert made["object"] == "operator" and made["key"].startswith("eco_")
    return made, api.works(made["key"])


def test_operators_are_named_and_listed_without_their_keys(api, second_operator):
    made, client = second_operator
    listed = [o for o in client.get("/admin/operators", query={"limit": "100"}).json()["data"] if o["id"] == made["id"]]
    assert len(listed) == 1 and "key" not in listed[0]
    api.operator.post("/admin/operators", {"name": ""}, expect=422)


def test_accounts_are_opened_and_listed(api):
    account_id, _ = api.account()
    assert account_id in [a["id"] for a in api.operator.get("/admin/accounts", query={"limit": "100"}).json()["data"]]
    for bad in ({"name": "x"}, {"name": "x", "owner_email": "nobody"}, {"owner_email": "a@example.com"}):
        api.operator.post("/admin/accounts", bad, expect=422)


def test_topups_are_judged(api, account):
    for bad in ({}, {"amount": "0.00"}, {"amount": "-5.00"}, {"amount": 5}, {"amount": "1e3"},
                {"amount": "1.00", "amount_micros": 2}):
        api.operator.post("/admin/accounts/{account_id}/topups", bad, account_id=account[0], expect=422)
    body = {"amount": "1.00", "account_id": "acc_another"}
    api.operator.post("/admin/accounts/{account_id}/topups", body, account_id=account[0], expect=422)
    api.operator.post("/admin/accounts/{account_id}/topups", {"amount": "1.00"}, expect=404, **{
        "account_id": "acc_00000000000000000000000000"})


def test_a_correction_takes_two_operators(api, second_operator):
    account_id, rich = api.account("100.00")
    asked = api.operator.post("/admin/accounts/{account_id}/corrections", {"amount": "-40.00", "reason": "double charge"},
                              account_id=account_id).json()
    assert asked["object"] == "correction" and asked["approved_at"] is None
    assert rich.get("/billing/balance").json()["available"] == "100.00"
    api.operator.post("/admin/corrections/{id}/approve", id=asked["id"], expect=403)
    done = second_operator[1].post("/admin/corrections/{id}/approve", id=asked["id"], expect=200).json()
    assert done["approved_by"] and done["approved_at"]
    assert rich.get("/billing/balance").json()["available"] == "60.00"
    second_operator[1].post("/admin/corrections/{id}/approve", id=asked["id"], expect=409)
    second_operator[1].post("/admin/corrections/{id}/approve", id="cor_00000000000000000000000000", expect=404)
    for bad in ({"amount": "0.00", "reason": "x"}, {"amount": "1.00"}, {"reason": "x"}):
        api.operator.post("/admin/accounts/{account_id}/corrections", bad, account_id=account_id, expect=422)


def test_an_operator_stops_any_instance(api, owner, model):
    launched = launch(owner, model["id"])
    api.operator.post("/admin/instances/{id}/stop", id=launched["id"], expect=200)
    assert wait_status(owner, launched["id"], "stopped")["termination_reason"] == "admin"
    api.operator.post("/admin/instances/{id}/stop", id=999999999, expect=404)


def walk(operator, route, name, body, object_name, bad):
    """PUT, GET one, list, DELETE of a catalogue of the operator's."""
    one = route + "/{name}"
    made = operator.put(one, body, name=name).json()
    assert made["object"] == object_name and made["name"] == name
    assert operator.put(one, dict(body, name=name), name=name).json()["name"] == name
    operator.put(one, dict(body, name="another"), name=name, expect=422)
    assert operator.get(one, name=name).json()["name"] == name
    assert name in [x["name"] for x in operator.get(route, query={"limit": "100"}).json()["data"]]
    for wrong in bad:
        operator.put(one, dict(body, **wrong), name=name, expect=422)
    operator.delete(one, name=name)
    operator.get(one, name="nosuchname", expect=404)
    operator.delete(one, name="nosuchname", expect=404)


def test_gpu_types_are_kept_by_operators(api):
    walk(api.operator, "/admin/gpu-types", unique("gpu"), {"description": "a test's", "memory_gb": 8, "hourly_rate": "0.50"},
         "gpu_type", [{"hourly_rate": "free"}, {"hourly_rate": "-1.00"}, {"memory_gb": "8"}])


def test_regions_are_kept_by_operators(api):
    body = {"driver": "process", "cordoned": True, "gpus": [{"gpu_type": "local-cpu", "total": 1}]}
    walk(api.operator, "/admin/regions", unique("region"), body, "region",
         [{"driver": "pigeon"}, {"gpus": [{"gpu_type": "local-cpu", "total": "1"}]}, {"gpus": [{"gpu_type": "local-cpu",
                                                                                                "total": -1}]}])


def test_the_platform_catalogue_is_kept_by_operators_and_public(api):
    name = unique("acme/model")
    body = {"repo": "acme/model", "category": "chat", "description": "a test's"}
    api.operator.put("/admin/platform-models/{name}", body, name=name)
    assert name in [m["name"] for m in api.nobody.get("/platform/models", query={"limit": "100"}).json()["data"]]
    walk(api.operator, "/admin/platform-models", name, body, "platform_model", [{"repo": "norepo"}, {"category": "smell"}])
    assert name not in [m["name"] for m in api.nobody.get("/platform/models", query={"limit": "100"}).json()["data"]]


# ---- after all ----

def test_every_status_that_was_seen_is_documented(api):
    served = {(r.method, r.path) for r in ROWS}
    seen = {(method, path, status) for method, path, status in api.seen if (method, path) in served}
    assert sorted(seen - documented()) == []


def test_no_route_was_left_out_and_no_secret_was_logged(api, stack):
    kinds = {(method, path, status // 100) for method, path, status in api.seen}
    for row in ROWS:
        assert (row.method, row.path, 2) in kinds, f"{row} never succeeded here"
        assert (row.method, row.path, 4) in kinds, f"{row} never refused anything here"
    for name in ("gateway", "registry", "scheduler", "billing", "health", "nats"):
        assert "hf_hush" not in stack[0].log(name)
