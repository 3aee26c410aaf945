"""Calling an OpenAI-compatible instance (product description, section 4)."""
import threading
import time

import pytest
from eco.client import Client, events, text_of
from eco.waiting import wait

WORDS = "This is the simulator speaking: "


def test_a_chat_is_answered_by_the_registered_name_without_the_instance_id(chat):
    """[D] 4: replace the model field by `my-llama`; stream the response back. The container sees neither instance id nor region."""
    client, instance = chat
    answer = client.chat(instance["model"], max_tokens=5)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == WORDS
    assert "model=my-llama " in body["system_fingerprint"]  # the engine answers 404 to any other name
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}


def test_the_container_sees_neither_instance_id_nor_region_nor_key(stack, chat):
    """[D] 4: The container sees neither instance id nor region."""
    import pathlib
    client, instance = chat
    echoed = client.ok("POST", f"/inference-instances/{instance['id']}/proxy/look", json={"a": 1})
    text = str(echoed["headers"]).lower()
    assert client.key not in text and "authorization" not in text and "x-ecolink-region" not in text
    for replica in stack.replicas(instance["id"]):
        env = pathlib.Path(f"/proc/{replica.pid}/environ").read_text().split("\0")
        shown = [e for e in env if not e.startswith(("HOME=", "TMPDIR="))]  # its private folder bears its name
        assert not any(str(instance["id"]) in e.split("=", 1)[-1].split("-") or "eu-north" in e or "us-east" in e for e in shown), shown


def test_a_stream_comes_token_by_token(chat):
    """[D] 4: stream the response back"""
    client, instance = chat
    answer = client.chat(instance["model"], stream=True, max_tokens=5, stream_options={"include_usage": True})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    chunks = list(events(answer))
    assert chunks[-1] == "[DONE]"
    assert text_of(chunks) == WORDS
    assert chunks[0]["choices"][0]["delta"].get("role") == "assistant"
    assert chunks[-2]["usage"]["completion_tokens"] == 5


def test_a_stream_is_not_held_back(stack, tenant):
    """[D] 4: stream the response back"""
    instance = tenant.run(tenant.hf_model(), args=["--token-ms", "150"])
    arrivals = []
    for chunk in events(tenant.chat(instance["model"], stream=True, max_tokens=6)):
        if chunk != "[DONE]" and chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
            arrivals.append(time.monotonic())
    gaps = [b - a for a, b in zip(arrivals, arrivals[1:])]
    assert len(arrivals) == 6 and min(gaps) > 0.05, gaps


