"""A hub on this machine: the part of the Hugging Face Hub's API that downloads use, with files, a pace and faults that a test chooses."""
import hashlib
import http.server
import json
import socket
import threading
import time
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        hub = self.server.hub
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        hub.seen.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.say(401, b"{}")
        if path == f"/api/models/{hub.repo}/revision/{hub.revision}":
            return self.say(200, json.dumps({"sha": COMMIT, "siblings": [hub.sibling(name) for name in hub.files]}).encode())
        prefix = f"/{hub.repo}/resolve/{COMMIT}/"
        if path.startswith(prefix) and path[len(prefix):] in hub.files:
            return self.send(hub.files[path[len(prefix):]])
        return self.say(404, b"{}")

    def say(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send(self, content):
        hub = self.server.hub
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and hub.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        step = 64 * 1024
        for at in range(start, len(content), step):
            part = content[at:at + step]
            if hub.cut_after is not None and hub.sent >= hub.cut_after:
                hub.cut_after = None
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            hub.sent += len(part)
            try:
                self.wfile.write(hub.spoil(part))
            except OSError:
                return
            if hub.pace_s:
                time.sleep(hub.pace_s)  # act: a slow line


class Hub:
    def __init__(self, files, repo="org/name", revision="main", token="", host="127.0.0.1"):
        self.files, self.repo, self.revision, self.token = files, repo, revision, token
        self.pace_s, self.ranges, self.cut_after, self.seen, self.sent = 0, True, None, [], 0
        self.spoil = lambda part: part
        self.server = http.server.ThreadingHTTPServer((host, 0), _Handler)
        self.server.daemon_threads, self.server.hub = True, self
        self.url = f"http://{host}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def sibling(self, name):
        content = self.files[name]
        large = name.endswith((".safetensors", ".bin"))
        out = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
        return {**out, "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}} if large else out

    def downloads(self):
        """(path, Range) of each file that was asked for."""
        return [(path.split(COMMIT + "/")[1], wanted) for path, wanted, _ in self.seen if "/resolve/" in path]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
