"""Requests and answers from a seed: lawful HTTP/1.1 of every shape that clients and engines have been seen to send."""
import json
import random
import string

MODEL, SERVED = "my-llama:142", b"my-llama"
TOKEN = "!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits
PRINTABLE = "".join(chr(c) for c in range(0x21, 0x7F))
FRAMING = ("Content-Length", "Transfer-Encoding", "Connection")
JSON_PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/rerank", "/v1/messages", "/v1/moderations"]
FORM_PATHS = ["/v1/audio/transcriptions", "/v1/images/edits"]
# Names that some rule of docs/gateway.md speaks of, from the client and from the engine, with values that are lawful there.
REQUEST_NAMES = {
    "Keep-Alive": ["timeout=5, max=100"], "TE": ["trailers"], "Trailer": ["X-Sum"], "Upgrade": ["h2c", "foo/2"], "Proxy-Authorization": ["Basic eDp5"],
    "Proxy-Connection": ["keep-alive"], "X-Forwarded-For": ["6.6.6.6", "6.6.6.6, 7.7.7.7", ""], "X-Forwarded-Proto": ["https"], "X-Forwarded-Host": ["evil"],
    "X-Forwarded-Port": ["1"], "Forwarded": ["for=6.6.6.6;proto=https"], "X-Real-IP": ["6.6.6.6"], "X-Ecolink-Request-Id": ["mine"],
    "X-Ecolink-Region": ["moon"], "Accept-Encoding": ["gzip, br", "identity"], "Cookie": ["a=b", "a=b; ecolink_session=s; c=d", "__Host-ecolink=x"],
    "X-Api-Key": ["mine"], "X-RateLimit-Limit": ["3"], "Set-Cookie": ["odd=here"], "Expect": ["100-continue"], "User-Agent": ["differential/1 (é)"],
    "Accept": ["*/*", "text/event-stream"], "Idempotency-Key": ["k-1"], "Traceparent": ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
}
ANSWER_NAMES = {
    "Keep-Alive": ["timeout=1"], "Proxy-Authenticate": ["Basic"], "Trailer": ["X-Sum"], "Upgrade": ["h2c"], "X-Ecolink-Region": ["moon"],
    "X-Ecolink-Request-Id": ["theirs"], "X-RateLimit-Limit": ["1"], "X-RateLimit-Remaining-Tokens": ["9"], "Alt-Svc": ['h3=":443"'],
    "Set-Cookie": ["a=b; Path=/", "ecolink_session=evil", "__Secure-Ecolink=evil"], "X-Content-Type-Options": ["none"],
    "Content-Security-Policy": ["default-src *"], "Retry-After": ["7"], "Server": ["engine"], "Date": ["Mon, 01 Jan 2024 00:00:00 GMT"],
    "Vary": ["Origin"], "Content-Encoding": ["identity"], "WWW-Authenticate": ["Bearer"], "Location": ["/elsewhere?x=1"],
}
STATUSES = [200] * 12 + [201, 202, 206, 204, 304, 302, 400, 401, 403, 404, 409, 413, 422, 429, 499, 500, 501, 502, 503]
TYPES = ["application/json", "application/json; charset=utf-8", "text/event-stream", "text/plain", "audio/mpeg", "application/octet-stream"]


def case(rng, name):
    return rng.choice([str, str.lower, str.upper, str.title])(name)


def value(rng):
    kind = rng.random()
    if kind < 0.08:
        return ""
    pieces = PRINTABLE + " \t" + ("é\xff\x80" if kind < 0.3 else "")
    return "".join(rng.choice(pieces) for _ in range(rng.choice([1, 5, 20, 60, 400 if kind > 0.97 else 30]))).strip(" \t")


def headers(rng, known):
    """[(name, value)], with `Connection` naming some of them now and then."""
    out = []
    for _ in range(rng.randrange(8)):
        if rng.random() < 0.6:
            name = rng.choice(sorted(known))
            out.append((case(rng, name), rng.choice(known[name])))
        else:
            out.append(("X-" + "".join(rng.choice(TOKEN) for _ in range(rng.randrange(1, 18))), value(rng)))
            if rng.random() < 0.2:
                out.append((case(rng, out[-1][0]), value(rng)))
    if rng.random() < 0.3:
        private = case(rng, "X-Private-%d" % rng.randrange(3))
        out.append((private, value(rng)))
        if rng.random() < 0.8:
            out.append((case(rng, "Connection"), rng.choice(["%s", "keep-alive, %s", "%s , Keep-Alive", ", %s,"]) % case(rng, private)))
    rng.shuffle(out)
    return out


