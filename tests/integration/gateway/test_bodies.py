"""Bodies byte for byte, through the whole gateway: what the finders promise holds however a body is framed and split."""
import json

import pytest
from gwtest import KEY, Dead, Engine, answer, code, route, status

MODEL, SERVED = b'"my-llama:142"', b'"my-llama"'
CHAT, FORM = "/v1/chat/completions", "/v1/audio/transcriptions"
MB8 = 8_000_000


def send(g, body, how="length", path=CHAT, media="application/json"):
    """One call with this body: `length`, or chunks of so many bytes."""
    c = g.connect(timeout=30)
    framing = f"Content-Length: {len(body)}" if how == "length" else "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {media}\r\n{framing}\r\n\r\n".encode()
    if how != "length":
        body = b"".join(b"%x\r\n" % len(body[i:i + how]) + body[i:i + how] + b"\r\n" for i in range(0, len(body), how)) + b"0\r\n\r\n"
    try:
        c.send(head + body)
    except OSError:
        pass  # refused on the way: the answer is there
    return c.message(False)


TRICKY = {
    "an escaped key": b'{"mod\\u0065l":"my-ll\\u0061ma:142","x":1}',
    "every letter of the key escaped": b'{"\\u006d\\u006F\\u0064\\u0065\\u006C":"my-llama:142"}',
    "nested ones before and after": b'{"a":{"model":"no:1","b":[{"model":[]}]},"model":"my-llama:142","c":[{"model":null}]}',
    "a string that looks like one": b'{"a":"\\",\\"model\\":\\"no:1\\"","model":"my-llama:142","b":"}"}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"my-llama:142"}',
    "huge numbers": b'{"n":' + b"9" * 3000 + b',"e":-1.5e+999999,"model":"my-llama:142"}',
    "invalid UTF-8": b'{"\xff\xc0\xaf":"\xed\xa0\x80\xf5","model":"my-llama:142"}',
    "first": b'{"model":"my-llama:142","messages":[]}',
    "last": b'{"messages":[],"model":"my-llama:142"}',
    "what parsers stumble over": b'{"a":[1e400,"\\ud83d\\ude00 \xff\xfe"],"m\\u006fdel":"my-ll\\u0061ma:142","n":{"model":"keep"}}',
    "blanks everywhere": b' \r\n{ \t"model"\n:\r"my-llama:142"\t} \n',
}


def rewritten(body):
    for model in (MODEL, b'"my-ll\\u0061ma:142"'):
        if model in body:
            return body.replace(model, SERVED)
    raise AssertionError(body)


@pytest.mark.parametrize("what", TRICKY)
def test_a_body_arrives_with_its_model_replaced_and_nothing_else_in_every_framing(world, what):
    body = TRICKY[what]
    for how in ["length", 1, 2, 3, 5, 7, 64]:
        assert status(send(world.g, body, how)) == 200, how
    assert [r.body for r in world.a.requests] == [rewritten(body)] * 7
    assert world.a.requests[0].get("content-length") == str(len(rewritten(body)))


