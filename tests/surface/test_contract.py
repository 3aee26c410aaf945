"""The protobuf contract against the last release's, and each rule of the comparison against a change that breaks it."""
import copy
import re
import subprocess

import pytest

import contract
from contract import TREE


@pytest.fixture(scope="module")
def released():
    return contract.last_release()


def test_nothing_that_the_last_release_reads_or_writes_has_changed(released):
    version, _, old = released
    messages, enums = contract.flatten(old)
    assert len(messages) >= 100 and len(enums) >= 10
    assert contract.breaks(old, contract.present()) == [], f"breaks release {version}"


def test_the_descriptor_is_that_of_the_released_commit(released):
    version, commit, old = released
    assert re.fullmatch("[0-9a-f]{40}", commit)
    if subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=TREE, capture_output=True).returncode != 0:
        pytest.skip(f"the commit of release {version} is not in this shallow clone")
    listed = subprocess.run(["git", "ls-tree", "-r", "--name-only", commit, "proto/"], cwd=TREE, check=True, capture_output=True,
                            text=True).stdout.split()
    assert sorted(f.name for f in old.file) == sorted(f.removeprefix("proto/") for f in listed if f.endswith(".proto"))
    for message in contract.flatten(old)[0].values():
        assert f"message {message.name} " in subprocess.run(
            ["git", "grep", "-h", f"^message {message.name} ", commit, "--", "proto"], cwd=TREE, capture_output=True,
            text=True).stdout, message.name


def message(files, name):
    return contract.flatten(files)[0][f"ecolink.v1.{name}"]


def enum(files, name):
    return contract.flatten(files)[1][f"ecolink.v1.{name}"]


def drop(items, name):
    at = next(i for i, item in enumerate(items) if item.name == name)
    del items[at]


def field(files, name):
    owner, member = name.split(".")
    return next(f for f in message(files, owner).field if f.name == member)


def remove_and_reserve(files, names=True, number=9):
    m = message(files, "Model")
    drop(m.field, "category")
    m.reserved_range.add(start=number, end=number + 1)
    if names:
        m.reserved_name.append("category")


BREAKING = {
    "a field is renumbered": lambda f: setattr(field(f, "Model.repo"), "number", 77),
    "a field's type changes": lambda f: setattr(field(f, "Model.repo"), "type", field(f, "Instance.id").type),
    "a field becomes repeated": lambda f: setattr(field(f, "Model.repo"), "label", field(f, "Instance.replicas").label),
    "a field's message changes": lambda f: setattr(field(f, "Instance.hold"), "type_name", ".ecolink.v1.Timestamp"),
    "a field is renamed": lambda f: setattr(field(f, "Model.repo"), "name", "repository"),
    "a field leaves its oneof": lambda f: field(f, "Balance.runway_seconds").ClearField("oneof_index"),
    "a field is removed": lambda f: drop(message(f, "Model").field, "category"),
    "a removed field's name is free": lambda f: remove_and_reserve(f, names=False),
    "another number is reserved": lambda f: remove_and_reserve(f, number=90),
    "a message is removed": lambda f: drop(f.file[0].message_type, f.file[0].message_type[0].name),
    "an enum is removed": lambda f: drop(next(x for x in f.file if x.name.endswith("billing.proto")).enum_type, "HoldStatus"),
    "an enum's value is removed": lambda f: drop(enum(f, "Role").value, "ROLE_OPERATOR"),
    "an enum's value is renumbered": lambda f: setattr(enum(f, "Role").value[4], "number", 9),
    "an enum's value is renamed": lambda f: setattr(enum(f, "Role").value[4], "name", "ROLE_ADMIN"),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_is_found(change, released):
    new = copy.deepcopy(released[2])
    BREAKING[change](new)
    assert len(contract.breaks(released[2], new)) == 1, change


def test_a_reused_number_is_found_although_its_name_was_reserved(released):
    new = copy.deepcopy(released[2])
    drop(message(new, "Model").field, "category")
    message(new, "Model").field.add(name="kind", number=9, type=9, label=1)
    assert contract.breaks(released[2], new) == ["ecolink.v1.Model.category: number 9 is now kind (reused or renamed)"]


def test_a_reservation_may_not_be_lifted(released):
    old = copy.deepcopy(released[2])
    remove_and_reserve(old)
    new = copy.deepcopy(old)
    message(new, "Model").ClearField("reserved_range")
    message(new, "Model").ClearField("reserved_name")
    assert len(contract.breaks(old, new)) == 2


def test_additions_and_reserved_removals_are_no_breaks(released):
    new = copy.deepcopy(released[2])
    remove_and_reserve(new)
    message(new, "Model").field.add(name="fresh", number=99, type=9, label=1)
    enum(new, "Role").value.add(name="ROLE_AUDITOR", number=5)
    new.file[0].message_type.add(name="Fresh")
    assert contract.breaks(released[2], new) == []
