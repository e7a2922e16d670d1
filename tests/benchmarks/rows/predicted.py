"""Row n: what `stretto.simulate` predicts of the ensemble on Ray Serve, beside what is measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from stretto import Client, deploy, local_ray, profile, simulate
from stretto._demo.measure import measure as measured
from stretto.compiler import Placement
from tests.benchmarks.compared import Compared, Line, Relation, at_most
from tests.benchmarks.programs.ensemble import ensemble
from tests.benchmarks.programs.iris import ROW
from tests.benchmarks.rounds import Figures
from tests.benchmarks.settings import Settings

CALLERS = (8, 64, 256)
PREDICTED, MEASURED = "simulate", "measured"
OFF = Relation("per_second", "/s", lambda ours, theirs: max(ours / theirs, theirs / ours), "x off")


async def measure(settings: Settings) -> AsyncGenerator[Compared]:
    """Return the rates by handle, fused and split: predicted from a profile of the same round, and measured.

    The callers are tasks of one process, and share the machine with Ray: they are part of both.
    """
    settings.say("starting Ray, and deploying two applications")
    figures: defaultdict[tuple[Placement, int], dict[str, list[Figures]]] = defaultdict(
        lambda: {PREDICTED: [], MEASURED: []}
    )
    async with (
        local_ray(),
        deploy(ensemble(), name="fused", route="/fused", placement="fused") as fused,
        deploy(ensemble(), name="split", route="/split", placement="split") as split,
    ):
        clients: dict[Placement, Client[Any, Any]] = {"fused": fused, "split": split}
        for number in range(settings.rounds):
            settings.say(f"n: round {number + 1}")
            costs = await profile(ensemble(), [ROW])
            for placement, client in clients.items():
                for callers in CALLERS:
                    rate = await measured(partial(client.predict, ROW), callers, settings.seconds)
                    figures[placement, callers][MEASURED].append({"per_second": rate.per_second})
            for (placement, callers), each in figures.items():
                found = await simulate(ensemble(), costs, callers=callers, seconds=2, placement=placement)
                each[PREDICTED].append({"per_second": found.per_second})
    for (placement, callers), each in figures.items():
        line = Line("n", f"by handle, {placement}, predicted", callers)
        yield line.compare(each, OFF, MEASURED, at_most(1.2), ours=PREDICTED)
