"""A stand-in for a region's API server whose faults a test chooses: objects in memory with versions, lists, watches, creation,
server-side apply with preconditions, deletion, and a small controller with a kubelet that runs the simulator for each pod.

It answers as much of the API as the scheduler's driver uses, so that each fault (429, 500, a hanging server, dropped watches, an
older past, an expired token ...) can be put exactly where it hurts. What real API servers do is proved in tests/kube."""

import base64
import contextlib
import copy
import datetime
import json
import os
import queue
import random
import re
import socket
import subprocess
import threading
import time
import urllib.parse
import uuid

from ecotest.stack import BUILD

KINDS = {"deployments": "Deployment", "pods": "Pod", "secrets": "Secret", "services": "Service",
         "persistentvolumeclaims": "PersistentVolumeClaim", "networkpolicies": "NetworkPolicy", "nodes": "Node"}
PATH = re.compile(r"^/(?:api/v1|apis/[^/]+/v1)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/(log|status))?$")
SPACE = "ecolink-tenants"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def failure(code, reason, message, **more):
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message, **more}


def merged(old, new):
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{k: merged(old.get(k), v) for k, v in new.items()}}
    return new


def claim_addresses():
    """127.<number>.0.0/16 is the pods' network of one cluster on this machine, for as long as the socket is open."""
    numbers = list(range(1, 255))
    random.shuffle(numbers)
    for number in numbers:
        claim = socket.socket()
        try:
            claim.bind((f"127.{number}.255.254", 8000))
            return number, claim
        except OSError:
            claim.close()
    raise AssertionError("every network of pods is taken")


