"""API keys: shown once, published at once, revoked within a second, and whole after a crash at any step."""

import time

import pytest
from ecotest import pb
from ecotest.stack import NoAnswer, next_event
from registry_helpers import Account, eventually, is_revoked, key_entry, r, refused, sha


def revoke(account, key_id, **options):
    return account.call("RevokeApiKey", r.RevokeApiKeyRequest(id=key_id), r.ApiKey, **options)


def test_a_key_is_shown_once_and_only_its_hash_is_stored(stack, account, registry):
    events = stack.events("ecolink.evt.registry.key.*")
    key = account.api_key(source_tag="ci", rate_limit_per_minute=7, spend_cap=pb.common.Money(micros=5_000_000),
                          expires_at=pb.common.Timestamp(micros=stack.now_us() + 3_600_000_000))
    secret = key.key.value
    assert key.prefix == secret[:12] and key.role == pb.common.ROLE_INFERENCE
    entry = eventually(lambda: key_entry(stack, secret))
    assert (entry.key_id, entry.account_id, entry.rate_limit_per_minute, entry.spend_cap_micros) == (
        key.id, account.id, 7, 5_000_000)
    assert entry.expires_at_us == key.expires_at.micros and not entry.revoked
    shown = account.call("GetApiKey", r.GetApiKeyRequest(id=key.id), r.ApiKey)
    assert not shown.HasField("key") and shown.prefix == key.prefix
    for listed in account.call("ListApiKeys", r.ListApiKeysRequest(), r.ApiKeyList).data:
        assert not listed.HasField("key")
    event = next_event(events)
    while event.entity_id != key.id:  # the account's first key may be told late
        event = next_event(events)
    assert event.type == "key.created"
    assert secret.encode() not in event.SerializeToString()
    for table in ("api_keys", "outbox", "idempotency"):
        assert stack.sql(f"SELECT count(*) FROM registry.{table} t WHERE t::text LIKE %s", f"%{secret[12:]}%") == [(0,)]
    assert secret not in registry.logs()


def test_only_owners_handle_keys(account):
    for caller in (account.member, account.inference):
        refused("forbidden", account.api_key, caller=caller)
        refused("forbidden", account.call, "ListApiKeys", r.ListApiKeysRequest(), r.ApiKeyList, caller)
        refused("forbidden", account.call, "RevokeApiKey", r.RevokeApiKeyRequest(id=account.owner_key.id), r.ApiKey, caller)


def test_bad_fields_are_named(stack, account):
    refused("invalid_request", account.api_key, "", param="name")
    refused("invalid_request", account.api_key, role=pb.common.ROLE_OPERATOR, param="role")
    refused("invalid_request", account.api_key, rate_limit_per_minute=0, param="rate_limit_per_minute")
    refused("invalid_request", account.api_key, spend_cap=pb.common.Money(micros=-1), param="spend_cap")
    refused("invalid_request", account.api_key, expires_at=pb.common.Timestamp(micros=stack.now_us() - 1), param="expires_at")


def test_a_revoked_key_is_known_to_gateways_within_a_second(stack, account):
    key = account.api_key()
    secret = key.key.value
    eventually(lambda: key_entry(stack, secret))
    started = time.monotonic()
    revoked = revoke(account, key.id)
    eventually(lambda: is_revoked(stack, secret), 1, every=0.005)
    assert time.monotonic() - started < 1
    assert revoked.revoked_at.micros > 0
    assert revoke(account, key.id).revoked_at == revoked.revoked_at  # again changes nothing
    assert stack.sql("SELECT version FROM registry.api_keys WHERE id = %s", key.id) == [(2,)]


def test_another_accounts_key_is_not_found(stack, account):
    other = Account(stack)
    refused("not_found", revoke, account, other.owner_key.id)
    refused("not_found", account.call, "GetApiKey", r.GetApiKeyRequest(id=other.owner_key.id), r.ApiKey)


def test_a_replay_with_the_same_idempotency_key_comes_without_the_secret(stack, account):
    first = account.api_key(idempotency_key="once")
    again = account.api_key(idempotency_key="once")
    assert first.key.value.startswith("eco_")
    assert again.id == first.id and again.key.value == ""
    refused("idempotency_mismatch", account.api_key, "another name", idempotency_key="once")
    assert stack.sql("SELECT count(*) FROM registry.api_keys WHERE account_id = %s", account.id) == [(2,)]