def lines(rng, fields):
    """Header lines with the blanks that RFC 9110 lets stand around a value; no tab at those of framing, which the gateway refuses."""
    def blank(name):
        return rng.choice(["", " ", " ", " ", "  ", " "] if name in FRAMING else ["", " ", " ", " ", "\t", "  \t "])

    return "".join(f"{n}:{blank(n)}{v}{blank(n)}\r\n" for n, v in fields).encode("latin-1")


def chunked(rng, body, trailers=True):
    out, at = [], 0
    while at < len(body):
        n = rng.choice([1, 7, 100, 1000, 16384, len(body)])
        piece = body[at:at + n]
        extension = rng.choice([b"", b"", b"", b";a=b", b';q="x y"', b";flag"])
        size = b"%x" % len(piece)
        out.append(rng.choice([b"", b"0", b"000"]) + (size.upper() if rng.random() < 0.3 else size) + extension + b"\r\n" + piece + b"\r\n")
        at += n
    end = rng.choice([b"0", b"00", b"0;last"]) + b"\r\n"
    return b"".join(out) + end + (b"X-Sum: 1\r\n" if trailers and rng.random() < 0.3 else b"") + b"\r\n"


# ---- bodies: (before the model's value, the value, after it) ----

def escaped(rng, text):
    return "".join("\\u%04x" % ord(c) if rng.random() < 0.2 else "\\/" if c == "/" and rng.random() < 0.5 else c for c in text).encode()


def odd_value(rng):
    n = rng.randrange(12)
    if n < 4:
        return json.dumps({"role": "user", "content": "".join(rng.choice("abc\n\"\\é😀") for _ in range(rng.choice([5, 50, 500])))},
                          ensure_ascii=rng.random() < 0.5).encode()
    return [b'{"model":"other:9","m":{"model":[1,{"model":null}]}}', b"1e400", b"-0.000E+10", b"123456789012345678901234567890", b"[[[[[[{}]]]]]]", b"null",
            b'"\xff\xfe\xc0\xaf"', b'"\\"model\\":\\"x\\""'][n - 4]


