"""A node of three that is lost, with the replica and the addresses that it had."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator

from tests.chaos.replicas import broken
from tests.chaos.report import Found
from tests.chaos.settings import Settings

NODES = 3


async def lost_node(settings: Settings) -> AsyncGenerator[Found]:
    """Kill a node of three (raylet, object store and all of its workers), each with a replica, for each way anew.

    The nodes are processes of this machine, and have its address: what listens on one port is what differs.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    import ray
    from ray.cluster_utils import Cluster

    for way in settings.ways("handle, fused", "HTTP, proxy", "HTTP, direct"):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            worker, *_ = [cluster.add_node(num_cpus=2) for _ in range(NODES - 1)]
            ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)

            async def lose(_: str, seconds: float, cluster: Cluster = cluster, worker: object = worker) -> None:
                await asyncio.to_thread(cluster.remove_node, worker, allow_graceful=False)
                await asyncio.sleep(seconds)

            yield await broken("3: a node of three lost", way, settings, NODES, lose, max_replicas_per_node=1)
        finally:
            ray.shutdown()
            cluster.shutdown()