@pytest.mark.parametrize("path,body,check", [
    ("completions", {"prompt": "once upon"}, lambda b: b["choices"][0]["text"].startswith("This")),
    ("embeddings", {"input": ["a", "b"]}, lambda b: len(b["data"]) == 2 and len(b["data"][0]["embedding"]) == 16),
    ("images/generations", {"prompt": "a cat", "n": 2}, lambda b: len(b["data"]) == 2 and b["data"][0]["b64_json"]),
    ("rerank", {"query": "x", "documents": ["x", "y"]}, lambda b: b["results"][0]["relevance_score"] == 1.0),
    ("responses", {"input": "hello"}, lambda b: b["output"][0]["content"][0]["text"].startswith("This")),
    ("moderations", {"input": "hello"}, lambda b: b["results"][0]["flagged"] is False),
    ("messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}, lambda b: b["content"][0]["text"] == "This is the "),
    ("video/generations", {"prompt": "a cat"}, lambda b: b["status"] == "completed"),
])
def test_every_json_endpoint_is_routed(chat, path, body, check):
    """[D] 4: Endpoints: `POST /v1/chat/completions`, `/v1/embeddings`, `/v1/images/generations`, `/v1/rerank` ..."""
    client, instance = chat
    answer = client.ok("POST", f"/v1/{path}", json={"model": instance["model"]} | body)
    assert check(answer), answer
    assert "model=my-llama " in answer["system_fingerprint"]


def test_the_same_input_gives_the_same_embedding(chat):
    """[D] 4: Endpoints: `/v1/embeddings`"""
    client, instance = chat
    one, two = (client.ok("POST", "/v1/embeddings", json={"model": instance["model"], "input": "same"}) for _ in range(2))
    assert one["data"] == two["data"]


def test_speech_comes_back_as_bytes(chat):
    """[D] 4: Endpoints: `/v1/audio/speech`"""
    client, instance = chat
    answer = client.post("/v1/audio/speech", json={"model": instance["model"], "input": "hello", "voice": "x"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert answer.content[:4] == b"RIFF" and len(answer.content) == 844


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_transcriptions_model_field_is_found_in_the_form(chat, size):
    """[D] 4: `/v1/audio/transcriptions` (multipart: the `model` form field)"""
    client, instance = chat
    answer = client.post("/v1/audio/transcriptions", data={"model": instance["model"]}, files={"file": ("a.wav", b"x" * size)})
    assert answer.status_code == 200, answer.text
    assert f"heard {size} bytes" in answer.json()["text"] and answer.json()["model"] == "my-llama"
    # The field may also come after the file.
    answer = client.post("/v1/audio/transcriptions", files=[("file", ("a.wav", b"x" * size)), ("model", (None, instance["model"]))])
    assert answer.status_code == 200 and f"heard {size} bytes" in answer.json()["text"], answer.text


def test_images_are_edited_by_multipart(chat):
    """/v1/images/edits (multipart)"""
    client, instance = chat
    answer = client.post("/v1/images/edits", data={"model": instance["model"], "prompt": "red"}, files={"image": ("a.png", b"png")})
    assert answer.status_code == 200 and answer.json()["data"][0]["b64_json"], answer.text


def test_models_lists_what_the_key_may_call(chat, tenants):
    """`GET /v1/models` lists what the key may call, `GET /v1/models/{id}` one of them"""
    client, instance = chat
    listed = client.ok("GET", "/v1/models")
    assert listed["object"] == "list" and instance["model"] in [m["id"] for m in listed["data"]]
    assert client.ok("GET", f"/v1/models/{instance['model']}")["id"] == instance["model"]
    other = tenants()
    assert instance["model"] not in [m["id"] for m in other.ok("GET", "/v1/models")["data"]]


def test_the_platform_catalogue_is_public(stack):
    """`GET /platform/models` is public"""
    assert Client(stack.url, None).ok("GET", "/platform/models")["object"] == "list"


def test_answers_bear_the_documented_headers(chat):
    """[D] 4: Response headers: `x-ecolink-region`, `x-ecolink-request-id`; `x-ratelimit-limit`, `-remaining`, `-reset`"""
    client, instance = chat
    answer = client.first.chat(instance["model"])
    assert answer.headers["x-ecolink-region"] in [r["region"] for r in instance["replicas"]]
    assert len(answer.headers["x-ecolink-request-id"]) >= 16
    assert int(answer.headers["x-ratelimit-limit"]) == 200
    assert 0 <= int(answer.headers["x-ratelimit-remaining"]) < 200
    assert 0 <= float(answer.headers["x-ratelimit-reset"]) <= 60
    assert "set-cookie" not in answer.headers
    other = client.chat(instance["model"])
    assert other.headers["x-ecolink-request-id"] != answer.headers["x-ecolink-request-id"]


def test_another_accounts_instance_cannot_be_called(chat, tenants):
    """[D] 4: check that the key's account owns it"""
    client, instance = chat
    other = tenants()
    other.refused("POST", "/v1/chat/completions", 403, "forbidden", json={"model": instance["model"], "messages": []})
    other.refused("GET", f"/inference-instances/{instance['id']}", 403, "forbidden")
    other.refused("POST", f"/inference-instances/{instance['id']}/stop", 403, "forbidden")
    other.refused("POST", f"/inference-instances/{instance['id']}/proxy/x", 403, "forbidden", json={})
    other.refused("GET", f"/models/{instance['model_id']}", 403, "forbidden")


def test_a_caller_who_leaves_frees_the_engine(stack, tenant):
    """FIN from a client with a request pending cancels the upstream at once on /v1 (GPU time is money)"""
    instance = tenant.run(tenant.hf_model(), args=["--token-ms", "100"])
    answer = tenant.chat(instance["model"], stream=True, max_tokens=1000)
    stream = events(answer)
    next(stream)
    assert sum(r.state()["active"] for r in stack.replicas(instance["id"])) == 1
    stream.close()
    answer.close()
    wait(lambda: sum(r.state()["active"] for r in stack.replicas(instance["id"])) == 0, "the engine to be free", 5)


def test_many_callers_at_once_all_get_their_own_answer(stack, tenant):
    """[D] 1: You get one API URL"""
    instance = tenant.run(tenant.hf_model(), args=["--token-ms", "2"])
    wrong = []

    def call(n):
        client = Client(stack.url, tenant.key)
        for _ in range(3):
            chunks = list(events(client.chat(instance["model"], stream=True, max_tokens=10 + n)))
            got = sum(1 for c in chunks if c != "[DONE]" and c["choices"] and c["choices"][0]["delta"].get("content"))
            if got != 10 + n:
                wrong.append((n, got))
    threads = [threading.Thread(target=call, args=(n,)) for n in range(24)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# ---- the real SDK ----
def sdk(client):
    openai = pytest.importorskip("openai", reason="the openai client is not installed")
    return openai, openai.OpenAI(base_url=client.url + "/v1", api_key=client.key, max_retries=0, timeout=20)


def test_openai_sdk_chat(chat):
    """[D] 1: your own model id in requests, `model: "my-llama:142"`"""
    client, instance = chat
    _, api = sdk(client)
    answer = api.chat.completions.create(model=instance["model"], messages=[{"role": "user", "content": "hi"}], max_tokens=5)
    assert answer.choices[0].message.content == WORDS


def test_openai_sdk_stream(chat):
    """[D] 4: stream the response back"""
    client, instance = chat
    _, api = sdk(client)
    stream = api.chat.completions.create(model=instance["model"], messages=[{"role": "user", "content": "hi"}], max_tokens=5, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == WORDS


def test_openai_sdk_embeddings_images_audio_and_models(chat):
    """[D] 4: Endpoints"""
    client, instance = chat
    _, api = sdk(client)
    assert len(api.embeddings.create(model=instance["model"], input="x").data[0].embedding) == 16
    assert api.images.generate(model=instance["model"], prompt="cat").data[0].b64_json
    assert api.audio.transcriptions.create(model=instance["model"], file=("a.wav", b"12345")).text.startswith("A simulator heard 5 bytes")
    assert api.audio.speech.create(model=instance["model"], voice="alloy", input="x").read()[:4] == b"RIFF"
    assert instance["model"] in [m.id for m in api.models.list().data]
    assert api.responses.create(model=instance["model"], input="hello").output_text.startswith("This is")


def test_openai_sdk_understands_our_errors(chat, stack):
    """Errors: OpenAI's object everywhere"""
    client, instance = chat
    openai, api = sdk(client)
    with pytest.raises(openai.NotFoundError) as e:
        api.chat.completions.create(model="nothing:999999", messages=[])
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=stack.url + "/v1", api_key="eco_wrong", max_retries=0).models.list()
