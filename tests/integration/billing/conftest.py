"""Fixtures of billing's integration tests. Every module ends with the independent ledger check (check_ledger.py)."""

import os
import sys

import pytest
from ecotest.stack import RpcError

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from billing_world import Billing, Meter  # noqa: E402


@pytest.fixture(scope="module")
def meter(stack):
    m = Meter(stack)
    yield m
    m.end()


@pytest.fixture(scope="module")
def billing(stack, meter):
    b = Billing(stack, meter)
    yield b
    b.check_ledger()


@pytest.fixture
def refused():
    """Runs a call that must fail and returns the error."""
    def call(fn, *args, **kwargs):
        with pytest.raises(RpcError) as e:
            fn(*args, **kwargs)
        return e.value
    return call
