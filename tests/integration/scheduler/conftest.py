import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from world import World  # noqa: E402


@pytest.fixture(scope="module")
def world(stack):
    w = World(stack)
    yield w
    w.close()
