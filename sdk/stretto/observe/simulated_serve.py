"""Ray Serve on a simulated machine: replicas, each a process, and the calls between them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Self

from stretto.batch.batch import Batch
from stretto.compiler import Profile, fuse
from stretto.engine.context import Context
from stretto.engine.engine import Engine
from stretto.errors import StrettoError
from stretto.observe.machine import Machine, Process
from stretto.plan.nodes import Call
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step
from stretto.serve.backend import ServeBackend
from stretto.serve.pickling import pack_batch, unpack_batch
from stretto.serve.replicas import Replicas, lanes_of, lanes_to

CLIENT = "client"
"""The processes that send the requests, among the deployments."""
INGRESS = "ingress"
"""The deployment that takes the requests."""
NODE_CORES = 8
"""The cores of a node, at most: a replica has as many threads for its stages."""


class Deployment:
    """The processes of a deployment, and how many rows are there: in front of them, or computed."""

    def __init__(self, machine: Machine, replicas: int) -> None:
        self.machine = machine
        self.processes = [machine.process() for _ in range(replicas)]
        self.engines: list[Engine] = []
        self.ongoing = [0] * replicas
        self._there = 0
        self.begin()

    def begin(self) -> None:
        """Forget what was counted so far."""
        self._last, self._rows_seconds = self.machine.time, 0.0
        self._busy = sum(process.busy for process in self.processes)
        self.rows, self.most = 0, self._there

    @contextmanager
    def counted(self, rows: int) -> Generator[None]:
        """Count rows as there for as long as the block takes."""
        self._move(rows)
        try:
            yield
        finally:
            self._move(-rows)
            self.rows += rows

    def rows_seconds(self) -> float:
        """Return the seconds that rows were there, added up."""
        self._move(0)
        return self._rows_seconds

    def busy(self) -> float:
        """Return the seconds for which its processes had a core, added up."""
        return sum(process.busy for process in self.processes) - self._busy

    def _move(self, rows: int) -> None:
        self._rows_seconds += self._there * (self.machine.time - self._last)
        self._last = self.machine.time
        self._there += rows
        self.most = max(self.most, self._there)


class Handle:
    """A handle of a process to a deployment, as `Replicas` calls it: a call takes the time that it was measured to.

    The replica is the one with fewer calls of two that are drawn, as Serve's router has it
    (``ray/serve/_private/request_router/pow_2_router.py``).
    """

    def __init__(self, caller: Process, deployment: Deployment, profile: Profile, random: Random) -> None:
        self._caller, self._deployment, self._profile, self._random = caller, deployment, profile, random
        alone = sum(profile.call(1))
        # What of a call is neither the caller's work nor the replica's.
        self._under_way = [max(0.0, each - alone) for each in profile.hops or [profile.hop]]

    def options(self, **_: Any) -> Self:
        """Return itself: one method, by value."""
        return self

    def remote(
        self, content: bytes, step: str | None, traced: bool, version: str, budget: float | None
    ) -> asyncio.Future[Any]:
        """Return the future of a replica's reply."""
        batch = unpack_batch(content)
        machine, caller = self._caller.machine, self._caller
        ours, theirs = self._profile.call(batch.size)
        at = self._chosen()
        process, engine = self._deployment.processes[at], self._deployment.engines[at]
        self._deployment.ongoing[at] += 1
        reply: asyncio.Future[Any] = caller.loop.create_future()
        under_way = self._random.choice(self._under_way) / 2
        tasks: list[asyncio.Task[Any]] = []

        async def run() -> None:
            try:
                machine.spend(theirs)
                try:
                    answer = await engine.evaluate(batch, Context.starting(budget), step)
                    result = pack_batch(answer), []
                except StrettoError as error:
                    result = error
            finally:
                self._deployment.ongoing[at] -= 1
            caller.post(machine.time + under_way, lambda: arrive(result))

        def arrive(result: Any) -> None:
            if not reply.done():
                machine.spend(ours / 2)
                reply.set_result(result)

        def end(_: asyncio.Future[Any]) -> None:
            if reply.cancelled():
                process.post(machine.time + under_way, lambda: [each.cancel() for each in tasks])

        machine.spend(ours / 2)
        process.post(machine.time + under_way, lambda: tasks.append(process.start(run())))
        reply.add_done_callback(end)
        return reply

    def _chosen(self) -> int:
        ongoing = self._deployment.ongoing
        two = self._random.sample(range(len(ongoing)), min(2, len(ongoing)))
        return min(two, key=ongoing.__getitem__)


class _Backend(ServeBackend):
    """The backend of an ingress replica, whose rows are counted where they are."""

    def __init__(
        self,
        handles: Mapping[str, Handle],
        lanes: Mapping[str, int | None],
        deployments: Mapping[str, Deployment],
        cores: int,
    ) -> None:
        super().__init__(handles, lanes, workers=cores)
        self._counted = deployments

    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        if isinstance(step, Step) or not step.deployment:
            return await super().run(step, columns, context)
        with self._counted[step.deployment].counted(columns[0].size):
            return await super().run(step, columns, context)


def stages_of(plan: Plan) -> dict[str, Stage]:
    """Return the deployed stages of a compiled plan by their deployments."""
    steps = [node.step for node in plan.walk() if isinstance(node, Call)]
    return {step.deployment: step for step in steps if isinstance(step, Stage) and step.deployment}


class Application:
    """A compiled plan on a simulated Serve: processes of clients, an ingress, and a deployment for each stage."""

    def __init__(
        self, plan: Plan, replicas: Mapping[str, int], profile: Profile, machine: Machine, random: Random
    ) -> None:
        stages = stages_of(plan)
        self.deployments = {name: Deployment(machine, number) for name, number in replicas.items()}
        lanes = {name: lanes_of(stage) for name, stage in stages.items()}

        def handle(caller: Process, name: str) -> Handle:
            return Handle(caller, self.deployments[name], profile, random)

        def backend(process: Process, calls: Mapping[str, int | None]) -> ServeBackend:
            handles = {name: handle(process, name) for name in calls}
            return _Backend(handles, calls, self.deployments, min(machine.cores, NODE_CORES))

        for name, stage in stages.items():
            inner, deployment = fuse(stage.plan), self.deployments[name]
            deployment.engines = [Engine(inner, backend(each, {})) for each in deployment.processes]
        ingress = self.deployments[INGRESS]
        ingress.engines = [Engine(plan, backend(each, lanes)) for each in ingress.processes]
        shared = lanes_to(plan, lanes.values(), replicas[INGRESS])
        self.clients = [
            (each, Replicas(handle(each, INGRESS), INGRESS, "the application", shared))
            for each in self.deployments[CLIENT].processes
        ]
