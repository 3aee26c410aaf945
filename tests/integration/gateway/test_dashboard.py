"""deploy/grafana/ecolink.json asks for metrics that exist, each in the way of its kind."""
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
DASHBOARD = json.loads((ROOT / "deploy/grafana/ecolink.json").read_text())
EXPRESSIONS = [t["expr"] for p in DASHBOARD["panels"] for t in p["targets"]]


def known():
    """Metric -> (kind, labels): the gateway's from the page that its own test compares with /metrics, the others' from their sources."""
    found = {}
    for name, labels, kind in re.findall(r"^\| `(ecolink_gateway_\w+)(?:\{([^}]*)\})?` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.M):
        found[name] = (kind, set(filter(None, labels.split(","))))
    for source in [*ROOT.glob("libcommon/src/*.c"), *ROOT.glob("services/*/*.c")]:
        for kind, name in re.findall(r'eco_(counter|gauge|histogram)\(\s*"(ecolink_\w+)"', source.read_text()):
            found.setdefault(name, (kind, {"method"} if name.startswith("ecolink_rpc_") else set()))
    return found


def uses(expression):
    """(metric as asked for, its selector) of one expression."""
    return re.findall(r"(ecolink_\w+?)(\{[^}]*\})", expression)


def test_every_panel_asks_for_metrics_that_exist_in_the_way_of_their_kind():
    metrics, asked = known(), 0
    for expression in EXPRESSIONS:
        assert uses(expression), expression
        for name, _ in uses(expression):
            asked += 1
            base = name.removesuffix("_bucket")
            assert base in metrics, name
            kind = metrics[base][0]
            over_time = bool(re.search(r"(rate|increase)\(" + name + r"\{", expression))
            assert over_time == (kind in ("counter", "histogram")), (expression, kind)
            assert name.endswith("_bucket") == (kind == "histogram") == ("histogram_quantile" in expression), (expression, kind)
    assert asked >= 25


def test_what_it_groups_by_are_labels_of_the_metric():
    metrics = known()
    for expression in EXPRESSIONS:
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            for name, _ in uses(expression):
                assert set(labels.replace(" ", "").split(",")) - {"le", "instance", "job"} <= metrics[name.removesuffix("_bucket")][1], expression


def test_panels_do_not_overlap_and_have_a_title_of_their_own():
    cells, titles = set(), set()
    for panel in DASHBOARD["panels"]:
        g = panel["gridPos"]
        own = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert not own & cells and g["x"] + g["w"] <= 24, panel["title"]
        cells |= own
        titles.add(panel["title"])
    assert len(titles) == len(DASHBOARD["panels"])
