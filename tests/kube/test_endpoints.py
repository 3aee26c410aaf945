"""Ready is what answers at the very address that gateways use: in mode node_port that is a node's port, which nothing serves here until
the test forwards it (there is no kube-proxy)."""
import socket
import threading

import pytest
from driver_world import KubeWorld
from ecotest.postgres import Postgres
from ecotest.stack import Stack
from kubetest.objects import http_get, until


@pytest.fixture(scope="module")
def world():
    with Postgres() as pg, Stack(pg) as stack:
        w = KubeWorld(stack, endpoint_mode="node_port", allowed_source_ranges=["10.0.0.0/8"])
        w.start()
        until("the GPUs of both regions are seen", lambda: stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] > 4)
        yield w
        w.close()


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def forward(address, to):
    """What kube-proxy does for a node's port."""
    listener = socket.create_server(address)

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(to, timeout=5)
            except OSError:
                client.close()
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_instance_runs_once_its_node_ports_answer(world):
    i = world.launch()
    until("pods are Ready, in their clusters' eyes", lambda: [
        p for p in world.objects("pods") if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))][1:])
    until("the owner reads what is missing", lambda: all("not listening" in r.status_detail for r in world.get(i.id).replicas))
    assert world.get(i.id).ready_replicas == 0  # nobody answers there yet: Ready would be a lie
    listeners, addresses = [], set()
    for service in world.objects("services"):
        assert service["spec"]["type"] == "NodePort" and service["spec"]["externalTrafficPolicy"] == "Local"
        replica = service["metadata"]["labels"]["ecolink.io/replica"]
        pod = next(p for p in world.objects("pods") if p["metadata"]["labels"]["ecolink.io/replica"] == replica)
        address = (pod["status"]["hostIP"], service["spec"]["ports"][0]["nodePort"])
        listeners.append(forward(address, (pod["status"]["podIP"], 8000)))
        addresses.add(address)
    until("both run", lambda: world.get(i.id).ready_replicas == 2)
    assert {(r.host, r.port) for r in world.route(i.id).replicas} == addresses
    for host, port in addresses:
        assert http_get(host, port, "/health")[0] == 200
    for listener in listeners:
        listener.close()
    world.gone(i.id)
