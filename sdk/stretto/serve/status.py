"""An application on its way up on Serve, watched until it runs or until it is plain that it won't."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from stretto.errors import DeployError
from stretto.serve.ray import controller, declaring, quietly, ray, ray_errors, serve, serve_errors

POLL = 0.1
HOPELESS = 2.0
"""Seconds after which a replica that is too large for every node of the cluster is given up."""

Details = Mapping[str, Any]
"""What Serve tells about an application: ``ApplicationDetails`` of ``ray/serve/schema.py``, as a dict."""


def submit(app: serve.Application, name: str, route: str | None) -> None:
    """Hand an application to Serve, which begins to bring it up in the place of one of that name. This blocks.

    Raises:
        DeployError: Serve refuses it, as where its route belongs to another application.
    """
    target = serve.RunTarget(app, name=name, route_prefix=route)
    try:
        with quietly(), declaring:
            serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    except (ray_errors.RayError, serve_errors.RayServeException, TypeError, ValueError) as error:
        cause = error.cause if isinstance(error, ray_errors.RayTaskError) else error
        raise DeployError(f"Ray Serve refuses application {name!r} at {route}: {cause}") from error


def until_running(name: str, *, patience: float, timeout: float, gone: threading.Event) -> None:
    """Return when every replica of an application is up, or when the event is set. This blocks.

    Raises:
        DeployError: a replica fails to start, needs what no node has, or what is not free for `patience` seconds; or
            `timeout` seconds have passed.
    """
    client = controller()
    start = waiting_since = time.monotonic()
    while not gone.wait(POLL):
        app: Details = client.get_serve_details()["applications"].get(name, {})
        match app.get("status"):
            case "RUNNING":
                return
            case "DEPLOY_FAILED" | "UNHEALTHY":
                raise DeployError(f"application {name!r} can't come up: {_failures(app)}")
            case _:
                pass
        now = time.monotonic()
        missing = list(_missing(app))
        if not missing:
            waiting_since = now
        for what, hopeless in missing:
            if now - waiting_since > (HOPELESS if hopeless else patience):
                raise DeployError(f"application {name!r} can't come up: {what}")
        if now - start > timeout:
            raise DeployError(f"application {name!r} is not up after {timeout:g} s: {_slow(app)}")


def until_routed(root: str, route: str, *, seconds: float = 30.0) -> None:
    """Return when Serve's proxy knows the route; it learns of it a moment after the application runs. This blocks."""
    where = urlsplit(root)
    host = "127.0.0.1" if where.hostname in (None, "0.0.0.0", "::") else where.hostname
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, where.port or 80, timeout=1)
        try:
            connection.request("GET", f"{where.path.rstrip('/')}/-/routes")
            if route in json.loads(connection.getresponse().read()):
                return
        except (OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(POLL)


def delete(name: str, *, seconds: float = 10.0) -> tuple[str, ...]:
    """Take an application down, and give the names of those that stay. This blocks until it is gone, or so long."""
    client = controller(required=False)
    if client is None:
        return ()
    with quietly():
        client.delete_apps([name], blocking=False)
    deadline = time.monotonic() + seconds
    while name in (there := applications()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return tuple(each for each in there if each != name)


def applications() -> Mapping[str, Details]:
    """Return the applications that Serve has, by name. This blocks."""
    client = controller(required=False)
    return {} if client is None else client.get_serve_details()["applications"]


def _failures(app: Details) -> str:
    failed = [
        f"deployment {each['name']!r}: {_cause(each['message'])}"
        for each in app["deployments"].values()
        if each["status"] in ("DEPLOY_FAILED", "UNHEALTHY")
    ]
    return "; ".join(failed) or app["message"]


def _cause(message: str) -> str:
    """Return the exception that a replica's constructor ended in, out of the traces that Serve wraps around it."""
    message = re.sub(r"\x1b\[\d*m", "", message).rstrip()
    trace = message.rpartition("Traceback (most recent call last):\n")[2]
    found = re.search(r"^(?![ \t]).+", trace, re.MULTILINE) if trace != message else None
    return trace[found.start() :] if found else message


def _missing(app: Details) -> Iterator[tuple[str, bool]]:
    """Return what replicas wait for that is not to be had, and whether no node has so much."""
    free: Mapping[str, float] | None = None
    for each in app.get("deployments", {}).values():
        if not any(replica["state"] == "STARTING" and not replica.get("node_id") for replica in each["replicas"]):
            continue
        needs: Mapping[str, float] = each["required_resources"]
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        free = ray.available_resources() if free is None else free
        hopeless = not any(all(node.get(kind, 0) >= amount for kind, amount in needs.items()) for node in nodes)
        if hopeless or any(free.get(kind, 0) < amount for kind, amount in needs.items()):
            yield f"deployment {each['name']!r} {_wanting(needs, nodes, free)}", hopeless


def _wanting(needs: Mapping[str, float], nodes: list[Mapping[str, float]], free: Mapping[str, float]) -> str:
    has = [
        f"{free.get(kind, 0):g} {kind} free of {sum(node.get(kind, 0) for node in nodes):g}"
        for kind, amount in needs.items()
        if free.get(kind, 0) < amount or max((node.get(kind, 0) for node in nodes), default=0) < amount
    ]
    wants = ", ".join(f"{amount:g} {kind}" for kind, amount in needs.items())
    return (
        f"needs {wants} a replica, and the cluster has {', '.join(has)}: ask for less with ray_actor_options=, "
        "take another application down, or add a node"
    )


def _slow(app: Details) -> str:
    slow = [each for each in app.get("deployments", {}).values() if each["status"] != "HEALTHY"]
    return "; ".join(f"deployment {each['name']!r} is {each['status']} {each['message']}".rstrip() for each in slow)
