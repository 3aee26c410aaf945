"""The registry under test and a fresh account."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from registry_helpers import Account  # noqa: E402


@pytest.fixture(scope="module")
def registry(stack):
    return stack.start("registry", PIN_CHECK_MS=500)


@pytest.fixture
def account(stack, registry):
    return Account(stack)
