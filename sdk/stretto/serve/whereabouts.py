"""Where an application answers over HTTP: its replicas themselves, and Serve's proxies, on all nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import anyio.to_thread

from stretto.engine.context import now
from stretto.serve.direct_ingress import Address
from stretto.serve.ray import instance_details, replica_context

TOLD_FOR: Final = 5.0
"""Seconds for which a replica takes for true what Serve's controller said."""
ASKED: Final = 1.0
"""Seconds, at most, that a caller waits for the controller: it may be away itself."""

_ALL_INTERFACES: Final = ("0.0.0.0", "::", "")


class Whereabouts:
    """The URLs of the application that this replica belongs to, as Serve's controller last said."""

    def __init__(self, address: Address | None) -> None:
        self._address = address
        self._urls: tuple[str, ...] = ()
        self._at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def urls(self) -> tuple[str, ...]:
        """Return the URLs, those of replicas first."""
        if self._asking is None or (self._asking.done() and now() - self._at > TOLD_FOR):
            self._at = now()
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait([self._asking], timeout=ASKED)
        return self._urls

    async def _ask(self) -> None:
        context = replica_context()
        if context is None:
            return
        try:
            details = await anyio.to_thread.run_sync(instance_details, abandon_on_cancel=True)
            self._urls = tuple(urls_of(details, context.app_name, self._address))
        except Exception as error:  # of a controller that is away; what it said before stays true
            logging.getLogger("stretto").info("Serve's controller does not say where replicas are: %s", error)


def urls_of(details: Mapping[str, Any], app: str, address: Address | None) -> Iterable[str]:
    """Yield the URLs of an application, from what Serve reports of itself (``ServeInstanceDetails``).

    `address` is where its replicas listen themselves.
    """
    application = details["applications"].get(app)
    if application is None:
        return
    if address is not None:
        ingress = application["deployment_topology"]["ingress_deployment"]
        replicas = application["deployments"][ingress]["replicas"]
        nodes = [each["node_ip"] for each in replicas if each["state"] == "RUNNING"]
        yield from (Address(host, address.port, address.route).url for host in _hosts(address.host, nodes))
    options, route = details["http_options"], application["route_prefix"]
    if route is not None and options.get("port"):
        nodes = [each["node_ip"] for each in details["proxies"].values()]
        yield from (Address(host, options["port"], route).url for host in _hosts(options["host"], nodes))


def _hosts(host: str, nodes: list[str]) -> Iterable[str]:
    """Return under which hosts the servers of these nodes are reached that listen on `host`."""
    return dict.fromkeys(nodes) if host in _ALL_INTERFACES else [host] if nodes else []
