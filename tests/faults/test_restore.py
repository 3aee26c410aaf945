"""A database restored from a backup, with a bus and gateways that have seen later: everybody follows the database."""
import shutil
import signal

import world
from eco.client import Client
from eco.waiting import wait
from lab import DATABASE_SERVICES


def test_after_restoring_an_older_database_buckets_and_gateways_follow_it(lab, tenants):
    lab.heal()
    tenants.forget()
    tenant = tenants.new()
    instance = tenant.running()
    revoked_later = Client(lab.url, tenant.want_key().ok()["key"])
    wait(lambda: revoked_later.chat(instance["model"], max_tokens=1).status_code == 200, "the key at the gateway")
    world.settle(lab, tenants.call)
    backup = lab.disk_of("postgres") or lab.state
    lab.stop_part("postgres", signal.SIGINT)
    lab.copy_database(backup / "backup")
    lab.heal()

    # Later, and lost: a key revoked and one made, money, a restart of both replicas.
    key_id = lab.sql("SELECT id FROM registry.api_keys WHERE account_id = %s AND role = 3", (tenant.account_id,))[0][0]
    tenant.ok("DELETE", f"/api-keys/{key_id}")
    made_later = Client(lab.url, tenant.ok("POST", "/api-keys", 201, json={"name": "later"})["key"])
    lab.topup(tenant.account_id, "77.00")
    tenant.ok("POST", f"/inference-instances/{instance['id']}/restart")
    wait(lambda: revoked_later.chat(instance["model"], max_tokens=1).status_code == 401, "the key's end")
    wait(lambda: made_later.chat(instance["model"], max_tokens=1).status_code == 200, "the later key")
    tenant.wait_running(instance["id"])
    world.settle(lab, tenants.call)

    for name in DATABASE_SERVICES:  # as one restores: running ones would notice within a minute
        lab.stop_part(name, signal.SIGTERM)
    lab.stop_part("postgres", signal.SIGINT)
    shutil.rmtree(lab.database_files())
    (backup / "backup").rename(lab.database_files())
    lab.heal()
    wait(lambda: revoked_later.chat(instance["model"], max_tokens=1).status_code == 200, "the key that is good again", 30)
    wait(lambda: made_later.chat(instance["model"], max_tokens=1).status_code == 401, "the end of the key that never was", 30)
    world.settle(lab, tenants.call, 60)
    tenants.stop_all()
