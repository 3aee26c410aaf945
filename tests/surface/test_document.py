"""docs/api/openapi.yaml against the gateway's own tables and against the command-line client: both ways, nothing left over."""
import pathlib
import re

TREE = pathlib.Path(__file__).resolve().parents[2]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PROXY = "/inference-instances/{id}/proxy/{path}"
ANY_METHOD = ("get", "put", "post", "delete", "options", "head", "patch", "trace")  # what a "*" row stands for in the document
ROUTES_MIN = 73  # operations: one that vanishes is no accident
LIMITS = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}


def operations(document):
    """(method, path) -> operation, its path's parameters merged in and references to parameters followed."""
    found = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = dict(item[method])
                given = item.get("parameters", []) + operation.get("parameters", [])
                operation["parameters"] = [resolve(document, p) for p in given]
                found[method, path] = operation
    return found


def resolve(document, value):
    while "$ref" in value:
        target = document
        for word in value["$ref"].removeprefix("#/").split("/"):
            target = target[word]
        value = target
    return value


def parameters(operation, place):
    return {p["name"] for p in operation["parameters"] if p["in"] == place}


def rows(routes):
    """(method, path) -> row; "*" rows once for each method that the document can say."""
    found = {}
    for row in routes["routes"]:
        for method in ANY_METHOD if row["method"] == "*" else (row["method"].lower(),):
            assert (method, row["path"]) not in found, f"twice in the table: {method} {row['path']}"
            found[method, row["path"]] = row
    return found


def test_table_and_document_name_the_same_routes(document, routes):
    assert sorted(operations(document)) == sorted(rows(routes))
    assert len(rows(routes)) >= ROUTES_MIN


def test_each_row_agrees_with_its_operation(document, routes):
    documented = operations(document)
    for (method, path), row in rows(routes).items():
        operation = documented[method, path]
        where = f"{method} {path}"
        assert set(re.findall(r"{(\w+)}", path)) == parameters(operation, "path"), where
        assert sorted(operation["x-ecolink-allow"]) == sorted(row["allow"]), where
        if row["plane"] == "management":
            assert str(row["status"]) in operation["responses"], where
            assert set(row["query"]) == parameters(operation, "query"), where
            answer = operation["responses"][str(row["status"])]["content"]["application/json"]["schema"]["$ref"]
            assert answer.rsplit("/", 1)[1] == row["reply"], where
            changes = method != "get"
            assert ("Idempotency-Key" in parameters(operation, "header")) == changes, where
            assert ("none" in row["allow"]) == (operation.get("security") == []), where
        if path != PROXY:
            assert sorted(operation.get("requestBody", {}).get("content", {})) == sorted(row["takes"]), where
        if row["plane"] == "management" and row["takes"]:
            asked = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert asked.rsplit("/", 1)[1] == row["request"], where
            schema = resolve(document, {"$ref": asked})
            assert schema["additionalProperties"] is False, f"{where}: unknown members are refused, the schema must say so"


def test_every_operation_documents_what_the_gateway_may_answer_by_itself(document, routes):
    """Framing (400), key (401), rights (403), size, form, rate (429), overload: by the plane, method and body of the row."""
    documented = operations(document)
    for (method, path), row in rows(routes).items():
        want = {400, 401, 429, 500}
        if row["plane"] == "management":
            want |= {413, 422, 503}
            want |= {409} if method != "get" else set()
            want |= {415} if row["takes"] else set()
        elif not path.startswith("/v1/models"):
            want |= {404, 502, 503, 504}
        want |= set() if "none" in row["allow"] else {403}
        have = {int(s) for s in documented[method, path]["responses"] if s != "default"}
        assert want <= have, f"{method} {path} lacks {sorted(want - have)}"


def test_every_answer_documents_its_headers(document):
    for (method, path), operation in operations(document).items():
        for status, answer in operation["responses"].items():
            answer = resolve(document, answer)
            headers = {name.lower() for name in answer["headers"]}
            where = f"{method} {path} {status}"
            assert "x-ecolink-request-id" in headers, where
            assert LIMITS <= headers or status == "401", where
            assert ("www-authenticate" in headers) == (status == "401"), where
            assert ("retry-after" in headers) == (status in ("409", "429", "503")), where
            engine = path == PROXY or path.startswith("/v1/") and not path.startswith("/v1/models")
            assert ("x-ecolink-region" in headers) == engine, where


