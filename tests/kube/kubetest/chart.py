"""The Helm chart on a region of the test cluster: helm, and processes in place of its images."""
import json
import os
import shutil
import subprocess
import tempfile

from . import layout

CHART = os.path.join(layout.TREE, "deploy", "helm", "ecolink")
SERVICES = ("registry", "scheduler", "billing", "health", "gateway")
# PostgreSQL refuses root, so it runs as Debian's user
POSTGRES_USER = "postgres"


def image_rules(folder):
    """For images.json: what runs in place of the chart's images. `folder` gets what the setup image has in /usr/share."""
    build = os.path.join(layout.build_dir(), "bin")
    rights = os.path.join(folder, "rights")
    os.makedirs(rights, exist_ok=True)
    for service in SERVICES:
        text = subprocess.run([os.path.join(build, f"ecolink-{service}"), "nats-permissions"], check=True, stdout=subprocess.PIPE).stdout
        with open(os.path.join(rights, f"{service}.json"), "wb") as f:
            f.write(text)
    scripts = os.path.join(layout.TREE, "deploy", "images")
    # a socket's path is short, a pod's folder here is not; and the scripts run as another user, who may not come to this tree
    sockets = tempfile.mkdtemp(prefix="eco-pg-")
    shutil.copy(os.path.join(scripts, "postgres"), sockets)
    os.chmod(sockets, 0o755)
    shutil.chown(sockets, POSTGRES_USER)
    rules = [{"image": f"*/{service}:*", "entrypoint": [os.path.join(build, f"ecolink-{service}")]} for service in SERVICES]
    rules.append({"image": "*/nats:*", "entrypoint": [shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin")]})
    rules.append({"image": "*/postgres:*", "user": POSTGRES_USER,
                  "entrypoint": ["env", f"ECOLINK_POSTGRES_SOCKET_DIR={sockets}", os.path.join(sockets, "postgres"), "-c", "fsync=off"]})
    rules.append({"image": "*/setup:*", "entrypoint": [
        "env", f"ECOLINK_SETUP_RIGHTS={rights}", f"ECOLINK_SETUP_ROLES={os.path.join(layout.TREE, 'deploy', 'database', 'roles.sql')}",
        os.path.join(scripts, "setup")]})
    return rules


def use_images(region, rules):
    """Puts them before the region's own; podrunner reads the list anew."""
    path = region.path("images.json")
    with open(path, encoding="utf-8") as f:
        before = [rule for rule in json.load(f) if rule["image"] not in {r["image"] for r in rules}]
    with open(f"{path}.new", "w", encoding="utf-8") as f:
        json.dump(rules + before, f, indent=1)
    os.replace(f"{path}.new", path)


class Helm:
    def __init__(self, region, programs):
        self.region = region
        self.program = os.path.join(programs, "helm")
        self.version = os.path.basename(programs)
        self.env = {"PATH": os.environ["PATH"], "HOME": region.path("helm"), "KUBECONFIG": region.admin_kubeconfig}

    def __call__(self, *words, check=True, timeout=400):
        """Standard output and error of helm as the region's administrator."""
        done = subprocess.run([self.program, *words], env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"helm {' '.join(words)}: {done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def template(self, *words):
        return self("template", "eco", CHART, "--namespace", "eco", "--kube-version", self.version, *words)
