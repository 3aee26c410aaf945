"""A scheduler whose regions are Kubernetes clusters: stand-ins (kube_world.py) or real ones (tests/kube/driver_world.py)."""

import os

from world import World


class KubeBase(World):
    def __init__(self, stack):
        super().__init__(stack)
        self.configs = os.path.join(stack.dir, "kubeconfigs")
        os.makedirs(self.configs)

    def settings(self, **more):
        out = super().settings(KUBECONFIG_DIR=self.configs, KUBERNETES_SIMULATOR="true", **more)
        for name in ("PROCESS_STATE_DIR", "PROCESS_RUN_DIR", "PROCESS_ALLOW_COMMANDS", "PROCESS_SIMULATOR"):
            out.pop(name)
        return out

    def until(self, instance, status, timeout=40, ready=None):
        try:
            return super().until(instance, status, timeout, ready)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.get(instance)}\n{self.said()}\n{self.service.logs()[-3000:]}") from e

    def said(self):
        """What the clusters can tell of a failure."""
        return ""
