"""The Helm chart on paper: it lints, renders what the goldens say, refuses values that mean nothing. ECOLINK_GOLDEN=write writes them anew."""
import glob
import os
import re
import subprocess

import pytest
import yaml
from kubetest import chart, layout

HELM = os.path.join(layout.HERE, "helm")
VALUES = sorted(glob.glob(os.path.join(HELM, "values", "*.yaml")))


@pytest.fixture(scope="module")
def helm():
    return chart.Helm(layout.REGIONS[0], os.environ["ECOLINK_KUBE_PROGRAMS"])


def rendered(helm, *words):
    return [d for d in yaml.safe_load_all(helm.template(*words)) if d]


def pods(helm, *words):
    """(name, pod spec) of everything that makes one."""
    for item in rendered(helm, *words):
        if item["kind"] == "Pod":
            yield item["metadata"]["name"], item["spec"]
        elif "template" in item.get("spec", {}):
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


@pytest.mark.parametrize("values", VALUES, ids=os.path.basename)
def test_it_lints(helm, values):
    assert "0 chart(s) failed" in helm("lint", "--strict", "--kube-version", helm.version, "-f", values, chart.CHART)


@pytest.mark.parametrize("values", VALUES, ids=os.path.basename)
def test_it_renders_what_the_golden_says(helm, values):
    golden = os.path.join(HELM, "golden", os.path.basename(values))
    text = helm.template("-f", values)
    if os.environ.get("ECOLINK_GOLDEN") == "write":
        with open(golden, "w", encoding="utf-8") as f:
            f.write(text)
    with open(golden, encoding="utf-8") as f:
        assert text == f.read(), "ECOLINK_GOLDEN=write writes it anew; then read the difference"


def test_it_renders_the_same_twice(helm):
    """Nothing random: what a GitOps tool renders again and again would change again and again."""
    assert helm.template() == helm.template()


@pytest.mark.parametrize("wrong", ["gatway.replicas=3", "publicUrl=inference.example.com", "gateway.service.type=Magic", "postgresql.database=Bad-Name",
                                   "billing.settings.cycle_s=60", "nats.url=http://x:4222", "regions[0].name=a", "tenants.namespace=Bad_Name"])
def test_values_that_mean_nothing_are_refused(helm, wrong):
    with pytest.raises(AssertionError, match=r"values don't meet the specifications|got|does not match"):
        helm.template("--set", wrong)


@pytest.mark.parametrize("missing", [["nats.bundled=false"], ["postgresql.bundled=false"], ["gateway.ingress.enabled=true"]])
def test_what_an_external_part_needs_is_asked_for(helm, missing):
    with pytest.raises(AssertionError, match="is needed"):
        helm.template(*(word for m in missing for word in ("--set", m)))


@pytest.mark.parametrize("values", VALUES, ids=os.path.basename)
def test_every_pod_is_as_pod_security_restricted_wants_it_and_more(helm, values):
    for name, spec in pods(helm, "-f", values):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] == 65532 and security["seccompProfile"]["type"] == "RuntimeDefault", name
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, name
        for c in containers(spec):
            assert c["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name
            assert c["resources"]["requests"] and c["resources"]["limits"]["memory"], name


def test_only_the_scheduler_and_the_secrets_hook_get_a_token(helm):
    with_token = {name for name, spec in pods(helm) if any("projected" in v for v in spec.get("volumes", []))}
    assert with_token == {"eco-ecolink-scheduler", "eco-ecolink-setup"}


def test_each_service_mounts_its_own_secrets_alone(helm):
    for name, spec in pods(helm):
        keys = {i["key"] for v in spec.get("volumes", []) for i in v.get("secret", {}).get("items", [])}
        refs = {e["valueFrom"]["secretKeyRef"]["key"] for c in containers(spec) for e in c.get("env", []) if "secretKeyRef" in e.get("valueFrom", {})}
        service = name.rsplit("-", 1)[-1]
        if service in chart.SERVICES:
            assert {k for k in keys if k.startswith("nats_")} == {f"nats_{service}"}, name
            assert refs == ({f"pg_{service}_app"} if service != "gateway" else set()), name
        assert ("seal_secret" in keys) == (service == "scheduler"), name
        assert ("pg_superuser" in keys) == (service in ("postgres", "migrate")), name
        assert ("bootstrap_key" in keys) == (service in ("registry", "test")), name


def test_a_gateway_has_more_time_to_end_than_its_drain_takes(helm):
    for values in VALUES:
        spec = dict(pods(helm, "-f", values))["eco-ecolink-gateway"]
        gateway = spec["containers"][0]
        requests = int(next(e["value"] for e in gateway["env"] if e["name"] == "ECOLINK_GATEWAY_DRAIN_REQUESTS_S"))
        assert spec["terminationGracePeriodSeconds"] > gateway["lifecycle"]["preStop"]["sleep"]["seconds"] + requests
    strategy = next(i for i in rendered(helm) if i["kind"] == "Deployment" and i["metadata"]["name"] == "eco-ecolink-gateway")["spec"]["strategy"]
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_settings_in_the_chart_are_settings_of_the_services(helm):
    """Each service's own binary reads what its pod is given (with the files in place): a misspelt name would stop it."""
    known = {}
    for service in chart.SERVICES:
        text = subprocess.run([f"{layout.build_dir()}/bin/ecolink-{service}", "--help"], check=True, capture_output=True, text=True).stdout
        found = re.findall(r"^  (ECOLINK_[A-Z_]+)( \(or …_FILE\))?", text, re.M)
        known[service] = {name for name, _ in found} | {f"{name}_FILE" for name, secret in found if secret}
    for values in VALUES:
        for name, spec in pods(helm, "-f", values):
            for c in containers(spec):
                for e in c.get("env", []):
                    match = re.fullmatch(r"ECOLINK_(REGISTRY|SCHEDULER|BILLING|HEALTH|GATEWAY)_.*", e["name"])
                    if match:
                        assert e["name"] in known[match[1].lower()], (name, e["name"])


def test_every_selector_finds_its_pods(helm):
    """Services, budgets and policies select by labels that the pods have."""
    items = rendered(helm)
    labels = [i["metadata"]["labels"] if i["kind"] == "Pod" else i["spec"]["template"]["metadata"]["labels"]
              for i in items if i["kind"] == "Pod" or "template" in i.get("spec", {})]
    for i in items:
        selector = {"Service": lambda s: s["selector"], "PodDisruptionBudget": lambda s: s["selector"]["matchLabels"],
                    "NetworkPolicy": lambda s: s["podSelector"]["matchLabels"]}.get(i["kind"])
        if selector:
            wanted = selector(i["spec"])
            assert any(wanted.items() <= have.items() for have in labels), (i["kind"], i["metadata"]["name"])
