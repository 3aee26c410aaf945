"""The cluster that tests run against: up already (`make test-kube`), this process inside its network."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from kubetest import layout, objects, plane  # noqa: E402


def pytest_collection_modifyitems(items):
    """Inside a cluster's network run all but those that make their own; outside only those."""
    inside = bool(os.environ.get("ECOLINK_KUBE_PROGRAMS"))
    chosen = [i for i in items if inside != bool(i.get_closest_marker("outside"))]
    if not inside and not chosen and items:
        raise pytest.UsageError("tests/kube runs inside a cluster's network: make test-kube, or tests/kube/cluster exec pytest tests/kube")
    items[:] = chosen


@pytest.fixture(scope="session", params=layout.REGIONS, ids=lambda r: r.name)
def region(request):
    """Both, one after the other."""
    return plane.Plane(request.param, os.environ["ECOLINK_KUBE_PROGRAMS"])


@pytest.fixture(scope="session")
def one_region():
    return plane.Plane(layout.REGIONS[0], os.environ["ECOLINK_KUBE_PROGRAMS"])


@pytest.fixture
def tenants(one_region):
    """Deployments and claims in the first region's tenant namespace; all are gone afterwards."""
    bench = objects.Bench(one_region)
    yield bench
    bench.clear()
