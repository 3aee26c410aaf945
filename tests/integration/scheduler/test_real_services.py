"""The scheduler with the real registry and the real billing: from registration to the ledger's last row."""

import secrets

import pytest
from ecotest import pb
from ecotest.stack import RpcError, eventually
from world import B, C, R, S, World

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
BOOTSTRAP = "eco_" + "".join(secrets.choice(ALPHABET) for _ in range(52))


@pytest.fixture(scope="module")
def real(stack):
    w = World(stack, fakes=False)
    stack.start("registry", BOOTSTRAP_KEY=BOOTSTRAP)
    stack.start("billing", TICK_MS=200)
    w.start()
    op = stack.operator("op_bootstrap")
    created = stack.rpc("registry.CreateAccount", R.CreateAccountRequest(name="Acme", owner_email="a@b.cc"),
                        R.CreateAccountResponse, caller=op)
    w.account = created.account.id
    w.owner = C.Caller(account_id=w.account, role=C.ROLE_OWNER, key_id=created.api_key.id, member_id=created.api_key.member_id)
    model = R.CreateModelRequest(name="my-llama", source=R.MODEL_SOURCE_CONTAINER, category=R.MODEL_CATEGORY_CHAT)
    w.model = stack.rpc("registry.CreateModel", model, R.Model, caller=w.owner).id
    yield w
    w.close()


def balance(w):
    return w.stack.rpc("billing.GetBalance", B.GetBalanceRequest(), B.Balance, caller=w.owner)


def rows(w, instance):
    listed = w.stack.rpc("billing.ListTransactions", B.ListTransactionsRequest(instance_id=instance, limit=100),
                         B.TransactionList, caller=w.owner)
    return listed.data


def test_without_balance_the_launch_is_refused_with_amounts_and_the_model_stays_free(real):
    with pytest.raises(RpcError) as e:
        real.launch(model_id=real.model)
    assert e.value.code == "insufficient_balance" and "76.8" in e.value.message
    assert real.reserved() == 0
    eventually(lambda: real.stack.rpc("registry.GetModel", R.GetModelRequest(id=real.model), R.Model,
                                      caller=real.owner).live_instances == 0)


def test_a_life_from_hold_to_refund(real):
    eventually(lambda: _topped_up(real), 10, 0.2)
    i = real.running(model_id=real.model)
    assert i.hold.micros == 76_800_000
    assert balance(real).held.micros == 76_800_000
    with pytest.raises(RpcError) as e:
        real.stack.rpc("registry.DeleteModel", R.DeleteModelRequest(id=real.model), R.Model, caller=real.owner)
    assert e.value.code == "in_use"
    real.stack.advance(3600)
    eventually(lambda: real.meter(i.id).observed_until_us > real.stack.now_us() - 2_000_000, 15, 0.1)
    real.stopped(i.id)
    settled = eventually(lambda: (r := rows(real, i.id)) and any(x.type == B.TRANSACTION_TYPE_REFUND for x in r) and r, 20, 0.2)
    usage = sum(-x.amount.micros for x in settled if x.type == B.TRANSACTION_TYPE_GPU_USAGE)
    assert 3_195_000 <= usage <= 3_230_000  # an hour of two replicas; whole seconds, rounded to the customer's side
    assert sum(x.amount.micros for x in settled) == -usage
    assert eventually(lambda: balance(real).held.micros == 0)
    eventually(lambda: real.stack.rpc("registry.GetModel", R.GetModelRequest(id=real.model), R.Model,
                                      caller=real.owner).live_instances == 0)


def _topped_up(real):
    try:
        return real.stack.rpc("billing.TopUp", B.TopUpRequest(account_id=real.account, amount=C.Money(micros=200_000_000),
                                                              description="start"), B.Transaction,
                              caller=real.stack.operator("op_bootstrap"))
    except RpcError as e:  # billing has not heard of the account yet
        if e.code != "not_found":
            raise
        return None