def test_the_error_list_is_the_documents_both_ways(document, routes):
    schemas, answers = document["components"]["schemas"], document["components"]["responses"]
    table = routes["errors"]
    assert schemas["ErrorCode"]["enum"] == [e["code"] for e in table]
    assert sorted(schemas["Error"]["properties"]["error"]["properties"]["type"]["enum"]) == sorted({e["type"] for e in table})
    by_status = {}
    for error in table:
        by_status.setdefault(f"E{error['status']}", []).append(error["code"])
    described = {}
    for name, answer in answers.items():
        if name == "Engine":
            continue
        words, engines = re.fullmatch(r"(.*?)(; or the engine's own)?", answer["description"]).groups()
        schema = answer["content"]["application/json"]["schema"]
        schema = schema["anyOf"][0] if engines else schema
        assert bool(engines) == name.startswith("V"), name
        assert schema["$ref"] == "#/components/schemas/Error", name
        assert described.setdefault(f"E{name[1:]}", words.split(", ")) == words.split(", "), name
    assert described == by_status


def test_no_component_is_left_over(document):
    text = (TREE / "docs/api/openapi.yaml").read_text()
    for kind, named in document["components"].items():
        for name in named:
            # 405 is answered where OpenAPI has no place for it: on methods that a path does not name.
            if kind != "securitySchemes" and name != "E405":
                assert f"'#/components/{kind}/{name}'" in text, f"{kind} {name} is never used"


def bare(path):
    """The path with its parameters unnamed: the command line calls {account_id} just `account`."""
    return re.sub(r"{\w+}", "{}", path)


def calls(document, cli):
    """(call, its operation, the body's schema or None) of every command; fails for one that is not documented."""
    documented = {(method, bare(path)): operation for (method, path), operation in operations(document).items()}
    for call in cli["calls"]:
        operation = documented.get((call["method"].lower(), bare(call["route"])))
        assert operation, f"ecolink {call['command']}: {call['method']} {call['route']} is not documented"
        content = operation.get("requestBody", {}).get("content", {})
        yield call, operation, resolve(document, content["application/json"]["schema"]) if content else None


def test_the_cli_calls_only_what_is_documented(document, cli):
    for call, operation, body in calls(document, cli):
        where = f"ecolink {call['command']}"
        assert set(call["query"]) <= parameters(operation, "query"), where
        assert set(call["body"]) <= set(body["properties"] if body else ()), where
    assert len(cli["calls"]) >= 50


def test_the_cli_can_set_every_member_of_every_body(document, cli):
    """What a body may hold can be given on the command line, but what repeats the path, and amounts in micros."""
    for call, operation, body in calls(document, cli):
        if call["body"]:
            left = {m for m in body["properties"] if not m.endswith("_micros")}
            left -= set(call["body"]) | parameters(operation, "path")
            assert not left, f"ecolink {call['command']} cannot set {sorted(left)}"


def test_every_route_has_a_command_or_the_docs_say_that_it_has_none(document, cli):
    called = {(c["method"].lower(), bare(c["route"])) for c in cli["calls"]}
    text = (TREE / "docs/api/README.md").read_text()
    section = text.split("## Routes without a command")[1].split("\n## ")[0]
    excused = {(m.lower(), bare(p)) for m, p in re.findall(r"`([A-Z]+) (/[^`]*)`", section)}
    documented = {(method, bare(path)) for method, path in operations(document)}
    assert sorted(excused - documented) == [], "the docs excuse a route that is not there"
    assert sorted(excused & called) == [], "the docs excuse a route that has a command"
    uncovered = {(m, p) for m, p in documented - called - excused if p != bare(PROXY)}
    assert sorted(uncovered) == []
    assert PROXY in section


def test_the_cli_explains_only_codes_of_the_list(document, cli):
    codes = set(document["components"]["schemas"]["ErrorCode"]["enum"])
    assert set(cli["codes"]) <= codes
    assert len(cli["codes"]) == len(set(cli["codes"])) >= 15
