"""Images for real nodes, and a registry that gives them: folders made into images of one layer each, or what a Docker engine has.

Only what a pull needs (OCI distribution specification, "pull"), for every name: a node asks here in place of any registry, so that an
image which is not here cannot be pulled, with the words that a registry has for that.
"""
import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading

PORT = 5000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<which>[^/?]+)")


def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer(folder):
    raw = io.BytesIO()

    def of_root(entry):
        entry.uid = entry.gid = 0
        return entry
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.add(folder, arcname=".", filter=of_root)
    return raw.getvalue()


def url(host):
    """Where a registry that serves at this address is."""
    return f"http://{host}:{PORT}"


class Registry:
    def __init__(self):
        self.blobs, self.tags, self.servers = {}, {}, []

    def _keep(self, data):
        digest = _digest(data)
        self.blobs[digest] = data
        return {"digest": digest, "size": len(data)}

    def _tag(self, names, config, layers):
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, **self._keep(config)},
                    "layers": [{"mediaType": LAYER, **self._keep(layer)} for layer in layers]}
        digest = self._keep(json.dumps(manifest).encode())["digest"]
        self.tags.update((name, digest) for name in names)

    def add(self, name, folder, **config):
        """A folder as an image. `name`: repository:tag; `config`: Entrypoint, Cmd, User, ... of the image configuration."""
        layer = _layer(folder)
        self._tag([name], json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux", "config": config,
                                      "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}).encode(), [layer])

    def add_from_docker(self, image, names):
        """An image of a Docker engine, as it is, under names of ours."""
        saved = io.BytesIO(subprocess.run(["docker", "save", image], check=True, stdout=subprocess.PIPE).stdout)
        with tarfile.open(fileobj=saved) as tar:
            def read(member):
                return tar.extractfile(member).read()
            (one,) = json.loads(read("manifest.json"))
            self._tag(names, read(one["Config"]), [read(layer) for layer in one["Layers"]])

    def find(self, path):
        """(content type, digest) of what a path names; None when it names nothing."""
        asked = _PATH.fullmatch(path)
        if asked is None:
            return None
        digest = asked["which"] if asked["which"] in self.blobs else self.tags.get(f"{asked['name']}:{asked['which']}")
        return (MANIFEST if asked["kind"] == "manifests" else "application/octet-stream", digest) if digest else None

    def serve(self, host):
        registry = self

        class Answers(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # pylint: disable=invalid-name
                path = self.path.split("?")[0]
                found = ("application/json", None) if path == "/v2/" else registry.find(path)
                data = registry.blobs[found[1]] if found and found[1] else b"{}" if found else b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", found[0] if found else "application/json")
                self.send_header("Content-Length", str(len(data)))
                if found and found[1]:
                    self.send_header("Docker-Content-Digest", found[1])
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, *_words):
                pass
        self.servers.append(http.server.ThreadingHTTPServer((host, PORT), Answers))
        threading.Thread(target=self.servers[-1].serve_forever, daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
