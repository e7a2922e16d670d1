"""The seam between the evaluator and the place where a step's values live."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from stretto.batch.batch import Batch
from stretto.engine.context import Context
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step


class Backend(ABC):
    """Runs the calls of a plan, where the evaluator runs all other nodes."""

    @abstractmethod
    async def run(self, step: Step | Stage, columns: Sequence[Batch], context: Context) -> Batch:
        """Apply a step to its column, or a stage to its inputs' columns, keeping `context.deadline`.

        A `Step` gets one column without failed rows; a `Stage` gets its inputs as they are. Errors are outcomes of
        rows, never raised.
        """

    @abstractmethod
    def evaluate(self, plan: Plan, columns: Sequence[Batch], context: Context) -> Awaitable[Batch]:
        """Return the output of a plan, all of whose calls this runs, for the rows of its inputs' batches."""

    @abstractmethod
    def aside(self, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Start work that nobody waits for, unless there is too much of it already; say whether it is started."""
