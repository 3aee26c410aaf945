"""The documented changes: docs/gateway.md's table of headers, and its list, as functions of what passed the plain proxy."""
import fnmatch
import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[4] / "docs/gateway.md"
WORDS = {"dropped", "kept", "replaced", "rebuilt", "filtered"}
REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content", 302: "Found", 304: "Not Modified",
           400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 413: "Content Too Large",
           422: "Unprocessable Content", 429: "Too Many Requests", 499: "Client Closed Request", 500: "Internal Server Error",
           501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable"}


def read_table():
    """{side: [(patterns, {True: word on /v1, False: word on /proxy})]}"""
    rows = {"request": [], "answer": []}
    for side, names, v1, proxy in re.findall(r"^\| (request|answer) \| ([^|]+) \| (\w+) \| (\w+) \|", DOCS.read_text(), re.M):
        assert {v1, proxy} <= WORDS, (names, v1, proxy)
        rows[side].append((re.findall(r"`([^`]+)`", names), {True: v1, False: proxy}))
    assert len(rows["request"]) >= 10 and len(rows["answer"]) >= 7, rows
    return rows


TABLE = read_table()


def word(side, name, v1):
    for patterns, words in TABLE[side]:
        if any(fnmatch.fnmatchcase(name, p) for p in patterns):
            return words[v1]
    return "kept"


def ours(cookie):
    name = cookie.lower()
    for prefix in ("__host-", "__secure-"):
        name = name.removeprefix(prefix)
    return name.startswith("ecolink")


def filtered(name, text):
    """The header without our cookies, or None."""
    if name == "set-cookie":
        return None if ours(text) else text
    kept = [c.strip(" \t") for c in text.split(";")]
    return "; ".join(c for c in kept if c and not ours(c)) or None


def named(fields):
    return {token.strip(" \t").lower() for n, v in fields if n.lower() == "connection" for token in v.split(",")}


def headers(side, v1, sent, passed):
    """What remains of `passed` (through the plain proxy); `sent` tells what Connection named."""
    hop, out = named(sent), []
    for name, text in passed:
        what = "dropped" if name in hop else word(side, name, v1)
        if what == "filtered":
            text = filtered(name, text)
            what = "dropped" if text is None else "kept"
        if what == "kept":
            out.append((name, text))
    return out


CUSTOM_API_PATH = "/generate"


def target(request):
    """The target that the engine sees."""
    if request.v1:
        return request.path + request.query
    rest = request.path.split("/proxy", 1)[1]
    if request.kind == "custom" and not (rest == CUSTOM_API_PATH or rest.startswith(CUSTOM_API_PATH + "/")):
        rest = CUSTOM_API_PATH + ("" if rest == "/" else rest)
    return (rest or "/") + request.query


def added_to_request(request_id, engine):
    return {"host": engine, "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "differential.test",
            "x-ecolink-request-id": request_id}


def added_to_answer(v1):
    own = {"x-ecolink-request-id", "x-ecolink-region", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
    return own if v1 else own | {"x-content-type-options", "content-security-policy"}
