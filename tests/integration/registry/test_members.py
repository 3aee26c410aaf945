"""Teams: invites for 14 days, members and owners, and the end of a membership. Operators."""

import secrets

from ecotest import pb
from registry_helpers import Account, eventually, is_revoked, key_entry, r, refused

DAY_S = 86400
OWNER, MEMBER = pb.common.ROLE_OWNER, pb.common.ROLE_MEMBER


def invite(account, email, role=0, caller=None, **options):
    return account.call("CreateInvite", r.CreateInviteRequest(email=email, role=role), r.Invite, caller, **options)


def accept(stack, token, **options):
    return stack.rpc("registry.AcceptInvite", r.AcceptInviteRequest(token=token), r.AcceptInviteResponse, **options)


def members(account, caller=None):
    return account.call("ListMembers", r.ListMembersRequest(), r.MemberList, caller).data


def remove(account, member_id, caller=None):
    return account.call("DeleteMember", r.DeleteMemberRequest(id=member_id), r.Member, caller)


def test_an_accepted_invite_returns_the_members_own_key_once(stack, account, registry):
    offered = invite(account, "Bob@Example.com")
    token = offered.token.value
    assert (offered.email, offered.role) == ("bob@example.com", MEMBER)
    assert offered.expires_at.micros - offered.created_at.micros == 14 * DAY_S * 1_000_000
    assert stack.sql("SELECT count(*) FROM registry.invites i WHERE i::text LIKE %s", f"%{token}%") == [(0,)]
    joined = accept(stack, token)
    assert (joined.member.email, joined.member.account_id, joined.api_key.role) == ("bob@example.com", account.id, MEMBER)
    entry = eventually(lambda: key_entry(stack, joined.api_key.key.value))
    assert (entry.member_id, entry.role) == (joined.member.id, MEMBER)
    assert {m.email for m in members(account, account.member)} == {"bob@example.com", account_email(account)}
    refused("wrong_state", accept, stack, token)
    refused("name_taken", invite, account, "bob@example.com", param="email")
    assert token not in registry.logs()


def account_email(account):
    return account.stack.sql("SELECT owner_email FROM registry.accounts WHERE id = %s", account.id)[0][0]


def test_an_invite_expires_after_14_days(stack, account):
    early, late = invite(account, "early@example.com"), invite(account, "late@example.com")
    try:
        stack.advance(14 * DAY_S - 60)
        accept(stack, early.token.value)
        stack.advance(120)
        refused("wrong_state", accept, stack, late.token.value)
    finally:
        stack.set_clock(0)


def test_bad_invites(stack, account):
    refused("invalid_request", invite, account, "nobody", param="email")
    refused("invalid_request", invite, account, "a@b.cc", pb.common.ROLE_INFERENCE, param="role")
    refused("forbidden", invite, account, "a@b.cc", caller=account.member)
    refused("not_found", accept, stack, "nonsense")
    refused("not_found", accept, stack, "0" * 52)


def test_a_second_invite_replaces_the_first(stack, account):
    first, second = invite(account, "c@example.com"), invite(account, "C@example.com", OWNER)
    refused("not_found", accept, stack, first.token.value)
    assert accept(stack, second.token.value).member.role == OWNER


def test_removing_a_member_revokes_his_keys(stack, account):
    joined = accept(stack, invite(account, "d@example.com", OWNER).token.value)
    dora = pb.common.Caller(account_id=account.id, member_id=joined.member.id, key_id=joined.api_key.id, role=OWNER)
    extra = account.call("CreateApiKey", r.CreateApiKeyRequest(name="hers"), r.ApiKey, dora)
    eventually(lambda: key_entry(stack, extra.key.value))
    assert remove(account, joined.member.id).id == joined.member.id
    for key in (joined.api_key.key.value, extra.key.value):
        eventually(lambda k=key: is_revoked(stack, k), 1)
    assert not key_entry(stack, account.key).revoked
    refused("not_found", remove, account, joined.member.id)
    accept(stack, invite(account, "d@example.com").token.value)  # may come back


