"""One Idempotency-Key sent by several callers at once: one of them does it, the others wait and get the same answer (or, when it
takes longer than they may wait, 409 in_progress). Every mutation of the gateway's table."""
import concurrent.futures
import itertools
import uuid

import pytest

from eco.client import Client

TWINS = 6
numbers = itertools.count(1)
SHOWN_ONCE = {"key", "token", "accept_url"}


@pytest.fixture(scope="module")
def people(stack, operator):
    owner = stack.account("100000.00", "twins")
    return {"owner": owner, "admin": stack.admin, "second": operator, "nobody": Client(stack.url, None)}


def fresh(word):
    return f"{word}-{next(numbers)}-{uuid.uuid4().hex[:6]}"


def model(owner, **more):
    return {"name": fresh("m"), "source": "container", "category": "chat"} | more


def filesystem():
    name = fresh("fs")
    return {"name": name, "region": "eu-north", "mount_path": f"/{name}"}


def running(owner):
    return owner.launch(owner.model())["id"]


def member(people):
    token = people["owner"].ok("POST", "/invites", 201, json={"email": f"{fresh('a')}@example.com"})["token"]
    return people["nobody"].ok("POST", f"/invites/{token}/accept", 201)["member"]["id"]


def correction(people):
    return people["admin"].ok("POST", f"/admin/accounts/{people['owner'].account_id}/corrections", 201,
                              json={"amount": "1.00", "reason": "twins"})["id"]


def put(people, kind, body):
    name = fresh("n")
    people["admin"].ok("PUT", f"/admin/{kind}/{name}", json=body)
    return name


REGION = {"driver": "process", "gpus": []}
GPU = {"hourly_rate": "1.00"}
ENTRY = {"repo": "org/name", "category": "chat"}


# route -> who asks, what fills the path, the body
STORIES = {
    "POST /models": lambda p: ("owner", "", model(p["owner"])),
    "DELETE /models/{id}": lambda p: ("owner", p["owner"].model()["id"], None),
    "POST /filesystems": lambda p: ("owner", "", filesystem()),
    "DELETE /filesystems/{id}": lambda p: ("owner", p["owner"].ok("POST", "/filesystems", 201, json=filesystem())["id"], None),
    "POST /inference-instances": lambda p: ("owner", "", {"model_id": p["owner"].model()["id"], "engine": "simulator",
                                                          "gpu_type": "cpu"}),
    "DELETE /inference-instances/{id}": lambda p: ("owner", running(p["owner"]), None),
    "POST /inference-instances/{id}/stop": lambda p: ("owner", running(p["owner"]), None),
    "POST /inference-instances/{id}/restart": lambda p: ("owner", running(p["owner"]), None),
    "POST /api-keys": lambda p: ("owner", "", {"name": fresh("k")}),
    "DELETE /api-keys/{id}": lambda p: ("owner", p["owner"].ok("POST", "/api-keys", 201, json={"name": "gone"})["id"], None),
    "DELETE /members/{id}": lambda p: ("owner", member(p), None),
    "POST /invites": lambda p: ("owner", "", {"email": f"{fresh('b')}@example.com"}),
    "POST /invites/{token}/accept": lambda p: ("nobody", p["owner"].ok(
        "POST", "/invites", 201, json={"email": f"{fresh('c')}@example.com"})["token"], None),
    "POST /admin/operators": lambda p: ("second", "", {"name": fresh("op")}),
    "POST /admin/accounts": lambda p: ("admin", "", {"name": fresh("acc"), "owner_email": "twin@example.com"}),
    "POST /admin/accounts/{account_id}/topups": lambda p: ("admin", p["owner"].account_id, {"amount": "1.00"}),
    "POST /admin/accounts/{account_id}/corrections": lambda p: ("admin", p["owner"].account_id,
                                                                {"amount": "1.00", "reason": "twins"}),
    "POST /admin/corrections/{id}/approve": lambda p: ("second", correction(p), None),
    "POST /admin/instances/{id}/stop": lambda p: ("admin", running(p["owner"]), None),
    "PUT /admin/regions/{name}": lambda p: ("admin", fresh("r"), REGION),
    "DELETE /admin/regions/{name}": lambda p: ("admin", put(p, "regions", REGION), None),
    "PUT /admin/gpu-types/{name}": lambda p: ("admin", fresh("g"), GPU),
    "DELETE /admin/gpu-types/{name}": lambda p: ("admin", put(p, "gpu-types", GPU), None),
    "PUT /admin/platform-models/{name}": lambda p: ("admin", fresh("p"), ENTRY),
    "DELETE /admin/platform-models/{name}": lambda p: ("admin", put(p, "platform-models", ENTRY), None),
}


def test_every_mutation_has_a_story(routes):
    mutations = {f"{r['method']} {r['path']}" for r in routes["routes"] if r["plane"] == "management" and r["method"] != "GET"}
    assert mutations == set(STORIES)


@pytest.mark.parametrize("route", STORIES)
def test_twins_get_one_answer(route, people):
    who, filling, body = STORIES[route](people)
    method, template = route.split(" ")
    path = template.split("{")[0] + str(filling) + template.split("}")[1] if "{" in template else template
    client, key = people[who], uuid.uuid4().hex

    def call(_):
        # A session is not for several threads.
        return Client(client.url, client.key).request(method, path, headers={"Idempotency-Key": key}, json=body)
    with concurrent.futures.ThreadPoolExecutor(TWINS) as pool:
        answers = list(pool.map(call, range(TWINS)))
    seen = [(a.status_code, a.text[:300]) for a in answers]
    assert all(a.status_code in (200, 201) for a in answers), seen
    assert len({str(sorted(without_secrets(a.json()).items())) for a in answers}) == 1, seen
    shown = sum(1 for a in answers if SHOWN_ONCE & names(a.json()))
    assert shown <= 1, f"a secret was shown {shown} times"


def names(value):
    found = set(value)
    for inner in value.values():
        found |= names(inner) if isinstance(inner, dict) else set()
    return found


def without_secrets(value):
    return {k: without_secrets(v) if isinstance(v, dict) else v for k, v in value.items() if k not in SHOWN_ONCE}
