"""Fixtures: a gateway in front of two engines (instance 142), shared by a test module; and a factory for special ones."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gwtest  # noqa: E402


@pytest.fixture(scope="session")
def ending():
    """Gateways told to stop; a stop may take seconds without a bus, so they end side by side."""
    told = []
    yield told
    for g in told:
        assert g.process.wait(40) == 0, g.log()[-4000:]


@pytest.fixture
def make(ending):
    """make(routes, **settings) -> a Gateway; it is told to stop after the test and must end cleanly."""
    made = []

    def start(routes, **settings):
        g = gwtest.Gateway(routes, **settings)
        made.append(g)
        return g

    yield start
    for g in made:
        if g.process.poll() is None:
            g.process.terminate()
        ending.append(g)


class World:
    def __init__(self):
        self.a, self.b, self.custom = gwtest.Engine(), gwtest.Engine(), gwtest.Engine()
        self.g = gwtest.Gateway(
            [
                gwtest.route(142, [self.a]),
                gwtest.route(143, [self.b], account="acc_two"),
                gwtest.route(144, [], status="provisioning", status_detail="downloading weights 37 %", retry_after_s=42),
                gwtest.route(145, [self.custom], openai_compatible=False, custom_api_path="/generate"),
                gwtest.route(146, [], status="running"),
                gwtest.route(147, [], status="stopping"),
            ]
        )


@pytest.fixture(scope="module")
def shared_world():
    w = World()
    yield w
    assert w.g.stop() == 0, w.g.log()[-4000:]


@pytest.fixture
def world(shared_world):
    for e in (shared_world.a, shared_world.b, shared_world.custom):
        e.script = lambda conn, request: conn.send(gwtest.answer())
        e.requests.clear()
        e.closed.clear()
    return shared_world
