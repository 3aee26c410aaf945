"""Accounts, keys, teams (product description, section 5); time-travel for expiry is in test_07_time.py."""
import threading
import time

import pytest
from eco.client import Client, events
from eco.waiting import wait


def new_key(stack, owner, **fields):
    made = owner.ok("POST", "/api-keys", 201, json={"name": "k"} | fields)
    client = Client(stack.url, made["key"])
    client.key_id = made["id"]
    return client, made


def works(client):
    return client.get("/v1/models").status_code == 200


def test_a_key_has_the_prefix_and_is_shown_once(stack, tenant):
    """[D] 5: Keys: prefix `eco_`, shown once, account-scoped, optional source tag"""
    client, made = new_key(stack, tenant, source_tag="ci")
    assert made["key"].startswith("eco_") and made["key"].startswith(made["prefix"]) and len(made["key"]) == 56
    assert made["source_tag"] == "ci"
    listed = tenant.get("/api-keys")
    assert made["key"] not in listed.text
    row = next(k for k in listed.json()["data"] if k["id"] == made["id"])
    assert row["prefix"] == made["prefix"] and "key" not in {k for k, v in row.items() if v is not None}
    wait(lambda: works(client), "the key at the gateway", 5)
    # Only its hash is stored.
    assert stack.psql(f"SELECT count(*) FROM registry.api_keys k WHERE k::text LIKE '%{made['key']}%'") == "0"


def test_any_members_key_calls_any_instance_of_the_account(stack, tenant):
    """[D] 5: account-scoped (any member's key calls any instance of the account)"""
    instance = tenant.run(tenant.hf_model())
    client, _ = new_key(stack, tenant)
    wait(lambda: client.chat(instance["model"]).status_code == 200, "the call", 5)


def test_a_revoked_key_is_refused_within_a_second_and_calls_in_flight_finish(stack, tenant):
    """[D] 5: revoking is immediate for new requests, those in flight finish"""
    instance = tenant.run(tenant.hf_model(), args=["--token-ms", "100"])
    client, made = new_key(stack, tenant)
    wait(lambda: works(client), "the key at the gateway", 5)
    flying = events(client.chat(instance["model"], stream=True, max_tokens=30))
    next(flying)
    tenant.ok("DELETE", f"/api-keys/{made['id']}")
    revoked = time.monotonic()
    fresh = Client(stack.url, client.key)
    wait(lambda: fresh.get("/v1/models").status_code == 401, "the refusal", 1.0, every=0.02)
    assert time.monotonic() - revoked < 1.0
    fresh.refused("GET", "/v1/models", 401, "unauthorized")
    assert list(flying)[-1] == "[DONE]"


def test_roles_bound_what_a_key_can_do(stack, tenant, chat_instance):
    """[D] 5: owner (everything) and member (launch, stop, view; no invites, no keys). A key carries a role: owner, member, or inference (calls only)"""
    member, _ = new_key(stack, tenant, role="member")
    inference, _ = new_key(stack, tenant, role="inference")
    wait(lambda: works(member) and works(inference), "the keys at the gateway", 5)
    model = member.hf_model()
    instance = member.launch(model)
    assert member.instance(instance["id"])["id"] == instance["id"]
    member.refused("POST", "/api-keys", 403, "forbidden", json={"name": "x"})
    member.refused("POST", "/invites", 403, "forbidden", json={"email": "a@example.com"})
    member.ok("POST", f"/inference-instances/{instance['id']}/stop")
    inference.refused("POST", "/models", 403, "forbidden", json={"name": "x", "source": "container", "category": "chat"})
    inference.refused("POST", "/inference-instances", 403, "forbidden", json={"model_id": model["id"], "engine": "simulator"})
    inference.refused("GET", "/billing/balance", 403, "forbidden")
    for client in (tenant, member, inference):
        client.refused("GET", "/admin/accounts", 403, "forbidden")


def test_an_invite_brings_a_member_with_a_key_of_their_own_once(stack, tenant):
    """[D] 5: invites are links; accepting an invite returns the member's own key, once"""
    invite = tenant.ok("POST", "/invites", 201, json={"email": "new@example.com"})
    token = invite["token"]
    nobody = Client(stack.url, None)
    accepted = nobody.ok("POST", f"/invites/{token}/accept", 201)
    member = Client(stack.url, accepted["api_key"]["key"])
    wait(lambda: works(member), "the member's key", 5)
    assert member.ok("GET", "/members")["data"]
    assert "new@example.com" in [m["email"] for m in tenant.ok("GET", "/members")["data"]]
    again = nobody.post(f"/invites/{token}/accept")
    assert again.status_code in (404, 409) and "eco_" not in again.text
    # Removed from the team, the member's key ends.
    tenant.ok("DELETE", f"/members/{accepted['member']['id']}")
    wait(lambda: Client(stack.url, member.key).get("/v1/models").status_code == 401, "the end of the member's key", 5)


def test_200_requests_a_minute_are_allowed_by_default_and_more_are_told_when_to_return(stack, tenants):
    """[D] 4: Rate limit: 200 requests a minute per key by default"""
    client = tenants().first
    limited = None
    began = time.monotonic()
    for n in range(1, 260):
        answer = client.get("/v1/models")
        if answer.status_code == 429:
            limited = answer
            break
        assert answer.status_code == 200 and answer.headers["x-ratelimit-limit"] == "200"
    assert limited is not None
    # The fixture's own calls count as well, and allowance comes back while we ask.
    assert 190 <= n <= 201 + (time.monotonic() - began) * 200 / 60 + 1
    assert limited.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(limited.headers["retry-after"]) <= 60
    assert limited.headers["x-ratelimit-remaining"] == "0"


def test_a_keys_rate_limit_is_configurable(stack, tenant):
    """[D] 4: configurable per key"""
    client, _ = new_key(stack, tenant, rate_limit_per_minute=5)
    wait(lambda: client.get("/v1/models").headers.get("x-ratelimit-limit") == "5", "the key at the gateway", 5)
    answers = [client.get("/v1/models").status_code for _ in range(6)]
    assert 429 in answers
    assert tenant.get("/v1/models").status_code == 200  # another key of the account has its own


def test_tenants_are_apart(stack, tenants):
    """[D] 5: account-scoped"""
    one, two = tenants(name="one"), tenants(name="two")
    model = one.hf_model("secret-plan")
    instance = one.launch(model)
    for path in ("/models", "/inference-instances", "/billing/transactions", "/members", "/notices", "/filesystems", "/api-keys"):
        assert "secret-plan" not in two.get(path).text
        assert one.account_id not in two.get(path).text
    two.refused("DELETE", f"/models/{model['id']}", 403, "forbidden")
    two.refused("POST", f"/inference-instances/{instance['id']}/restart", 403, "forbidden")
    two.refused("GET", f"/inference-instances/{instance['id']}/logs", 403, "forbidden")
    key = one.ok("GET", "/api-keys")["data"][0]
    two.refused("DELETE", f"/api-keys/{key['id']}", 404, "not_found")


@pytest.mark.parametrize("header", [
    None, "", "Bearer", "Bearer ", "Bearer eco_short", "Bearer sk-1234", "Basic abc", "Bearer eco_" + "0" * 52,
    "Bearer eco_" + "0" * 51 + "\t",
])
def test_a_key_that_is_none_is_refused(stack, header):
    """401 `unauthorized` (none, malformed, revoked)"""
    client = Client(stack.url, None)
    headers = {} if header is None else {"Authorization": header}
    for path in ("/v1/models", "/billing/balance", "/admin/accounts"):
        client.refused("GET", path, 401, "unauthorized", headers=headers)
