"""What the gateway keeps from strangers and from containers: guessing at keys, our own cookies."""
import pytest
from gwtest import KEY, OTHER_KEY, REVOKED_KEY, UNKNOWN_KEY, Engine, code, route, status

PROXY = "/inference-instances/145/proxy"


def cookies(request):
    return [v for k, v in request.headers if k.lower() == "cookie"]


# ---- cookies ----

def test_no_cookie_reaches_an_engine_on_v1(world):
    world.g.call("POST", body={"model": "my-llama:142"}, headers=["Cookie: session=secret; theme=dark"])
    assert cookies(world.a.requests[0]) == []


@pytest.mark.parametrize("sent, kept", [
    ("ecolink_session=s3cret", []),
    ("ecolink_session=s3cret; theme=dark", ["theme=dark"]),
    ("theme=dark; __Host-ecolink_session=s3cret; b=2", ["theme=dark; b=2"]),
    ("__Secure-EcoLink-x=s3cret;a=1", ["a=1"]),
    ("a=ecolink; ecolinked=no;", ["a=ecolink"]),
    ("a=1;;b=2 ;  ", ["a=1; b=2"]),
    ("theme=dark", ["theme=dark"]),
    ("bare; ecolink", ["bare"]),
])
def test_a_container_gets_its_own_cookies_and_never_ours(world, sent, kept):
    """The console may share the origin with /proxy: names that begin with `ecolink` are its own."""
    world.g.call("GET", PROXY + "/x", headers=[f"Cookie: {sent}"])
    assert cookies(world.custom.requests[0]) == kept


def test_a_container_cannot_set_our_cookies(world):
    lines = ["Set-Cookie: ecolink_session=forged; Path=/", "Set-Cookie: __Host-ecolink=forged", "Set-Cookie: theme=dark",
             "set-cookie:  ECOLINK=x"]
    head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + "".join(line + "\r\n" for line in lines) + "\r\n"
    world.custom.script = lambda c, r: c.send(head.encode())
    r = world.g.call("GET", PROXY + "/x")
    assert [v for k, v in r.headers if k == "set-cookie"] == ["theme=dark"]


# ---- strangers ----

def limited(make, **settings):
    engine = Engine()
    g = make([route(142, [engine])], PUBLIC_RATE_LIMIT=5, **settings)
    return g


def drain(g, **call):
    """Statuses until the first 429, with that answer."""
    seen = []
    for _ in range(50):
        r = g.call("GET", "/v1/models", **call)
        seen.append(status(r))
        if seen[-1] == 429:
            return seen, r
    return seen, None


@pytest.mark.parametrize("key", [None, UNKNOWN_KEY, REVOKED_KEY, "eco_short"])
def test_who_has_no_key_that_counts_is_slowed_down_by_address(make, key):
    g = limited(make)
    seen, last = drain(g, key=key)
    assert seen == [401] * 5 + [429]
    assert code(last) == "rate_limit_exceeded" and 1 <= int(last.get("retry-after")) <= 13
    assert int(last.get("x-ratelimit-limit")) == 5 and int(last.get("x-ratelimit-remaining")) == 0
    assert status(g.call("GET", "/v1/models", key=KEY)) == 200  # whoever has a key is not held up by his neighbours
    assert status(g.call("GET", "/v1/models", key=OTHER_KEY)) == 200


def test_public_routes_and_unknown_paths_share_that_limit(make):
    g = limited(make)
    seen = [status(g.call("GET", "/platform/models", key=None)) for _ in range(2)]
    seen += [status(g.call("GET", "/nothing/here", key=None)) for _ in range(2)]
    seen += [status(g.call("POST", "/invites/nosuchtoken/accept", key=None)) for _ in range(3)]
    assert seen[2:4] == [404, 404] and seen[-2:] == [429, 429] and 429 not in seen[:5]


def test_behind_a_trusted_proxy_the_clients_own_address_counts(make):
    g = limited(make, TRUSTED_PROXIES="127.0.0.0/8")
    seen, _ = drain(g, key=None, headers=["X-Forwarded-For: 203.0.113.7"])
    assert seen[-1] == 429
    assert status(g.call("GET", "/v1/models", key=None, headers=["X-Forwarded-For: 203.0.113.7"])) == 429
    # only the last hop was written by the proxy that we trust
    assert status(g.call("GET", "/v1/models", key=None, headers=["X-Forwarded-For: 198.51.100.1, 203.0.113.7"])) == 429
    assert status(g.call("GET", "/v1/models", key=None, headers=["X-Forwarded-For: 203.0.113.7, 198.51.100.1"])) == 401
    # an IPv6 customer has a whole /64
    seen, _ = drain(g, key=None, headers=["X-Forwarded-For: 2001:db8:1:2::1"])
    assert seen[-1] == 429
    assert status(g.call("GET", "/v1/models", key=None, headers=["X-Forwarded-For: 2001:db8:1:2:ffff::9"])) == 429
    assert status(g.call("GET", "/v1/models", key=None, headers=["X-Forwarded-For: 2001:db8:1:3::1"])) == 401


def test_a_chain_in_several_lines_is_read_as_one(make):
    """HAProxy adds a line of its own below the client's: the first line is what the client claims (RFC 9110, section 5.3)."""
    engine = Engine()
    g = make([route(142, [engine])], PUBLIC_RATE_LIMIT=5, TRUSTED_PROXIES="127.0.0.0/8")
    for i in range(5):
        r = g.call("GET", "/v1/models", key=None, headers=[f"X-Forwarded-For: 192.0.2.{i}", "X-Forwarded-For: 203.0.113.7"])
        assert status(r) == 401
    r = g.call("GET", "/v1/models", key=None, headers=["X-Forwarded-For: 192.0.2.99", "X-Forwarded-For: 203.0.113.7"])
    assert status(r) == 429
    g.call("POST", body={"model": "my-llama:142"}, headers=["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 203.0.113.7, 198.51.100.2"])
    assert engine.requests[0].all("x-forwarded-for") == ["192.0.2.1, 203.0.113.7, 198.51.100.2, 127.0.0.1"]


def test_without_a_trusted_proxy_the_header_is_no_way_round(make):
    g = limited(make)
    seen = [status(g.call("GET", "/v1/models", key=None, headers=[f"X-Forwarded-For: 203.0.113.{i}"])) for i in range(7)]
    assert seen == [401] * 5 + [429] * 2


def test_zero_switches_it_off(make):
    g = make([route(142, [Engine()])], PUBLIC_RATE_LIMIT=0)
    assert {status(g.call("GET", "/v1/models", key=None)) for _ in range(30)} == {401}


