"""An application on its way up on Serve, watched until it runs or can't."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from stretto.errors import DeployError
from stretto.serve.ray import Details, details, ray

POLL = 0.1
TOO_LARGE_AFTER = 2.0
"""Seconds after which we give up on a replica that is too large for every node of the cluster."""


def until_running(name: str, *, patience: float, timeout: float, cancelled: threading.Event) -> None:
    """Block until every replica of an application is up, or the event is set.

    Raises:
        DeployError: a replica fails to start, needs what no node has, or what is not free for `patience` seconds; or
            `timeout` seconds have passed.
    """
    start = waiting_since = time.monotonic()
    while not cancelled.wait(POLL):
        app: Details = details().get(name, {})
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
        for resources, too_large in missing:
            if now - waiting_since > (TOO_LARGE_AFTER if too_large else patience):
                raise DeployError(f"application {name!r} can't come up: {resources}")
        if now - start > timeout:
            raise DeployError(f"application {name!r} is not up after {timeout:g} s: {_not_healthy(app)}")


def until_routed(url: str, route: str, *, seconds: float = 30.0) -> None:
    """Block until Serve's proxy at `url` has the route, a moment after the application runs, or `seconds` are over."""
    where = urlsplit(url)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port or 80, timeout=1)
        try:
            connection.request("GET", f"{where.path.rstrip('/')}/-/routes")
            if route in json.loads(connection.getresponse().read()):
                return
        except (OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(POLL)


def until_deleted(name: str, *, seconds: float) -> tuple[str, ...]:
    """Block until an application is gone, or `seconds` are over, and return the names of the others."""
    deadline = time.monotonic() + seconds
    while name in (names := details()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return tuple(each for each in names if each != name)


def _failures(app: Details) -> str:
    failures = [
        f"deployment {each['name']!r}: {_cause(each['message'])}"
        for each in app["deployments"].values()
        if each["status"] in ("DEPLOY_FAILED", "UNHEALTHY")
    ]
    return "; ".join(failures) or app["message"]


def _cause(message: str) -> str:
    """Return the exception that a replica's constructor raised, out of the traces that Serve wraps around it."""
    message = re.sub(r"\x1b\[\d*m", "", message).rstrip()
    trace = message.rpartition("Traceback (most recent call last):\n")[2]
    last = re.search(r"^(?![ \t]).+", trace, re.MULTILINE) if trace != message else None
    return trace[last.start() :] if last else message


def _missing(app: Details) -> Iterator[tuple[str, bool]]:
    """Yield the resources that replicas wait for, and whether they are more than any node has."""
    free: Mapping[str, float] | None = None
    for each in app.get("deployments", {}).values():
        if not any(replica["state"] == "STARTING" and not replica.get("node_id") for replica in each["replicas"]):
            continue
        needs: Mapping[str, float] = each["required_resources"]
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        free = ray.available_resources() if free is None else free
        too_large = not any(all(node.get(kind, 0) >= amount for kind, amount in needs.items()) for node in nodes)
        if too_large or any(free.get(kind, 0) < amount for kind, amount in needs.items()):
            yield f"deployment {each['name']!r} {_needs(needs, nodes, free)}", too_large


def _needs(needs: Mapping[str, float], nodes: list[Mapping[str, float]], free: Mapping[str, float]) -> str:
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


def _not_healthy(app: Details) -> str:
    slow = [each for each in app.get("deployments", {}).values() if each["status"] != "HEALTHY"]
    return "; ".join(f"deployment {each['name']!r} is {each['status']} {each['message']}".rstrip() for each in slow)
