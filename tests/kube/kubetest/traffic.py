"""Calls of a model through a release's gateway (test_helm.py's Release): one, the first that is answered, and a steady flow of several kinds."""
import contextlib
import http.client
import json
import threading
import urllib.request

from .objects import until


def chat(release, model, **more):
    return release.call("POST", "/v1/chat/completions", {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}], **more})


def first_answer(release, model):
    last = []

    def answered():
        last[:] = chat(release, model)
        return last[0] == 200
    try:
        until("it answers", answered)
    except AssertionError as e:
        raise AssertionError(f"{e}; the last answer: {last}") from e
    return last[1]


class Traffic:
    """Callers that hardly pause: new connections, kept ones, and streams that are long under way. What failed is kept, in words."""

    def __init__(self, release):
        self.release, self.failed, self.done, self.stop = release, [], {}, threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(one,)) for one in (self.fresh, self.fresh, self.kept, self.stream)]
        for t in self.threads:
            t.start()

    def _run(self, caller):
        while not self.stop.wait(0.02):
            try:
                caller()
                self.done[caller.__name__] = self.done.get(caller.__name__, 0) + 1
            except Exception as e:  # pylint: disable=broad-except
                self.failed.append(f"{caller.__name__}: {e!r}")

    def fresh(self):
        status, body = chat(self.release, self.release.model)
        assert status == 200, (status, body)

    def kept(self):
        """Twenty requests on one connection, as a client with a pool does; it looks before it sends whether the server has closed it."""
        connection = http.client.HTTPConnection(self.release.gateway, timeout=60)
        with contextlib.closing(connection):
            for _ in range(20):
                connection.request("POST", "/v1/chat/completions", json.dumps({"model": self.release.model, "max_tokens": 2, "messages": [
                    {"role": "user", "content": "Hi"}]}), {"Authorization": f"Bearer {self.release.account_key}", "Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, body
                if answer.will_close:
                    return

    def stream(self):
        """Some seconds of tokens; complete only with its last line."""
        request = urllib.request.Request(f"http://{self.release.gateway}/v1/chat/completions", headers={
            "Authorization": f"Bearer {self.release.account_key}", "Content-Type": "application/json"}, data=json.dumps({
                "model": self.release.model, "stream": True, "max_tokens": 200, "messages": [{"role": "user", "content": "Hi"}]}).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        assert text.rstrip().endswith("data: [DONE]") and '"error"' not in text, text[-300:]

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(90)
