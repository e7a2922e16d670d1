"""The cheapest deployment that holds a rate of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stretto.compiler import Placement, Profile, compile_plan
from stretto.errors import PipelineError
from stretto.observe.simulate import Simulation, simulate
from stretto.observe.simulated_serve import CLIENT, INGRESS, stages_of
from stretto.pipeline import Part, as_pipeline

ROWS_TRIED = 2000
"""The rows that a deployment is tried with, or those of a second if these are more."""
DEPLOYMENTS_TRIED = 20
"""The deployments of a placement that are tried at most."""
FULL = 0.7
"""The utilisation above which a process is taken for what holds up the others."""
WORTH = 0.98
"""The part of its time, or of its rows, that one more replica must save or add."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """A deployment, and what it does with a rate of rows.

    Attributes:
        placement: The placement of its steps.
        replicas: How many replicas each deployment has.
        simulation: What becomes of the rows.
        holds: Whether all are answered, and 99 of 100 in time.
    """

    placement: Placement
    replicas: dict[str, int]
    simulation: Simulation
    holds: bool

    def is_better_than(self, other: Capacity) -> bool:
        """Return whether it holds with fewer replicas, or where neither holds answers more, or sooner."""
        ours, theirs = self.simulation, other.simulation
        if self.holds or other.holds:
            fewer = (sum(self.replicas.values()), ours.p99) < (sum(other.replicas.values()), theirs.p99)
            return self.holds and (fewer or not other.holds)
        if ours.per_second < WORTH * theirs.per_second:
            return False
        return ours.p99 < WORTH * theirs.p99 or WORTH * ours.per_second > theirs.per_second


async def cheapest(
    pipeline: Part[Any, Any], profile: Profile, *, rate: float, p99: float, cores: int | None = None
) -> Capacity:
    """Return the deployment with the fewest replicas that answers `rate` rows a second, 99 of 100 within `p99` seconds.

    Each placement is simulated with one replica of each deployment, and then with more of the busiest for as long as
    that helps. Where none holds, it is the best that was found.

    Raises:
        PipelineError: an argument is wrong.
    """
    if not 0 < p99 < math.inf:
        raise PipelineError(f"p99={p99}: it must be above 0")
    plan = as_pipeline(pipeline).plan()
    places: dict[tuple[str, ...], Placement] = {}
    placements: tuple[Placement, ...] = ("fused", "split", "auto")
    for placement in placements:
        places.setdefault(tuple(stages_of(compile_plan(plan, placement, profile))), placement)
    search = _Search(pipeline, profile, rate, p99, cores)
    best, *others = [await search.grown(placement, names) for names, placement in places.items()]
    for each in others:
        best = each if each.is_better_than(best) else best
    return best


@dataclass(frozen=True, slots=True)
class _Search:
    pipeline: Part[Any, Any]
    profile: Profile
    rate: float
    p99: float
    cores: int | None

    async def grown(self, placement: Placement, names: tuple[str, ...]) -> Capacity:
        """Return the best deployment of a placement."""
        replicas, clients = dict.fromkeys((INGRESS, *names), 1), 1
        best = await self._tried(placement, replicas, clients)
        for _ in range(DEPLOYMENTS_TRIED):
            loads = best.simulation.deployments
            if best.holds or best.simulation.utilisation > WORTH:
                break
            if loads[CLIENT].utilisation > FULL:
                clients += 1  # the rows of one program would come no faster: many ask
            else:
                busiest = max(best.replicas, key=lambda name: loads[name].utilisation)
                if loads[busiest].utilisation < FULL and names:
                    # What waits without a core is where rows stay.
                    busiest = max(names, key=lambda name: loads[name].seconds)
                replicas = {**best.replicas, busiest: best.replicas[busiest] + 1}
            another = await self._tried(placement, replicas, clients)
            if not another.is_better_than(best):
                break
            best = another
        return best

    async def _tried(self, placement: Placement, replicas: dict[str, int], clients: int) -> Capacity:
        simulation = await simulate(
            self.pipeline,
            self.profile,
            rate=self.rate,
            seconds=max(1.0, ROWS_TRIED / self.rate),
            placement=placement,
            replicas=replicas,
            clients=clients,
            cores=self.cores,
        )
        holds = simulation.p99 <= self.p99 and not simulation.refused + simulation.late
        return Capacity(placement, replicas, simulation, holds)
