"""Models, filesystems and the platform catalogue: product section 2."""

import http.server
import threading

import pytest
from ecotest import pb
from ecotest.stack import next_event
from registry_helpers import Account, eventually, r, refused

SHARED, CONTAINER = r.MODEL_SOURCE_SHARED_FILESYSTEM, r.MODEL_SOURCE_CONTAINER
SEALED = pb.common.Sealed(box=b"only the scheduler opens this")
_instances = iter(range(1000, 100000))


def acquire(stack, account, model_id="", instance=None, **fields):
    instance = instance or next(_instances)
    reply = stack.rpc("registry.AcquireModel",
                      r.AcquireModelRequest(account_id=account.id, instance_id=instance, model_id=model_id, **fields),
                      r.AcquireModelResponse)
    return instance, reply


def end_instance(stack, instance, status=pb.scheduler.INSTANCE_STATUS_STOPPED, version=9):
    state = pb.scheduler.InstanceState(instance=pb.scheduler.Instance(id=instance, status=status))
    stack.publish_event("scheduler", "instance.changed", str(instance), version, state)


def get(account, model_id, caller=None):
    return account.call("GetModel", r.GetModelRequest(id=model_id), r.Model, caller)


def delete(account, model_id):
    return account.call("DeleteModel", r.DeleteModelRequest(id=model_id), r.Model)


def test_a_huggingface_model_defaults_to_revision_main(stack, account):
    events = stack.events("ecolink.evt.registry.model.*")
    model = account.model(caller=account.member)
    assert (model.name, model.repo, model.revision, model.account_id) == ("my-llama", "org/name", "main", account.id)
    assert not model.has_hf_token
    event = next_event(events)
    assert (event.type, event.entity_id, event.entity_version) == ("model.created", model.id, 1)


def test_the_hf_token_leaves_for_the_scheduler_alone(stack, account, registry):
    events = stack.events("ecolink.evt.registry.model.*")
    model = account.model(hf_token=SEALED)
    assert model.has_hf_token and not model.HasField("hf_token")
    assert SEALED.box not in next_event(events).SerializeToString()
    assert not get(account, model.id).HasField("hf_token")
    for row in account.call("ListModels", r.ListModelsRequest(), r.ModelList).data:
        assert not row.HasField("hf_token")
    _, reply = acquire(stack, account, model.id)
    assert reply.model.hf_token.box == SEALED.box
    page = stack.rpc("registry.Snapshot", pb.common.SnapshotRequest(entity="model", limit=100), pb.common.SnapshotPage)
    assert model.id in [e.entity_id for e in page.entities]
    assert SEALED.box not in page.SerializeToString()
    assert SEALED.box.decode() not in registry.logs()


def test_a_name_is_unique_per_account_among_live_models(stack, account):
    model = account.model("llama")
    refused("name_taken", account.model, "llama", param="name")
    Account(stack).model("llama")
    delete(account, model.id)
    account.model("llama")


def test_fields_of_another_source_are_refused_by_name(account):
    refused("invalid_request", account.model, repo="gpt2", param="repo")
    refused("invalid_request", account.model, path="/x", param="path")
    refused("invalid_request", account.model, revision="a..b", param="revision")
    refused("invalid_request", account.model, "my llama", param="name")
    refused("invalid_request", account.model, category=0, param="category")
    refused("invalid_request", account.model, source=r.MODEL_SOURCE_PLATFORM, param="source")
    refused("invalid_request", account.model, source=CONTAINER, repo="a/b", param="repo")
    refused("invalid_request", account.model, source=SHARED, path="/shared/x", param="filesystem_id")
    assert account.model("own-weights", source=CONTAINER).source == CONTAINER


def test_a_shared_filesystem_model_has_its_path_normalised(account):
    fs = account.filesystem(mount_path="/shared/")
    assert fs.mount_path == "/shared"
    model = account.model("tuned", source=SHARED, filesystem_id=fs.id, path="/shared//models/./my-llama-finetune/")
    assert (model.path, model.filesystem_id, model.repo) == ("/shared/models/my-llama-finetune", fs.id, "")
    for path in ("/etc/passwd", "../x", "/shared/../etc", "/sharedness"):
        refused("invalid_request", account.model, "bad", source=SHARED, filesystem_id=fs.id, path=path, param="path")


