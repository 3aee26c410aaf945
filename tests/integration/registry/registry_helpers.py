"""What the registry's tests share: accounts, calls, and the bucket `keys`."""

import hashlib
import itertools

from ecotest import pb
from ecotest.stack import RpcError, eventually

r = pb.registry
_numbers = itertools.count(1)


def sha(key):
    return hashlib.sha256(key.encode()).hexdigest()


def key_entry(stack, key):
    entry = stack.nats.kv_get("keys", sha(key))
    if entry is None:
        return None
    value = r.KeyEntry()
    value.ParseFromString(entry.value)
    return value


def is_revoked(stack, key):
    """Whether the bucket tells it already: a new key's entry may not be there yet."""
    entry = key_entry(stack, key)
    return entry is not None and entry.revoked


class Account:
    """An account of its own for a test, with its owner as caller."""

    def __init__(self, stack):
        self.stack = stack
        n = next(_numbers)
        reply = stack.rpc("registry.CreateAccount", r.CreateAccountRequest(name=f"Account {n}", owner_email=f"owner{n}@example.com"),
                          r.CreateAccountResponse, caller=stack.operator())
        self.id, self.key, self.owner_key = reply.account.id, reply.api_key.key.value, reply.api_key
        self.owner = pb.common.Caller(account_id=self.id, key_id=reply.api_key.id, member_id=reply.api_key.member_id,
                                      role=pb.common.ROLE_OWNER)
        self.member = pb.common.Caller(account_id=self.id, key_id="key_m", member_id="mem_m", role=pb.common.ROLE_MEMBER)
        self.inference = pb.common.Caller(account_id=self.id, key_id="key_i", role=pb.common.ROLE_INFERENCE)

    def call(self, method, request, reply, caller=None, **options):
        return self.stack.rpc("registry." + method, request, reply, caller=caller or self.owner, **options)

    def model(self, name="my-llama", source=r.MODEL_SOURCE_HUGGINGFACE, category=r.MODEL_CATEGORY_CHAT, **fields):
        if source == r.MODEL_SOURCE_HUGGINGFACE and "repo" not in fields:
            fields["repo"] = "org/name"
        caller = fields.pop("caller", None)
        options = {k: fields.pop(k) for k in ("idempotency_key", "timeout") if k in fields}
        return self.call("CreateModel", r.CreateModelRequest(name=name, source=source, category=category, **fields), r.Model,
                         caller, **options)

    def filesystem(self, name="data", region="region-a", mount_path="/shared"):
        return self.call("CreateFilesystem", r.CreateFilesystemRequest(name=name, region=region, mount_path=mount_path),
                         r.Filesystem)

    def api_key(self, name="ci", **fields):
        options = {k: fields.pop(k) for k in ("idempotency_key", "caller", "timeout") if k in fields}
        return self.call("CreateApiKey", r.CreateApiKeyRequest(name=name, **fields), r.ApiKey, **options)


def refused(code, call, *args, param=None, **kwargs):
    """Runs the call, which must be refused with `code` (and `param`); returns the error."""
    try:
        call(*args, **kwargs)
    except RpcError as e:
        assert e.code == code, e
        assert param is None or e.param == param, e
        return e
    raise AssertionError(f"was not refused with {code}")


__all__ = ["Account", "eventually", "key_entry", "pb", "r", "refused", "sha"]