class Cluster:
    """Objects, their past, and who watches. `before` (method, path) -> None or (status, object[, headers]) is the test's say."""

    def __init__(self, gpus=8):
        self.lock = threading.RLock()
        self.number, self.claim = claim_addresses()
        self.version, self.objects, self.log, self.watchers = 1000, {}, [], []
        self.before, self.requests, self.pods_made, self.processes = None, [], 0, {}
        self.compacted = 0
        self.running = True
        self.kubelet_on = True
        self.token = None
        self.said = b""
        for i in range(2):
            self.put("nodes", "", {"metadata": {"name": f"node-{i}", "labels": {"nvidia.com/gpu.product": "sim"}},
                                   "status": {"allocatable": {"nvidia.com/gpu": str(gpus)},
                                              "conditions": [{"type": "Ready", "status": "True"}]}})
        threading.Thread(target=self.control, daemon=True).start()

    # ---- the store ----
    def put(self, kind, space, obj, event=None):
        with self.lock:
            self.version += 1
            key = (kind, space, obj["metadata"]["name"])
            meta = obj["metadata"]
            meta["resourceVersion"] = str(self.version)
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", now())
            if space:
                meta["namespace"] = space
            kind_event = event or ("MODIFIED" if key in self.objects else "ADDED")
            obj.setdefault("kind", KINDS[kind])
            self.objects[key] = obj
            self.tell(kind_event, key, obj)
            return obj

    def drop(self, key):
        with self.lock:
            obj = self.objects.pop(key, None)
            if obj:
                self.version += 1
                obj["metadata"]["resourceVersion"] = str(self.version)
                self.tell("DELETED", key, obj)
            return obj

    def tell(self, event, key, obj):
        entry = (self.version, event, key, copy.deepcopy(obj))
        self.log.append(entry)
        for q in self.watchers:
            q.put(entry)

    def all(self, kind, space=SPACE):
        with self.lock:
            return [copy.deepcopy(o) for (k, s, _), o in sorted(self.objects.items()) if k == kind and (not space or s == space)]

    def get(self, kind, name, space=SPACE):
        with self.lock:
            return copy.deepcopy(self.objects.get((kind, space, name)))

    def drop_watches(self):
        with self.lock:
            for q in self.watchers:
                q.put(None)

    def compact(self):
        """Old positions are forgotten: watches from there answer 410."""
        with self.lock:
            self.compacted = self.version
            self.log = []

    # ---- requests ----
    def matches(self, key, obj, kind, space, query):
        if key[0] != kind or (space and key[1] != space):
            return False
        selector = query.get("labelSelector", [""])[0]
        name, _, value = selector.partition("=")
        if selector and obj["metadata"].get("labels", {}).get(name) != value:
            return False
        for part in query.get("fieldSelector", [""])[0].split(","):
            if part.startswith("metadata.namespace!=") and key[1] == part.split("!=")[1]:
                return False
        return True

    def answer(self, h, body):
        url = urllib.parse.urlsplit(h.path)
        query = urllib.parse.parse_qs(url.query)
        with self.lock:
            self.requests.append((h.command, url.path, dict(h.headers)))
            before = self.before
        said = before(h.command, h.path) if before else None
        if said:
            return h.say(said[0], said[1], **(said[2] if len(said) > 2 else {}))
        if self.token and h.headers.get("Authorization") != f"Bearer {self.token}":
            return h.say(*failure(401, "Unauthorized", "Unauthorized"))
        match = PATH.match(url.path)
        if not match:
            return h.say(*failure(404, "NotFound", "no such path"))
        space, kind, name, part = match[1] or "", match[2], match[3], match[4]
        if part == "log":
            return h.say(200, self.pod_log(name, query))
        if h.command == "GET" and query.get("watch"):
            return self.watch(h, kind, space, query)
        with self.lock:
            status, obj = self.act(h.command, h.headers.get("Content-Type", ""), kind, space, name, query, body)
            text = json.dumps(obj).encode()
        return h.say(status, text)

    def act(self, method, media, kind, space, name, query, body):
        key = (kind, space, name)
        if method == "GET" and not name:
            items = [o for k, o in sorted(self.objects.items()) if self.matches(k, o, kind, space, query)]
            return 200, {"kind": "List", "metadata": {"resourceVersion": str(self.version)}, "items": items}
        if method == "POST":
            return self.create(kind, space, json.loads(body), query)
        old = self.objects.get(key)
        if not old:
            return failure(404, "NotFound", f'{kind} "{name}" not found')
        if method == "GET":
            return 200, old
        if method == "DELETE":
            return self.delete(key, old, json.loads(body or b"{}"))
        if "json-patch" in media:
            return self.json_patch(key, old, json.loads(body))
        if "merge-patch" in media:
            return self.merge_patch(key, old, json.loads(body))
        return self.apply(key, old, json.loads(body), query)

    def create(self, kind, space, obj, query):
        key = (kind, space, obj["metadata"]["name"])
        if key in self.objects:
            return failure(409, "AlreadyExists", f'{kind} "{key[2]}" already exists')
        manager = query.get("fieldManager", ["unknown"])[0]
        fields = {f"f:{k}": {} for k in obj if k in ("spec", "data", "type")}
        obj["metadata"]["managedFields"] = [{"manager": manager, "operation": "Update", "fieldsV1": {"f:metadata": {}, **fields}}]
        if kind == "services" and obj["spec"].get("type") == "NodePort":
            obj["spec"]["ports"][0]["nodePort"] = 30000 + self.version % 2000
        return 201, self.put(kind, space, obj)

    def apply(self, key, old, obj, query):
        meta = obj["metadata"]
        for field in ("uid", "resourceVersion"):
            if meta.get(field, old["metadata"][field]) != old["metadata"][field]:
                return failure(409, "Conflict", f"the object has been modified ({field})")
        manager = query.get("fieldManager", ["unknown"])[0]
        others = [e for e in old["metadata"].get("managedFields", []) if e["manager"] == manager and e["operation"] != "Apply"]
        new = merged(old, {k: v for k, v in obj.items() if k != "metadata"})
        for field in ("labels", "annotations"):
            new["metadata"][field] = {**old["metadata"].get(field, {}), **meta.get(field, {})}
        # force: what others owned of it is ours now
        fields = {f"f:{k}": {} for k in obj if k in ("spec", "data", "type")}
        new["metadata"]["managedFields"] = [*others, {"manager": manager, "operation": "Apply", "fieldsV1": {"f:metadata": {}, **fields}}]
        return 200, self.put(key[0], key[1], new)

    def json_patch(self, key, old, steps):
        new = copy.deepcopy(old)
        for step in steps:
            *path, last = [int(p) if p.isdigit() else p for p in step["path"].lstrip("/").split("/")]
            at = new
            for p in path:
                at = at[p]
            if step["op"] == "test" and at[last] != step["value"]:
                return failure(409, "Conflict", "the test failed")
            if step["op"] == "replace":
                at[last] = step["value"]
        return 200, self.put(key[0], key[1], new)

    def merge_patch(self, key, old, patch):
        meta = patch["metadata"]
        if any(meta.get(f, old["metadata"][f]) != old["metadata"][f] for f in ("uid", "resourceVersion")):
            return failure(409, "Conflict", "the object has been modified")
        notes = {**old["metadata"].get("annotations", {}), **meta.get("annotations", {})}
        new = copy.deepcopy(old)
        new["metadata"]["annotations"] = {k: v for k, v in notes.items() if v is not None}
        return 200, self.put(key[0], key[1], new)

    def delete(self, key, old, options):
        wanted = options.get("preconditions", {}).get("uid", old["metadata"]["uid"])
        if wanted != old["metadata"]["uid"]:
            return failure(409, "Conflict", "the UID in the precondition differs")
        if key[0] == "pods":
            old["metadata"]["deletionTimestamp"] = now()
            return 200, self.put(key[0], key[1], old)
        self.drop(key)
        return 200, {"kind": "Status", "status": "Success"}

    def watch(self, h, kind, space, query):
        since = int(query["resourceVersion"][0])
        q = queue.Queue()
        with self.lock:
            if since < self.compacted:
                return h.say(*failure(410, "Expired", "too old resource version"))
            for entry in self.log:
                if entry[0] > since:
                    q.put(entry)
            self.watchers.append(q)
        h.stream()
        try:
            while self.running:
                try:
                    entry = q.get(timeout=0.5)
                except queue.Empty:
                    continue
                if entry is None:
                    break
                version, event, key, obj = entry
                if version > since and self.matches(key, obj, kind, space, query):
                    h.chunk({"type": event, "object": obj})
            h.chunk(b"")
        except OSError:
            pass
        finally:
            with self.lock:
                self.watchers.remove(q)
            h.close_connection = True

    # ---- controller and kubelet ----
    def control(self):
        while self.running:
            with contextlib.suppress(KeyError):
                if self.kubelet_on:
                    with self.lock:
                        self.step()
            time.sleep(0.05)  # act: the controllers' own pace

    def step(self):
        deployments = {k: o for k, o in self.objects.items() if k[0] == "deployments"}
        pods = {k: o for k, o in self.objects.items() if k[0] == "pods" and k[1] == SPACE}
        uids = {o["metadata"]["uid"] for o in deployments.values()}
        for key in [k for k, o in self.objects.items() if k[0] in ("secrets", "services")]:
            owners = self.objects[key]["metadata"].get("ownerReferences", [])
            if owners and owners[0]["uid"] not in uids:
                self.drop(key)
        for key, pod in pods.items():
            owner = pod["metadata"]["ownerReferences"][0]
            home = next((o for o in deployments.values() if o["metadata"]["uid"] == owner["uid"]), None)
            current = home and home["spec"]["template"]["metadata"] == pod["template"] and home["spec"]["replicas"] > 0
            if not current and "deletionTimestamp" not in pod["metadata"]:
                pod["metadata"]["deletionTimestamp"] = now()
                self.put("pods", SPACE, pod)
            if "deletionTimestamp" in pod["metadata"]:
                self.end(pod["metadata"]["name"])
                self.drop(key)
        for home in deployments.values():
            mine = [p for p in self.all("pods") if p["metadata"]["ownerReferences"][0]["uid"] == home["metadata"]["uid"]]
            if not mine and home["spec"]["replicas"] > 0:
                self.make_pod(home)
        for pod in self.all("pods"):
            self.tend(pod)

    def make_pod(self, home):
        self.pods_made += 1
        template = home["spec"]["template"]
        name = f'{home["metadata"]["name"]}-{self.pods_made}'
        self.put("pods", SPACE, {
            "metadata": {"name": name, **copy.deepcopy(template["metadata"]), "ownerReferences": [{"uid": home["metadata"]["uid"]}]},
            "template": copy.deepcopy(template["metadata"]), "spec": copy.deepcopy(template["spec"]),
            "status": {"phase": "Pending", "podIP": f"127.{self.number}.{self.pods_made // 250}.{self.pods_made % 250 + 2}",
                       "hostIP": "127.0.0.1", "conditions": [{"type": "PodScheduled", "status": "True"}],
                       "containerStatuses": [{"name": "engine", "restartCount": 0,
                                              "state": {"waiting": {"reason": "ContainerCreating"}}}]}})

    def tend(self, pod):
        name, status = pod["metadata"]["name"], pod["status"]
        engine = status["containerStatuses"][0]
        process = self.processes.get(name)
        if process is None and "waiting" in engine["state"] and engine["state"]["waiting"]["reason"] == "ContainerCreating":
            container = pod["spec"]["containers"][0]
            args = [a.replace("0.0.0.0", status["podIP"]).replace("$$", "$") for a in container.get("args", [])]
            self.processes[name] = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", os.path.join(BUILD, "bin", "ecolink-simulator"), *args],
                                                    env={**os.environ, **self.environment(container)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.set_state(pod, {"running": {"startedAt": now()}}, True)
        elif process is not None and process.poll() is not None and "running" in engine["state"]:
            self.said = self.processes.pop(name).stdout.read()
            engine["restartCount"] += 1
            engine["lastState"] = {"terminated": {"exitCode": process.returncode % 256, "reason": "Error", "finishedAt": now()}}
            self.set_state(pod, {"waiting": {"reason": "ContainerCreating"}}, False)

    def environment(self, container):
        out = {}
        for e in container.get("env", []):
            ref = e.get("valueFrom", {}).get("secretKeyRef")
            out[e["name"]] = base64.b64decode(self.objects[("secrets", SPACE, ref["name"])]["data"][ref["key"]]).decode() if ref else e["value"]
        return out

    def set_state(self, pod, state, ready):
        pod["status"]["phase"] = "Running"
        pod["status"]["containerStatuses"][0]["state"] = state
        others = [c for c in pod["status"]["conditions"] if c["type"] != "Ready"]
        pod["status"]["conditions"] = [*others, {"type": "Ready", "status": str(ready), "lastTransitionTime": now()}]
        self.put("pods", SPACE, pod)

    def end(self, name):
        process = self.processes.pop(name, None)
        if process:
            process.kill()
            process.wait()

    def pod_log(self, name, query):
        del query
        return f"{now()[:-1]}.000000001Z log of {name}\n".encode()

    def close(self):
        self.running = False
        self.drop_watches()
        time.sleep(0.1)  # act: lets the controllers' loop see that it ends
        with self.lock:
            for name in list(self.processes):
                self.end(name)
        self.claim.close()
