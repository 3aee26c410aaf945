import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from kube_world import KubeWorld, rooms_are_seen  # noqa: E402
from test_kube_client import make_authority  # noqa: E402
from world import World  # noqa: E402


@pytest.fixture(scope="module")
def world(stack):
    w = World(stack)
    yield w
    w.close()


@pytest.fixture(autouse=True)
def no_fault_outlives_its_test(request):
    """A test that fails half-way leaves no trouble and no instance for the next one."""
    yield
    if "kube" in request.fixturenames:
        kube = request.getfixturevalue("kube")
        for cluster in kube.clusters():
            cluster.before, cluster.token, cluster.kubelet_on = None, None, True
        for i in kube.live():
            kube.stopped(i)


@pytest.fixture(scope="module")
def kube(stack, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("kube-pki"))
    make_authority(folder)
    w = KubeWorld(stack, folder)
    w.start()
    rooms_are_seen(w)
    yield w
    w.close()