def test_another_accounts_filesystem_is_not_found(stack, account):
    fs = Account(stack).filesystem()
    refused("not_found", account.model, "x", source=SHARED, filesystem_id=fs.id, path="a", param="filesystem_id")
    refused("not_found", account.call, "GetFilesystem", r.GetFilesystemRequest(id=fs.id), r.Filesystem)
    refused("not_found", account.call, "DeleteFilesystem", r.DeleteFilesystemRequest(id=fs.id), r.Filesystem)


def test_another_accounts_model_is_forbidden_and_an_unknown_one_not_found(stack, account):
    model = Account(stack).model()
    refused("forbidden", get, account, model.id)
    refused("forbidden", delete, account, model.id)
    refused("forbidden", acquire, stack, account, model.id, param="model_id")
    refused("not_found", get, account, "mdl_unknown")
    refused("not_found", acquire, stack, account, "mdl_unknown", param="model_id")


def test_inference_keys_and_strangers_see_no_models(account, stack):
    refused("forbidden", account.call, "ListModels", r.ListModelsRequest(), r.ModelList, account.inference)
    refused("unauthorized", stack.rpc, "registry.ListModels", r.ListModelsRequest())
    refused("forbidden", stack.rpc, "registry.ListModels", r.ListModelsRequest(), caller=stack.operator())
    refused("forbidden", account.call, "AcquireModel", r.AcquireModelRequest(), r.AcquireModelResponse)


def test_a_model_with_live_instances_cannot_be_deleted(stack, account):
    model = account.model()
    instance, _ = acquire(stack, account, model.id)
    acquire(stack, account, model.id, instance)  # idempotent
    second, _ = acquire(stack, account, model.id)
    assert get(account, model.id).live_instances == 2
    refused("in_use", delete, account, model.id)
    end_instance(stack, instance)
    eventually(lambda: get(account, model.id).live_instances == 1)
    refused("in_use", delete, account, model.id)
    end_instance(stack, second, pb.scheduler.INSTANCE_STATUS_RUNNING, version=5)
    end_instance(stack, second, pb.scheduler.INSTANCE_STATUS_FAILED, version=6)
    eventually(lambda: get(account, model.id).live_instances == 0)
    assert delete(account, model.id).deleted
    refused("not_found", get, account, model.id)
    assert stack.sql("SELECT hf_token_sealed FROM registry.models WHERE id = %s", model.id) == [(None,)]


def test_an_acquired_model_brings_its_filesystems(stack, account):
    own, extra = account.filesystem("own"), account.filesystem("extra", mount_path="/data")
    clash = account.filesystem("clash", mount_path="/shared/models")
    model = account.model("tuned", source=SHARED, filesystem_id=own.id, path="x")
    instance, reply = acquire(stack, account, model.id, filesystem_ids=[extra.id, own.id])
    assert [f.id for f in reply.filesystems] == [own.id, extra.id]
    refused("invalid_request", acquire, stack, account, model.id, filesystem_ids=[clash.id], param="filesystems")
    for fs in (own, extra):
        refused("in_use", account.call, "DeleteFilesystem", r.DeleteFilesystemRequest(id=fs.id), r.Filesystem)
    end_instance(stack, instance)
    eventually(lambda: get(account, model.id).live_instances == 0)
    assert account.call("DeleteFilesystem", r.DeleteFilesystemRequest(id=extra.id), r.Filesystem).deleted
    refused("in_use", account.call, "DeleteFilesystem", r.DeleteFilesystemRequest(id=own.id), r.Filesystem)


def test_describing_pins_nothing(stack, account):
    model = account.model(hf_token=SEALED)
    reply = stack.rpc("registry.DescribeModel", r.DescribeModelRequest(account_id=account.id, model_id=model.id),
                      r.AcquireModelResponse)
    assert reply.model.id == model.id
    delete(account, model.id)


def test_abandoned_pins_are_released_when_the_scheduler_knows_no_such_instance(stack, account, registry):
    model = account.model()
    lost, _ = acquire(stack, account, model.id)
    live, _ = acquire(stack, account, model.id)
    s = pb.scheduler

    def read_meter(request):
        return s.ReadMeterResponse(readings=[
            s.MeterReading(instance_id=q.instance_id, known=q.instance_id == live, status=s.INSTANCE_STATUS_RUNNING)
            for q in request.queries])
    end = stack.serve("scheduler", {"ReadMeter": (s.ReadMeterRequest, read_meter)})
    stack.advance(700)
    try:
        eventually(lambda: stack.sql("SELECT count(*) FROM registry.pins WHERE instance_id = %s", lost) == [(0,)])
    finally:
        stack.set_clock(0)
        end()
    assert stack.sql("SELECT count(*) FROM registry.pins WHERE instance_id = %s", live) == [(1,)]