def test_a_removed_owner_hands_out_nothing_in_the_second_before_gateways_hear(stack, account):
    joined = accept(stack, invite(account, "h@example.com", OWNER).token.value)
    gone = pb.common.Caller(account_id=account.id, member_id=joined.member.id, key_id=joined.api_key.id, role=OWNER)
    remove(account, joined.member.id)
    refused("unauthorized", account.call, "CreateApiKey", r.CreateApiKeyRequest(name="back door"), r.ApiKey, gone)
    refused("unauthorized", invite, account, "h2@example.com", caller=gone)


def test_the_last_owner_cannot_be_removed(stack, account):
    accept(stack, invite(account, "e@example.com").token.value)
    refused("wrong_state", remove, account, account.owner.member_id)
    other = accept(stack, invite(account, "f@example.com", OWNER).token.value)
    remove(account, account.owner.member_id)
    refused("wrong_state", remove, account, other.member.id)


def test_members_remove_nobody_and_strangers_are_not_found(stack, account):
    refused("forbidden", remove, account, account.owner.member_id, account.member)
    refused("not_found", remove, account, Account(stack).owner.member_id)


def test_a_replayed_acceptance_comes_without_the_key(stack, account):
    token = invite(account, "g@example.com", idempotency_key="i1").token.value
    assert invite(account, "g@example.com", idempotency_key="i1").token.value == ""
    first = accept(stack, token, idempotency_key="a1", http_path="/invites/accept")
    again = accept(stack, token, idempotency_key="a1", http_path="/invites/accept")
    assert again.member == first.member and first.api_key.key.value and not again.api_key.key.value


def test_the_bootstrap_key_creates_the_first_two_operators(stack, registry):
    bootstrap = stack.operator("op_bootstrap")
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    first_key, next_key = ("eco_" + "".join(secrets.choice(alphabet) for _ in range(52)) for _ in range(2))
    registry.stop()
    running = stack.start("registry", BOOTSTRAP_KEY=first_key)
    eventually(lambda: key_entry(stack, first_key))

    def create(name, caller):
        return stack.rpc("registry.CreateOperator", r.CreateOperatorRequest(name=name), r.Operator, caller=caller)
    ada, bob = create("ada", bootstrap), create("bob", bootstrap)
    entry = eventually(lambda: key_entry(stack, ada.key.value))
    assert (entry.role, entry.operator_id, entry.account_id) == (pb.common.ROLE_OPERATOR, ada.id, "")
    refused("forbidden", create, "carol", bootstrap)
    refused("name_taken", create, "ada", stack.operator(bob.id))
    create("carol", stack.operator(bob.id))
    listed = stack.rpc("registry.ListOperators", r.ListOperatorsRequest(), r.OperatorList, caller=bootstrap)
    assert {o.name for o in listed.data} == {"bootstrap", "ada", "bob", "carol"}
    assert all(not o.HasField("key") for o in listed.data)
    assert first_key not in running.logs()
    running.stop()
    stack.start("registry", BOOTSTRAP_KEY=next_key)  # rotated: the one before is revoked
    eventually(lambda: key_entry(stack, next_key))
    eventually(lambda: is_revoked(stack, first_key))


def test_accounts_are_listed_for_operators(stack, account):
    found = stack.rpc("registry.GetAccount", r.GetAccountRequest(id=account.id), r.Account, caller=stack.operator())
    assert found.id == account.id
    refused("not_found", stack.rpc, "registry.GetAccount", r.GetAccountRequest(id="acc_x"), caller=stack.operator())
    page = stack.rpc("registry.ListAccounts", r.ListAccountsRequest(limit=1), r.AccountList, caller=stack.operator())
    assert len(page.data) == 1 and page.page.has_more
    refused("forbidden", account.call, "ListAccounts", r.ListAccountsRequest(), r.AccountList)
    snapshot = stack.rpc("registry.Snapshot", pb.common.SnapshotRequest(entity="account", limit=100), pb.common.SnapshotPage)
    assert account.id in [e.entity_id for e in snapshot.entities]
