"""What schemathesis cannot know from the document: values that exist, and what must outlive the run. Read by schemathesis itself.

SURFACE_WORLD names a JSON file: {"keys": the role's keys, used in turn, so that none meets its rate limit,
"keep", "keep_instances": keys, members and instances that no call may end, "model", "custom": what can be called, "ended": a stopped instance, "account", "model_id"}.
"""
import itertools
import json
import os

import schemathesis

with open(os.environ["SURFACE_WORLD"], encoding="utf-8") as file:
    WORLD = json.load(file)
KEYS = itertools.cycle(WORLD["keys"])
ENDS = ("/stop", "/restart")
LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
calls = itertools.count()


@schemathesis.check
def speaks_by_the_rules(ctx, response, case):
    """What the document says in words: errors are of the closed list with its status and this call's request id, every answer to
    a known key tells its limits, and no answer has a member that its schema does not name."""
    headers = {name.lower(): value[0] for name, value in response.headers.items()}
    document = case.operation.schema.raw_schema
    engine = case.path.startswith("/v1/") or "/proxy/" in case.path
    body = None
    if headers.get("content-type", "").startswith("application/json") and response.request.method != "HEAD":
        body = response.json()
    # What is no instance's number is none of the proxy's paths: nothing is there, for anybody.
    nowhere = "/proxy/" in case.path and response.status_code == 404 and not (body and body["error"]["code"] != "not_found")
    if response.status_code in (400, 401) or nowhere or case.operation.definition.raw.get("security") == []:
        pass
    else:
        assert all(name in headers for name in LIMITS), f"limits are missing: {sorted(headers)}"
    if response.status_code >= 400 and not (engine and "x-ecolink-region" in headers) and response.request.method != "HEAD":
        error = body["error"]
        assert WORLD["errors"].get(error["code"]) == [response.status_code, error["type"]], f"{response.status_code} {error}"
        assert error["request_id"] == headers["x-ecolink-request-id"], error
        assert error["message"].strip(), error
        assert response.status_code not in (429, 503) or int(headers["retry-after"]) > 0, headers
    elif body is not None and not engine:
        answer = case.operation.definition.raw["responses"].get(str(response.status_code))
        if answer and "content" in answer:
            unnamed(document, answer["content"]["application/json"]["schema"], body, "")


def unnamed(document, schema, value, where):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, dict) and "properties" in schema:
        left = set(value) - set(schema["properties"])
        assert not left, f"undocumented members {sorted(left)} at {where or 'the top'}"
        for name, inner in value.items():
            unnamed(document, schema["properties"][name], inner, f"{where}.{name}")
    for i, inner in enumerate(value if isinstance(value, list) else ()):
        unnamed(document, schema["items"], inner, f"{where}[{i}]")


def positive(case):
    return case.meta is None or case.meta.generation.mode.is_positive


@schemathesis.hook
def before_call(context, case, kwargs):
    spare(case)
    if positive(case):
        make_real(case)
    headers = kwargs.get("headers")
    if headers and headers.get("Authorization") == f"Bearer {WORLD['keys'][0]}":
        headers["Authorization"] = f"Bearer {next(KEYS)}"


def spare(case):
    """Calls that would take the ground from under the run are turned away from it."""
    parameters = case.path_parameters or {}
    given = str(parameters.get("id", ""))
    if case.method == "DELETE" and given in WORLD["keep"]:
        parameters["id"] = f"{given[:3]}_none"
    ends = case.path.endswith(ENDS) or (case.method == "DELETE" and case.path == "/inference-instances/{id}")
    if ends and given in WORLD["keep_instances"]:
        parameters["id"] = 999999
    if "follow" in (case.query or {}) and given in WORLD["keep_instances"]:
        parameters["id"] = WORLD["ended"]  # what is followed until the instance ends must end


def make_real(case):
    """Random ids and cursors exist for nobody: every other valid call names things that are there."""
    real = next(calls) % 2 == 0
    query = case.query or {}
    query.pop("cursor", None)  # opaque: only one that a list returned is right
    if query.get("format") == "csv" or "csv" in str((case.headers or {}).get("Accept", "")):
        query.pop("limit", None)  # an export holds every row
    if case.path == "/billing/usage":
        query.pop("from", None)  # both are dates, and their order matters
    body = case.body if isinstance(case.body, dict) else {}
    if case.path.startswith("/v1/") and "model" in body and real:
        body["model"] = WORLD["model"]
    if "/proxy/" in case.path and real and case.path_parameters:
        case.path_parameters["id"] = WORLD["custom"]
    if "{account_id}" in case.path:
        body.pop("account_id", None)
        case.path_parameters["account_id"] = WORLD["account"]
    if case.path == "/inference-instances" and case.method == "POST":
        query["dry_run"] = "true"  # a launch is two processes; tests/e2e launches
        if real:
            body.pop("platform_model", None)
            body.update({"model_id": WORLD["model_id"], "engine": "simulator", "gpu_type": "cpu"})
        case.query = query
    if "{name}" in case.path and case.method == "PUT":
        body.pop("name", None)  # the path has it
    if "expires_at" in body and body["expires_at"]:
        body["expires_at"] = "2100-01-01T00:00:00Z"
    for name in [n for n in body if n.endswith("_micros")]:
        body.pop(name.removesuffix("_micros"), None)  # two forms of one amount