def json_body(rng):
    keys = [b"messages", b"stream", b"models", b"Model", b"mode", b"mod\\u0065ls", b"user", b"\xff", b"temperature", b"tools", b""]
    members = [b'"' + rng.choice(keys) + b'"' + rng.choice([b":", b" : "]) + odd_value(rng) for _ in range(rng.randrange(6))]
    if rng.random() < 0.1:
        size = rng.choice([5_000, 70_000, 200_000])
        members.append(b'"big":"' + bytes(rng.choice(b"abcdefg ") for _ in range(97)) * (size // 97) + b'"')
    rng.shuffle(members)
    at = rng.choice([0, len(members), rng.randrange(len(members) + 1)])
    comma = rng.choice([b",", b", ", b"\n,\t"])
    key = b'"' + escaped(rng, "model") + b'"' + rng.choice([b":", b": ", b"\r\n:\t"])
    before = rng.choice([b"", b"", b" \n", b"\xef\xbb\xbf"]) + b"{" + comma.join(members[:at] + [key])
    after = comma.join([b""] + members[at:]) + b"}" + rng.choice([b"", b"", b"\n"])
    return before, b'"' + escaped(rng, MODEL) + b'"', after


def form_body(rng):
    boundary = rng.choice(["XX", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "a b(c)", "'()+_,-./:=?"])
    file = bytes(rng.choice([b"\r\n--X", b"--" + boundary.encode()[:1], b"\r", b"\n", b"\0\xff", b"data"])[0] for _ in range(rng.choice([3, 40, 300])))
    file = file.replace(b"\r\n--" + boundary.encode(), b"") * rng.choice([1, 1, 1, 400])
    parts = [(b'form-data; name="file"; filename="model"', file), (b"form-data; name=language", b"en"), (b'form-data; name="prompt"', b"")]
    parts = [p for p in parts if rng.random() < 0.7]
    at = rng.randrange(len(parts) + 1)
    dash = b"--" + boundary.encode()

    def part(disposition, data):
        more = rng.choice([b"", b"Content-Type: audio/wav\r\n", b"X: y\r\n"])
        return dash + rng.choice([b"", b" ", b"\t"]) + b"\r\n" + more + case(rng, "Content-Disposition").encode() + b": " + disposition + b"\r\n\r\n" + data

    before = rng.choice([b"", b"preamble\r\n"]) + b"".join(part(d, v) + b"\r\n" for d, v in parts[:at])
    before += part(rng.choice([b'form-data; name="model"', b"form-data; name=model", b'form-data;NAME="mod\\el"']), b"")
    after = b"\r\n" + b"".join(part(d, v) + b"\r\n" for d, v in parts[at:]) + dash + b"--" + rng.choice([b"", b"\r\n", b"\r\nepilogue " + dash])
    return (before, MODEL.encode(), after), f'multipart/form-data; boundary="{boundary}"'


def free_path(rng):
    alphabet = string.ascii_letters + string.digits + "-_~!$&'()*+,;=:@"
    segment = lambda: "".join(rng.choice([rng.choice(alphabet), "%%%02X" % rng.randrange(0x30, 0x100)]) for _ in range(rng.randrange(1, 12)))  # noqa: E731
    return "".join("/" + rng.choice([segment(), segment() + ".v1", ""]) for _ in range(rng.randrange(4)))


def query(rng):
    if rng.random() < 0.6:
        return ""
    alphabet = [c for c in PRINTABLE if c not in '#"<>\\^`{|}']
    return "?" + "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 3, 30, 500])))


class Request:
    """method, path, query, fields (without Host, Authorization and framing), body pieces; `raw` for either proxy."""

    def __init__(self, seed, key, paths):
        rng = self.rng = random.Random(seed)
        self.seed, self.key = seed, key
        self.kind = rng.choice(["json", "json", "form", "custom", "openai-proxy"])
        self.fields, self.pieces = headers(rng, REQUEST_NAMES), (b"", b"", b"")
        self.method, self.minor = "POST", 1
        media = None
        if self.kind == "json":
            self.path, self.pieces = rng.choice(JSON_PATHS), json_body(rng)
            media = rng.choice(["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", None])
        elif self.kind == "form":
            self.pieces, media = form_body(rng)
            self.path = rng.choice(FORM_PATHS)
        else:
            self.path = paths[self.kind] + free_path(rng)
            self.method = rng.choice(["POST", "POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
            size = rng.choice([0, 0, 1, 100, 3000, 100_000 if rng.random() < 0.2 else 9])
            self.pieces = (rng.randbytes(size), b"", b"")
            media = rng.choice(["application/octet-stream", "application/json", None])
        if self.kind != "json" and self.kind != "form":
            self.fields = [(n, v) for n, v in self.fields if n.lower() != "content-encoding"]
        self.fields.insert(rng.randrange(len(self.fields) + 1), ("x-answer", str(seed)))
        if media:
            self.fields.insert(rng.randrange(len(self.fields) + 1), (case(rng, "Content-Type"), media))
        self.query = query(rng)
        self.with_body = bool(self.body) or self.method in ("POST", "PUT", "PATCH")
        self.chunked = self.with_body and rng.random() < 0.4
        if rng.random() < 0.04 and not self.chunked and (self.method == "POST" or not self.with_body):
            self.minor = 0

    @property
    def v1(self):
        return self.kind in ("json", "form")

    @property
    def body(self):
        return b"".join(self.pieces)

    @property
    def rewritten(self):
        """The body as the engine shall get it."""
        before, model, after = self.pieces
        return before + (b'"' + SERVED + b'"' if self.kind == "json" else SERVED) + after if model else before

    def raw(self):
        """(bytes, where to pause while sending)"""
        rng = random.Random(f"{self.seed} raw")
        fields = [("Host", "differential.test"), ("Authorization", f"Bearer {self.key}"), *self.fields]
        if self.with_body:
            fields.append(("Transfer-Encoding", "chunked") if self.chunked else ("Content-Length", str(len(self.body))))
        head = f"{self.method} {self.path}{self.query} HTTP/1.{self.minor}\r\n".encode() + lines(rng, fields) + b"\r\n"
        whole = head + (chunked(rng, self.body) if self.chunked else self.body if self.with_body else b"")
        cuts = sorted(rng.randrange(1, len(whole)) for _ in range(rng.choice([0, 0, 1, 3])))
        return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)]) if a < b]


class Answer:
    """What the engine says to the request of this seed. Its body begins with what it was told (`told`), so that a client sees both.
    Informational answers are not among them: HAProxy 2.6 cuts a long answer after one short."""

    def __init__(self, seed):
        rng = self.rng = random.Random(f"{seed} answer")
        self.status, self.reason = rng.choice(STATUSES), rng.choice(["OK", "Whatever it is", ""])
        self.fields = headers(rng, ANSWER_NAMES) + [(case(rng, "Content-Type"), rng.choice(TYPES))]
        self.filler = rng.choice([b"", b"x", b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n' * 30, rng.randbytes(rng.choice([100, 3000, 40_000]))])
        self.framing = rng.choice(["length", "length", "chunked", "close"])
        self.bodiless = self.status in (204, 304)

    def raw(self, told, head_request):
        fields, body, rng = list(self.fields), told + self.filler, self.rng
        if self.bodiless:
            body = b""
        elif self.framing == "length":
            fields.append(("Content-Length", str(len(body))))
        elif self.framing == "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
            body = chunked(rng, body)
        else:
            fields.append(("Connection", "close"))
        head = f"HTTP/1.1 {self.status} {self.reason}\r\n".encode() + lines(rng, fields) + b"\r\n"
        return head + (b"" if head_request else body)
