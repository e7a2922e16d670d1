"""The product under a virtual clock: how fast a deployment would be, and how much would wait."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count, cycle
from random import Random
from typing import Any

import anyio.to_thread
import numpy as np

from stretto.compiler import Placement, Profile, check, compile_plan, share
from stretto.engine.context import Context, now
from stretto.errors import DeadlineExceeded, Overloaded, PipelineError
from stretto.observe.machine import Machine
from stretto.observe.measured import Measured, answers_of_steps
from stretto.observe.simulated_serve import CLIENT, INGRESS, Application, Deployment, stages_of
from stretto.pipeline import Part, as_pipeline
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step
from stretto.serve.replicas import Replicas

WARM = 0.1
"""The part of the seconds that passes before anything is counted: queues fill, and stages learn what they cost."""
NO_TIME = 1e-6
"""Seconds that a row costs its client at least, so that time goes on."""


@dataclass(frozen=True, slots=True)
class DeploymentLoad:
    """What was found at a deployment.

    Attributes:
        replicas: How many there are.
        utilisation: The part of the time for which a replica had a core.
        queue: The rows that were there on average, waiting or computed.
        most: The most rows that were there.
        seconds: How long a row was there on average.
    """

    replicas: int
    utilisation: float
    queue: float
    most: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """What `simulate` found; it prints as a table.

    Attributes:
        seconds: The simulated seconds that are counted.
        answered: Rows answered in these.
        refused: Rows that were `Overloaded`.
        late: Rows whose deadline was exceeded.
        under_way: Rows that were not answered by the end.
        per_second: Rows answered per second.
        mean: The seconds that an answered row took, on average.
        p50: Their median, where rows under way have taken the seconds until the end.
        p99: The same of the 99th percentile.
        utilisation: The part of all cores that was used.
        deployments: What was found at each, and under ``"client"`` at the processes that send the requests.
    """

    seconds: float
    answered: int
    refused: int
    late: int
    under_way: int
    per_second: float
    mean: float
    p50: float
    p99: float
    utilisation: float
    deployments: Mapping[str, DeploymentLoad]

    def as_dict(self) -> dict[str, Any]:
        """Return it as dicts of numbers."""
        return asdict(self)

    def __str__(self) -> str:
        used = f"{self.utilisation:.0%} of the cores used"
        lines = [
            f"{self.per_second:,.0f} rows/s, p50 {milliseconds(self.p50)}, p99 {milliseconds(self.p99)}, {used}",
            f"{self.answered:,} answered, {self.refused:,} refused, {self.late:,} late, {self.under_way:,} under way",
            f"{'':<16}{'replicas':>8}{'used':>6}{'rows there':>12}{'at most':>9}{'a row stays':>14}",
        ]
        for name, each in self.deployments.items():
            rows = f"{each.queue:>12,.1f}{each.most:>9,}{milliseconds(each.seconds):>14}"
            lines.append(f"{name:<16}{each.replicas:>8}{each.utilisation:>6.0%}{'' if name == CLIENT else rows}")
        return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """Return seconds as text."""
    return f"{seconds * 1e3:,.{1 if seconds < 0.1 else 0}f} ms"


async def simulate(
    pipeline: Part[Any, Any],
    profile: Profile,
    *,
    rate: float | None = None,
    callers: int | None = None,
    seconds: float = 60.0,
    placement: Placement = "auto",
    replicas: Mapping[str, int] | None = None,
    clients: int = 1,
    cores: int | None = None,
    timeout: float | None = None,
    seed: int = 0,
) -> Simulation:
    """Return what a deployment of the pipeline on Ray Serve would do, called by handle: nothing is deployed.

    Queues, batches, lanes and the compiled plan are the product's own, run under a virtual clock. Steps take the time
    that the `profile` has for them in place of computing, and return what they return for the rows of the profile.
    Calls take the time that was measured, of the processes at both ends and of cores that all share. What composers
    compute themselves takes no time, and a policy's state is one for all replicas.

    Args:
        pipeline: a pipeline, or a part of one.
        profile: what `stretto.profile` has measured. Without rows in it, steps return None.
        rate: rows per second, which come at random moments (a Poisson process).
        callers: in place of a rate, the callers who each send the next row when the last is answered.
        seconds: how long it is simulated; a tenth more passes before anything is counted.
        placement: as in `deploy`.
        replicas: the replicas of deployments by name; ``"ingress"`` is the one that takes the requests. The others have
            the `num_replicas` of their step, or one.
        clients: the processes that send the requests.
        cores: the cores of all machines; by default this machine's.
        timeout: the limit on each row, in seconds.
        seed: what is drawn follows from it: the same seed gives the same result.

    Raises:
        PipelineError: an argument is wrong, the profile lacks a step, or there is no such deployment.
        StrettoError: a step fails on what other steps return.

    >>> from stretto import Profile
    >>> result = asyncio.run(simulate(lambda x: x, Profile({"lambda": 0.002}, hop=0.001), rate=100, seconds=5))
    >>> 0.003 < result.p50 < 0.004
    True
    """
    _check(rate=rate, callers=callers, seconds=seconds, cores=cores, clients=clients, timeout=timeout)
    whole = as_pipeline(pipeline)
    answers = await answers_of_steps(share(check(whole.plan())), profile.rows) if profile.rows else {}
    machine, random = Machine(cores or os.cpu_count() or 1), Random(seed)
    plan = compile_plan(Measured(profile, answers, machine).plan(whole.plan()), placement, profile)
    counts = _counts(plan, replicas or {})
    app = Application(_with(plan, counts), {CLIENT: clients, **counts}, profile, machine, random)
    load = _Load(app, profile, machine, random, timeout, seconds)
    left = threading.Event()
    try:
        # In a thread: it runs event loops of its own.
        return await anyio.to_thread.run_sync(load.run, rate, callers, left.is_set, abandon_on_cancel=True)
    finally:
        left.set()


class _Load:
    """The clients of a simulated application, and what they see."""

    def __init__(
        self,
        app: Application,
        profile: Profile,
        machine: Machine,
        random: Random,
        timeout: float | None,
        seconds: float,
    ) -> None:
        self._deployments, self._clients = app.deployments, cycle(app.clients)
        self._machine, self._random, self._timeout = machine, random, timeout
        self._rows = list(profile.rows) or [None]
        self._cost = max(NO_TIME, profile.client)
        self._start, self._end = WARM * seconds, (1 + WARM) * seconds
        self._took: list[float] = []
        self._begun: dict[int, float] = {}
        self._numbers = count()
        self._refused = self._late = 0

    def run(self, rate: float | None, callers: int | None, cancelled: Callable[[], bool]) -> Simulation:
        """Simulate it, in a thread that runs no event loop."""
        with self._machine.clock():
            if rate is not None:
                process, _ = next(self._clients)
                process.start(self._arrivals(rate))
            for _ in range(callers or 0):
                process, replicas = next(self._clients)
                process.start(self._caller(replicas))
            self._machine.run(self._start, cancelled)
            for each in self._deployments.values():
                each.begin()
            self._took, self._refused, self._late = [], 0, 0
            self._machine.run(self._end, cancelled)
            return self._found()

    async def _arrivals(self, rate: float) -> None:
        at = 0.0
        while True:
            at += self._random.expovariate(rate)
            # Rows come when they come, also where the client is too busy to send them.
            await asyncio.sleep(at - now())
            process, replicas = next(self._clients)
            process.start(self._send(replicas, at))

    async def _caller(self, replicas: Replicas) -> None:
        while True:
            pause = await self._send(replicas, now())
            if pause:
                await asyncio.sleep(pause)

    async def _send(self, replicas: Replicas, began: float) -> float:
        """Send a row that came at `began`, and return the seconds after which a refused caller should send the next."""
        number = next(self._numbers)
        self._begun[number] = began
        try:
            self._machine.spend(self._cost)
            with self._deployments[INGRESS].counted(1):
                await replicas.predict(self._random.choice(self._rows), Context.starting(self._timeout))
            self._took.append(now() - began)
        except Overloaded as refused:
            self._refused += 1
            return max(NO_TIME, refused.retry_after)
        except DeadlineExceeded:
            self._late += 1
        finally:
            del self._begun[number]
        return 0.0

    def _found(self) -> Simulation:
        seconds, took = self._end - self._start, self._took or [0.0]
        p50, p99 = np.percentile(took + [self._end - each for each in self._begun.values()], [50, 99])
        loads = {name: _load(each, seconds) for name, each in self._deployments.items()}
        return Simulation(
            seconds=seconds,
            answered=len(self._took),
            refused=self._refused,
            late=self._late,
            under_way=len(self._begun),
            per_second=len(self._took) / seconds,
            mean=float(np.mean(took)),
            p50=float(p50),
            p99=float(p99),
            utilisation=sum(each.utilisation * each.replicas for each in loads.values()) / self._machine.cores,
            deployments=loads,
        )


def _load(deployment: Deployment, seconds: float) -> DeploymentLoad:
    there, number = deployment.rows_seconds(), len(deployment.processes)
    stays = there / deployment.rows if deployment.rows else 0.0
    return DeploymentLoad(number, deployment.busy() / seconds / number, there / seconds, deployment.most, stays)


def _check(*, rate: float | None, callers: int | None, **others: float | None) -> None:
    if (rate is None) == (callers is None):
        raise PipelineError(
            "simulate() takes either rate=, the rows per second, or callers=, who wait for their answers"
        )
    for name, value in {"rate": rate, "callers": callers, **others}.items():
        if value is not None and not 0 < value < math.inf:
            raise PipelineError(f"{name}={value}: it must be above 0")


def _counts(plan: Plan, replicas: Mapping[str, int]) -> dict[str, int]:
    """Return the replicas of each deployment of a compiled plan."""
    stages = stages_of(plan)
    for name in {INGRESS, CLIENT} & stages.keys():
        raise PipelineError(f"step {name!r} has the name of a part of each simulation: give it another, with name=")
    # Where Serve scales by itself, it is one here unless the caller wants more.
    own = {name: stage.options.get("num_replicas") for name, stage in stages.items()}
    counts = {INGRESS: 1, **{name: number if isinstance(number, int) else 1 for name, number in own.items()}}
    for name, number in replicas.items():
        if name not in counts:
            raise PipelineError(f"replicas of {name!r}: the deployments are {', '.join(map(repr, counts))}")
        if number < 1:
            raise PipelineError(f"replicas of {name!r}: {number}; a deployment has at least 1")
    return {**counts, **replicas}


def _with(plan: Plan, counts: Mapping[str, int]) -> Plan:
    """Return the plan whose deployed stages have so many replicas, from which the calls under way follow."""

    def counted(step: Step | Stage) -> Step | Stage:
        if isinstance(step, Step) or not step.deployment:
            return step
        return replace(step, options={**step.options, "num_replicas": counts[step.deployment]})

    return plan.with_calls(counted)
