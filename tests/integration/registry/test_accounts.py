"""Accounts, operators and the bootstrap key."""

import secrets

import pytest
from ecotest import pb
from ecotest.stack import RpcError, eventually
from registry_helpers import key_entry

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
BOOTSTRAP = "eco_" + "".join(secrets.choice(ALPHABET) for _ in range(52))


@pytest.fixture(scope="module")
def registry(stack):
    return stack.start("registry", BOOTSTRAP_KEY=BOOTSTRAP)


def test_the_bootstrap_key_is_published_as_operator_bootstrap(stack, registry):
    entry = eventually(lambda: key_entry(stack, BOOTSTRAP))
    assert entry.role == pb.common.ROLE_OPERATOR
    assert entry.operator_id == "op_bootstrap"
    assert entry.account_id == ""
    assert not entry.revoked


def test_an_account_comes_with_its_owners_key(stack, registry):
    reply = stack.rpc("registry.CreateAccount",
                      pb.registry.CreateAccountRequest(name="Acme", owner_email="Ada@Example.com"),
                      pb.registry.CreateAccountResponse, caller=stack.operator("op_bootstrap"))
    key = reply.api_key.key.value
    assert key.startswith("eco_") and len(key) == 56
    assert reply.api_key.prefix == key[:12]
    assert reply.account.owner_email == "ada@example.com"
    entry = eventually(lambda: key_entry(stack, key))
    assert entry.account_id == reply.account.id
    assert entry.role == pb.common.ROLE_OWNER
    assert entry.rate_limit_per_minute == 200
    assert [] == stack.sql("SELECT 1 FROM registry.api_keys WHERE api_keys::text LIKE %s", f"%{key}%")
    assert key not in registry.logs()


def test_a_tenant_cannot_create_accounts(stack, registry):
    caller = pb.common.Caller(role=pb.common.ROLE_OWNER, account_id="acc_x")
    with pytest.raises(RpcError) as e:
        stack.rpc("registry.CreateAccount", pb.registry.CreateAccountRequest(name="x", owner_email="a@b.cc"), caller=caller)
    assert e.value.code == "forbidden"
