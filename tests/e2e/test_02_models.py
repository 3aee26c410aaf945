"""Registering models (product description, section 2)."""
import pytest


def test_a_huggingface_model_is_registered_with_main_as_its_revision(tenant):
    """[D] 2: repo (`org/name`), revision (branch, tag or commit; default `main`)"""
    model = tenant.ok("POST", "/models", 201, json={"name": "my-llama", "source": "huggingface", "repo": "meta/llama-3", "category": "chat"})
    assert model["object"] == "model_registration" and model["id"].startswith("mdl_")
    assert (model["name"], model["source"], model["repo"], model["revision"]) == ("my-llama", "huggingface", "meta/llama-3", "main")
    assert tenant.ok("GET", f"/models/{model['id']}") == model
    tagged = tenant.hf_model(revision="v1.2")
    assert tagged["revision"] == "v1.2"


def test_the_name_is_the_prefix_of_the_api_model_id(tenant):
    """[D] 2: name: short label, the prefix of the API model id"""
    model = tenant.hf_model("short-label")
    instance = tenant.launch(model)
    assert instance["model"] == f"short-label:{instance['id']}"


def test_a_finetune_on_a_shared_filesystem_is_registered_by_its_path(tenant):
    """[D] 2: filesystem + path, e.g. `/shared/models/my-llama-finetune/`"""
    fs = tenant.ok("POST", "/filesystems", 201, json={"name": "shared", "region": "us-east", "mount_path": "/shared"})
    model = tenant.model(source="shared_filesystem", filesystem_id=fs["id"], path="/shared/models/my-llama-finetune/")
    assert model["path"].rstrip("/") == "/shared/models/my-llama-finetune"
    for bad in ("/shared/../etc", "../x", "/etc/passwd", "/shared/models/../../x"):
        tenant.refused("POST", "/models", 422, "invalid_request", json={
            "name": "escape", "source": "shared_filesystem", "filesystem_id": fs["id"], "path": bad, "category": "chat"})


@pytest.mark.parametrize("category", ["chat", "embedding", "reranker", "image", "audio", "video"])
def test_every_category_can_be_registered(tenants, category, chat_client):
    """[D] 2: category: chat, embedding, reranker, image, audio, video"""
    model = chat_client.model(category=category)
    assert model["category"] == category
    chat_client.ok("DELETE", f"/models/{model['id']}")


def test_a_huggingface_token_is_never_shown_again(stack, tenant):
    """[D] 2: HF token, only for gated repos; stays server-side, never shown again, not visible to other users"""
    token = "hf_thisisaverysecrettokenxyz"
    answer = tenant.post("/models", json={"name": "gated", "source": "huggingface", "repo": "org/gated", "category": "chat", "hf_token": token})
    assert answer.status_code == 201 and token not in answer.text and answer.json()["has_hf_token"] is True
    model = answer.json()
    assert token not in tenant.get(f"/models/{model['id']}").text + tenant.get("/models").text
    assert tenant.hf_model()["has_hf_token"] is False
    for name in ("registry", "scheduler", "billing", "health", "gateway"):
        assert token not in stack.log(name)
    dump = stack.run("psql", "-Atc", "SELECT query_to_xml('SELECT * FROM registry.models', true, true, '')")
    assert "gated" in dump and token not in dump


def test_a_huggingface_token_reaches_the_replica_and_nobody_else(stack, tenant):
    """[D] 2: HF token stays server-side"""
    import pathlib
    model = tenant.hf_model(hf_token="hf_opened_for_the_replica_alone")
    instance = tenant.run(model)
    for replica in stack.replicas(instance["id"]):
        assert "HF_TOKEN=hf_opened_for_the_replica_alone" in pathlib.Path(f"/proc/{replica.pid}/environ").read_text().split("\0")
    public = tenant.get(f"/inference-instances/{instance['id']}").text + tenant.get(f"/inference-instances/{instance['id']}/events").text
    assert "hf_opened" not in public


def test_names_are_unique_among_live_models_of_an_account(tenants):
    """A name is unique per account among live models"""
    one, other = tenants(), tenants()
    model = one.model("taken")
    one.refused("POST", "/models", 409, "name_taken", json={"name": "taken", "source": "container", "category": "chat"})
    other.model("taken")
    one.ok("DELETE", f"/models/{model['id']}")
    one.model("taken")


def test_a_model_with_live_instances_cannot_be_deleted(tenant):
    """A model with live instances cannot be deleted"""
    model = tenant.hf_model()
    instance = tenant.launch(model)
    tenant.refused("DELETE", f"/models/{model['id']}", 409, "in_use")
    tenant.stop(instance["id"])
    from eco.waiting import wait
    wait(lambda: tenant.delete(f"/models/{model['id']}").status_code == 200, "the model to be released")


@pytest.mark.parametrize("fields", [
    {"name": ""}, {"name": "-x"}, {"name": "a b"}, {"name": "x" * 129}, {"name": "a:b"}, {"source": "elsewhere"},
    {"source": "huggingface", "repo": "no-slash"}, {"source": "huggingface", "repo": ""}, {"category": "poetry"},
])
def test_a_model_of_wrong_form_is_refused(chat_client, fields):
    """HF repo and revision are checked for form always"""
    body = {"name": "fine", "source": "container", "category": "chat"} | fields
    chat_client.refused("POST", "/models", 422, "invalid_request", json=body)
