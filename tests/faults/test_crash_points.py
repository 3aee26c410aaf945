"""kill -9 at every crash point that a service prints, in the middle of what leads there; then the world is checked.

The points come from the binaries' own `--list-crash-points`: a new one without a scenario fails, and so does one that is never
reached. All clients go on with their idempotency keys meanwhile and are told one answer each."""
import pytest
import scenarios
import tier
import world
from conftest import TIER
from eco.stack import SERVICES, TREE
from lab import printed_crash_points

# Points of what this stack does not do: the Kubernetes driver's suites have them (tests/kube, tests/integration/scheduler), and
# tests/integration/gateway/test_handover.py.
ELSEWHERE = ("kubernetes.", "scheduler.lost.", "gateway.handover.")
POINTS = {s: [p for p in printed_crash_points(s) if not p.startswith(ELSEWHERE)] for s in SERVICES}
LEAST_CASES = {"test": 11, "ci": 220, "soak": 220}
LEAST_POINTS = 122  # of all services together; a smaller number means that points were lost

# One of each kind, for every run of `make test`.
SUBSET = {
    "scheduler": ["scheduler.launch.hold_placed", "process.forked", "process.term_sent",
                  "scheduler.launch.hold_closed"],
    "billing": ["billing.cycles.committed", "kit.relay.published", "kit.event.applied"],
    "registry": ["kit.event.applied", "kit.kv_repair.put"],
    "health": ["health.pass.committed"],
    "gateway": ["gateway.usage.spooled"],
}


def cases():
    """Every point in its first scenario; then, where the tier has time, the others and later passages."""
    found = list(all_cases())
    return sorted(found, key=lambda case: (case[3], found.index(case)))


def all_cases():
    for service, points in POINTS.items():
        for point in points:
            if TIER == "test" and point not in SUBSET[service]:
                continue
            for rank, scenario in enumerate(scenarios.leads_to(service, point)[:1 if TIER == "test" else None]):
                yield service, point, scenario, rank > 0
            for n in () if TIER == "test" else scenarios.later_passages(point):
                yield service, f"{point}:{n}", scenarios.life, True


CASES = [case[:3] for case in cases()]


def test_every_printed_point_has_a_scenario():
    missing = [f"{s}:{p}" for s, points in POINTS.items() for p in points if not scenarios.leads_to(s, p)]
    assert missing == []
    assert set(SUBSET) == set(POINTS) and all(set(SUBSET[s]) <= set(POINTS[s]) for s in SUBSET)


def test_no_point_was_lost():
    count = sum(len(p) for p in POINTS.values())
    print(f"crash points: {count} ({', '.join(f'{s} {len(p)}' for s, p in POINTS.items())}), cases of this tier: {len(CASES)}")
    tier.counted("crash points", count, least=LEAST_POINTS)
    tier.counted("kills at crash points", len(CASES), least=LEAST_CASES[TIER])
    assert TIER == "test" or {(s, p.split(":")[0]) for s, p, _ in CASES} == {(s, p) for s in POINTS for p in POINTS[s]}


def test_the_documents_table_is_that_of_the_binaries():
    text = (TREE / "docs/faults.md").read_text()
    for service, points in POINTS.items():
        assert f"| {service} | {len(points)} | {sum(p.startswith('kit.') for p in points)} |" in text


@pytest.mark.parametrize("service,point,scenario", CASES, ids=[f"{s}-{p}-{f.__name__}" for s, p, f in CASES])
def test_kill_9_at(lab, tenants, service, point, scenario):
    lab.heal()
    tenants.forget()
    with scenarios.Stage(lab, tenants, service, point) as stage:
        try:
            scenario(stage)
        finally:
            stage.everybody()
            lab.heal()
    assert stage.died == 1
    world.settle(lab, tenants.call, expect=lambda _: tenants.broken_promises())
    tenants.stop_all()
    assert lab.sanitizer_reports() == []