@pytest.mark.parametrize("size", [10, 5000, 70000, 1500000, 8000000])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_bodies_of_every_size_arrive_whole(world, size, first, chunked):
    text = ("ab\\n" * size)[: size // 2 * 2].rstrip("\\")
    model, rest = b'"model":"my-llama:142"', b'"x":"' + text.encode() + b'"'
    body = b"{" + (model + b"," + rest if first else rest + b"," + model) + b"}"
    if chunked:
        out, at, step = [], 0, 7919
        while at < len(body):
            out.append(b"%x;e=1\r\n" % len(body[at:at + step]) + body[at:at + step] + b"\r\n")
            at += step
        raw = b"".join(out) + b"0\r\nTrailer: x\r\n\r\n"
        r = world.g.call(body=raw, headers=["Transfer-Encoding: chunked"])
    else:
        r = world.g.call(body=body)
    assert status(r) == 200, r.body
    assert world.a.requests[0].body == body.replace(b'"my-llama:142"', b'"my-llama"')


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"model":', b"}")])
def test_nesting_of_100000_costs_nothing(world, opening, closing):
    body = b'{"x":' + opening * 100_000 + b"1" + closing * 100_000 + b',"model":"my-llama:142"}'
    assert status(send(world.g, body)) == 200
    assert world.a.requests[0].body == body.replace(MODEL, SERVED)


DUPLICATES = [("length", b',"model":"my-llama:142"}'), (65536, b',"mod\\u0065l":1}'), (1_000_000, b',"\\u006dodel" : {}}')]


@pytest.mark.parametrize("how, again", DUPLICATES)
def test_a_second_model_behind_8_mb_is_422_and_never_ends_at_the_engine(world, again, how):
    r = send(world.g, b'{"model":"my-llama:142","x":"' + b"a" * MB8 + b'"' + again, how)
    assert (status(r), code(r), json.loads(r.body)["error"]["param"]) == (422, "invalid_request", "model")
    assert world.a.requests == []
    assert status(world.g.chat()) == 200


def multipart(parts, boundary=b"XX"):
    """parts: (header lines, data)"""
    return b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--" + boundary + b"--\r\n"


def field(name, data=b"1"):
    return b'Content-Disposition: form-data; name="' + name + b'"', data


MODEL_FIELD = field(b"model", b"my-llama:142")
FILE = (b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav',
        b"\r\n--X\r\n--XY\r\n-\r--XX\r\n--\0\xff" + b"--XX--" * 3 + b"\r")


@pytest.mark.parametrize("parts", [[FILE, MODEL_FIELD], [MODEL_FIELD, FILE], [field(b"a"), FILE, MODEL_FIELD, field(b"b")]], ids=["last", "first", "amid"])
@pytest.mark.parametrize("preamble, epilogue", [(b"", b""), (b"not a part\r\n--X\r\n", b"--XX\r\nnor this\r\n")])
def test_a_form_arrives_with_its_model_replaced_and_nothing_else(world, parts, preamble, epilogue):
    body = preamble + multipart(parts) + epilogue
    for how in ["length", 1, 3, 50]:
        assert status(send(world.g, body, how, FORM, 'multipart/form-data; boundary="XX"')) == 200, how
    assert [r.body for r in world.a.requests] == [body.replace(b"my-llama:142", b"my-llama")] * 4


@pytest.mark.parametrize("file_first", [True, False])
def test_a_form_with_a_large_file_arrives_whole(world, file_first):
    file = FILE[0], (bytes(range(256)) + FILE[1]) * 1000
    body = multipart([file, MODEL_FIELD] if file_first else [MODEL_FIELD, file])
    assert status(send(world.g, body, "length", FORM, "multipart/form-data; boundary=XX")) == 200
    assert world.a.requests[0].body == body.replace(b"my-llama:142", b"my-llama")


@pytest.mark.parametrize("boundary", [b"a b(c)", b"'()+_,-./:=?", b"x" * 70])
def test_a_boundary_may_be_of_all_that_the_rfc_lets(world, boundary):
    body = multipart([MODEL_FIELD], boundary)
    r = send(world.g, body, "length", FORM, f'multipart/form-data; charset=utf-8; boundary="{boundary.decode()}"')
    assert status(r) == 200
    assert world.a.requests[0].body == body.replace(b"my-llama:142", b"my-llama")


BIG = (b'Content-Disposition: form-data; name="file"; filename="a"', b"z" * MB8)
WRONG = {
    "a second model behind 8 MB": [MODEL_FIELD, BIG, MODEL_FIELD],
    "a model with a file name": [(MODEL_FIELD[0] + b'; filename="m"', b"my-llama:142")],
    "one with an encoded file name": [(MODEL_FIELD[0] + b"; filename*=UTF-8''m", b"my-llama:142")],
    "a second one that is a file, behind 8 MB": [MODEL_FIELD, BIG, (MODEL_FIELD[0] + b'; filename="m"', b"x")],
    "none": [field(b"models"), BIG],
    "65 parts": [field(b"f%d" % i) for i in range(64)] + [MODEL_FIELD],
    "part headers above 8 KB": [(b"X: " + b"y" * 1000 + (b"\r\nX: " + b"y" * 1000) * 8 + b"\r\n" + MODEL_FIELD[0], b"my-llama:142")],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_form_that_is_wrong_is_422_and_never_ends_at_the_engine(world, what):
    r = send(world.g, multipart(WRONG[what]), 65536, FORM, "multipart/form-data; boundary=XX")
    assert (status(r), code(r)) == (422, "invalid_request")
    assert world.a.requests == []
    assert status(world.g.chat()) == 200


def test_64_parts_and_8_kb_of_part_headers_are_taken(world):
    body = multipart([field(b"f%d" % i) for i in range(62)] + [MODEL_FIELD, (b"X: " + b"y" * 900 + (b"\r\nX: " + b"y" * 900) * 7 + b"\r\n" + field(b"g")[0], b"1")])
    assert status(send(world.g, body, "length", FORM, "multipart/form-data; boundary=XX")) == 200
    assert world.a.requests[0].body == body.replace(b"my-llama:142", b"my-llama")


def failing_first(after):
    """Two engines: whichever is asked first is lost once it has read so many bytes of the body. (engines, requests begun, bodies)"""
    begun, bodies = [], []

    def serve(conn):
        found = dict(conn.head()[1])
        begun.append(found)
        if len(begun) == 1:
            conn.exactly(after)
            conn.reset()
            return
        bodies.append(conn.chunks() if "transfer-encoding" in found else conn.exactly(int(found["content-length"])))
        conn.send(answer())

    engines = [Engine(), Engine()]
    for e in engines:
        e._serve = serve
    return engines, begun, bodies


@pytest.mark.parametrize("how", ["length", 65536])
def test_a_body_of_up_to_1_mib_is_sent_again_whole_though_some_of_it_had_gone(make, how):
    engines, begun, bodies = failing_first(after=300_000)
    g = make([route(142, engines)])
    body = b'{"model":"my-llama:142","x":"' + b"a" * 1_000_000 + b'"}'
    assert status(send(g, body, how)) == 200
    assert len(begun) == 2 and bodies == [body.replace(MODEL, SERVED)]


@pytest.mark.parametrize("how", ["length", 65536])
def test_a_longer_body_of_which_some_had_gone_is_502_and_never_sent_again(make, how):
    engines, begun, _ = failing_first(after=2_000_000)
    g = make([route(142, engines)])
    r = send(g, b'{"model":"my-llama:142","x":"' + b"a" * 6_000_000 + b'"}', how)
    assert (status(r), code(r)) == (502, "upstream_error") and len(begun) == 1
    assert status(g.chat()) == 200


def test_a_longer_body_of_which_nothing_had_gone_is_sent_to_another_replica(make):
    good = Engine()
    g = make([route(142, [Dead(), good])])
    body = b'{"model":"my-llama:142","x":"' + b"a" * 3_000_000 + b'"}'
    for n in range(1, 41):
        assert status(send(g, body)) == 200 and len(good.requests) == n
        assert good.requests[-1].body == body.replace(MODEL, SERVED)
        if g.metric("ecolink_gateway_upstream_failures_total"):
            break
    assert g.metric("ecolink_gateway_upstream_failures_total") >= 1  # the dead one was asked first at least once