def test_the_last_use_is_written_at_most_once_a_minute(stack, account):
    key = account.api_key()
    minute = stack.now_us() // 60_000_000 * 60_000_000

    def use(minute_us, sequence):
        record = pb.gateway.UsageRecord(account_id=account.id, key_id=key.id, instance_id=1, minute_us=minute_us, requests=1)
        batch = pb.gateway.UsageBatch(gateway="gw", boot="b", sequence=sequence, records=[record, record])
        stack.publish_event("gateway", "usage.recorded", "gw", 0, batch, event_id=f"gw-b-{account.id}-{sequence}")

    def last_used():
        return account.call("GetApiKey", r.GetApiKeyRequest(id=key.id), r.ApiKey).last_used_at.micros
    use(minute - 60_000_000, 1)
    eventually(lambda: last_used() == minute - 60_000_000)
    before = stack.sql("SELECT xmin::text FROM registry.api_keys WHERE id = %s", key.id)
    use(minute - 60_000_000, 2)
    use(minute - 120_000_000, 3)
    marker = account.api_key("marker")
    record = pb.gateway.UsageRecord(account_id=account.id, key_id=marker.id, minute_us=minute, requests=1)
    stack.publish_event("gateway", "usage.recorded", "gw", 0, pb.gateway.UsageBatch(gateway="gw", records=[record]))
    eventually(lambda: account.call("GetApiKey", r.GetApiKeyRequest(id=marker.id), r.ApiKey).last_used_at.micros == minute)
    assert stack.sql("SELECT xmin::text FROM registry.api_keys WHERE id = %s", key.id) == before
    use(minute, 4)
    eventually(lambda: last_used() == minute)
    assert stack.sql("SELECT version FROM registry.api_keys WHERE id = %s", key.id) == [(1,)]


def restart(stack, crash_point=None, **settings):
    for service in stack.services:
        if service.process.poll() is None:
            service.stop()
    started = stack.start("registry", crash_point=crash_point, **settings)
    return started


# Later passages, so that the crash meets a request and not only the start.
CRASHES = ["kit.tx.committed:12", "kit.rpc.handled:4", "kit.relay.published:5", "kit.relay.deleted:5"]


def until_the_crash(service, call):
    """Calls call(0), call(1), ... until the service has died; answers by number, None for those without one."""
    answers = []
    for i in range(500):
        if service.process.poll() is not None:
            break
        try:
            answers.append(call(i))
        except NoAnswer:
            answers.append(None)
    assert service.process.poll() is not None, "the crash point was not reached"
    assert any(answers), "no request was served before the crash"
    return answers


@pytest.mark.parametrize("point", CRASHES)
def test_a_kill_while_keys_are_created_loses_nothing(stack, account, point):
    def create(i):
        return account.api_key(f"key {i}", idempotency_key=f"{point}-{i}", timeout=1)
    answers = until_the_crash(restart(stack, crash_point=point), create)
    restart(stack)
    for i, answer in enumerate(answers):
        again = create(i)
        rows = stack.sql("SELECT id, sha256_hex FROM registry.api_keys WHERE account_id = %s AND name = %s", account.id, f"key {i}")
        assert [key_id for key_id, _ in rows] == [again.id]
        assert eventually(lambda h=rows[0][1]: stack.nats.kv_get("keys", h)).version == 1
        if answer:
            assert answer.id == again.id and sha(answer.key.value) == rows[0][1]
            assert again.key.value == ""
        elif again.key.value:  # the crash came before the commit: this call was the first
            assert sha(again.key.value) == rows[0][1]


@pytest.mark.parametrize("point", CRASHES)
def test_a_kill_while_keys_are_revoked_ends_in_revoked_keys(stack, account, point):
    restart(stack)
    keys = [account.api_key(f"revoke {i}") for i in range(40)]
    for key in keys:
        eventually(lambda k=key: key_entry(stack, k.key.value))

    def revoke_one(i):
        return revoke(account, keys[i % len(keys)].id, idempotency_key=f"r-{point}-{i}", timeout=1)
    answers = until_the_crash(restart(stack, crash_point=point), revoke_one)
    restart(stack)
    for i, answer in enumerate(answers[:len(keys)]):
        again = revoke_one(i)
        assert again.revoked_at.micros > 0
        assert answer is None or answer.revoked_at == again.revoked_at
        eventually(lambda k=keys[i]: is_revoked(stack, k.key.value))
        assert stack.nats.kv_get("keys", sha(keys[i].key.value)).version == 2


def test_a_lost_bucket_is_filled_again(stack, account):
    service = restart(stack)
    kept, gone = account.api_key("kept"), account.api_key("gone")
    revoke(account, gone.id)
    eventually(lambda: is_revoked(stack, gone.key.value))
    before = stack.nats.kv_keys("keys")
    stack.nats.kv_delete_bucket("keys")
    service.kill()  # the next holder of the lease compares bucket and table
    restart(stack)
    eventually(lambda: key_entry(stack, kept.key.value), 20)
    assert key_entry(stack, gone.key.value).revoked
    eventually(lambda: before - {"_generation"} <= stack.nats.kv_keys("keys"), 5)
    eventually(lambda: "_generation" in stack.nats.kv_keys("keys"), 5)


def test_keys_are_published_when_the_bus_was_away(stack, account):
    restart(stack)
    stack.stop_nats(lose_files=True)
    stack.start_nats()
    key = eventually(lambda: try_key(account), 20, every=0.5)
    eventually(lambda: key_entry(stack, key.key.value), 20)
    eventually(lambda: key_entry(stack, account.key), 70)  # made before the loss: by repair


def try_key(account):
    try:
        return account.api_key("after", timeout=2)
    except Exception:  # not connected yet
        return None