def test_lists_come_newest_first_in_pages(stack, account):
    ids = [account.model(f"m-{i}").id for i in range(25)]
    seen, cursor = [], ""
    while True:
        page = account.call("ListModels", r.ListModelsRequest(limit=10, cursor=cursor), r.ModelList)
        seen += [m.id for m in page.data]
        if not page.page.has_more:
            break
        cursor = page.page.next_cursor
    assert seen == ids[::-1]
    assert len(account.call("ListModels", r.ListModelsRequest(), r.ModelList).data) == 20
    refused("invalid_request", account.call, "ListModels", r.ListModelsRequest(limit=101), r.ModelList, param="limit")
    refused("invalid_request", account.call, "ListModels", r.ListModelsRequest(cursor="x"), r.ModelList, param="cursor")


def test_another_accounts_models_are_not_listed(stack, account):
    mine = account.model("mine").id
    theirs = type(account)(stack).model("theirs").id
    listed = [m.id for m in account.call("ListModels", r.ListModelsRequest(limit=100), r.ModelList).data]
    assert mine in listed and theirs not in listed


def test_the_catalogue_is_public_and_the_operators(stack, account):
    put = r.PutPlatformModelRequest(name="llama-3/8b", repo="org/llama", category=r.MODEL_CATEGORY_CHAT, description="Fast")
    refused("forbidden", account.call, "PutPlatformModel", put, r.PlatformModel)
    first = stack.rpc("registry.PutPlatformModel", put, r.PlatformModel, caller=stack.operator())
    put.description = "Faster"
    again = stack.rpc("registry.PutPlatformModel", put, r.PlatformModel, caller=stack.operator())
    assert (again.description, again.revision, again.created_at) == ("Faster", "main", first.created_at)
    listed = stack.rpc("registry.ListPlatformModels", r.ListPlatformModelsRequest(), r.PlatformModelList)
    assert [m.name for m in listed.data] == ["llama-3/8b"]
    _, reply = acquire(stack, account, platform_model="llama-3/8b")
    assert reply.model.source == r.MODEL_SOURCE_PLATFORM and reply.model.repo == "org/llama"
    gone = r.DeletePlatformModelRequest(name="llama-3/8b")
    stack.rpc("registry.DeletePlatformModel", gone, r.PlatformModel, caller=stack.operator())
    refused("not_found", stack.rpc, "registry.DeletePlatformModel", gone, caller=stack.operator())
    refused("not_found", acquire, stack, account, platform_model="llama-3/8b", param="platform_model")


def test_the_same_idempotency_key_registers_once(account):
    first = account.model("once", idempotency_key="k1")
    assert account.model("once", idempotency_key="k1") == first
    refused("idempotency_mismatch", account.model, "twice", idempotency_key="k1")
    refused("name_taken", account.model, "once", idempotency_key="k2")
    delete(account, first.id)
    refused("name_taken", account.model, "once", idempotency_key="k2")  # the refusal is replayed


class Hub:
    """A stand-in for the HuggingFace Hub's API: org/real with revision main exists, org/gated hides."""

    def __init__(self):
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                known = self.path == "/api/models/org/real/revision/main"
                gated = self.path.startswith("/api/models/org/gated/")
                self.send_response(200 if known else 401 if gated else 404)
                if not known and self.path.startswith("/api/models/org/real/"):
                    self.send_header("X-Error-Code", "RevisionNotFound")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def test_the_hub_is_asked_where_it_is_configured(stack, account):
    hub = Hub()
    for running in stack.services:
        if running.process.poll() is None:
            running.stop()
    asking = stack.start("registry", HUB_URL=hub.url)
    account.model("real", repo="org/real")
    refused("invalid_request", account.model, "a", repo="org/none", param="repo")
    refused("invalid_request", account.model, "b", repo="org/real", revision="feature/x", param="revision")
    refused("invalid_request", account.model, "c", repo="org/gated", param="repo")
    account.model("d", repo="org/gated", hf_token=SEALED)
    assert hub.asked[2] == "/api/models/org/real/revision/feature%2Fx"
    hub.server.shutdown()
    hub.server.server_close()
    account.model("unreachable", repo="org/none")
    asking.stop()
