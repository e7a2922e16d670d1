"""Calls of Ray Serve's replicas, and the boundary where Ray's errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeAlias

from stretto.engine.context import Context
from stretto.errors import ConnectionFailed, NotFound, Overloaded, StepError, StrettoError
from stretto.serve.ray import cloudpickled, ray_errors, serve_errors

Handle: TypeAlias = Any
"""A ``ray.serve.handle.DeploymentHandle``; Ray ships no types for it."""

TRIES = 3
"""How many replicas a call is given to before it counts as failed: predictions are idempotent."""

PAUSE = 0.5
"""Seconds after a replica died: Serve's router needs some to learn which are dead, and gives calls to those."""

DIED = (ray_errors.RayActorError, ray_errors.ObjectLostError)
"""What a call ends in whose replica died, or is out of reach."""


def by_value(handle: Handle, method: str) -> Handle:
    """Return the handle's method, to be called with values.

    By default Serve 2.60 puts a call's arguments and its answer into Ray's object store, by way of actor tasks. By
    value it uses the gRPC server that every replica has, which takes half the time.
    """
    return handle.options(method_name=method, _by_reference=False)


async def call(method: Handle, *args: Any, deadline: float | None, tries: int = TRIES) -> Any:
    """Return what a replica answers; where one dies under the call, ask another.

    The replica is told the seconds that are left, as the last argument: Serve itself carries no deadline. Cancelling
    this cancels the replica's work.
    """
    for left in range(tries - 1, -1, -1):
        response = method.remote(*args, Context(deadline).budget)
        try:
            return await response
        except (asyncio.CancelledError, serve_errors.RequestCancelledError) as error:
            # Serve 2.60 lets the replica go on when only the await is cancelled (DeploymentResponse.__await__), and
            # says so by one or the other exception, as it happens to be far with the call.
            response.cancel()
            task = asyncio.current_task()
            if task is None or task.cancelling():
                # The one that came in goes out: AnyIO knows its own cancellation by that object.
                inner = error.__context__
                raise (inner if isinstance(inner, asyncio.CancelledError) else error) from None
            # Nobody cancelled this task: a replica that is shutting down has cancelled the call.
            if not left:
                raise ray_errors.RayActorError from None
        except DIED:
            if not left or Context(deadline).expired:
                raise
            await asyncio.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")


def is_unsent(error: Exception) -> bool:
    """Return whether a call ended because rows or answers can't be pickled; a row's own error comes as its outcome."""
    known = (StrettoError, ray_errors.RayError, serve_errors.RayServeException, ConnectionError)
    return isinstance(error, ray_errors.RayTaskError) or not isinstance(error, known)


def unsendable(values: Iterable[Any]) -> dict[int, Exception]:
    """Return the positions of the values that can't be pickled, and why."""
    found: dict[int, Exception] = {}
    for i, value in enumerate(values):
        try:
            cloudpickled(value)
        except Exception as error:
            found[i] = error
    return found


def translated(error: Exception, where: str) -> StrettoError:
    """Return the error of ours that says what Ray's did; `where` names the deployment."""
    failure = _translation(error, where)
    failure.__cause__ = error
    return failure


def _translation(error: Exception, where: str) -> StrettoError:
    match error:
        case serve_errors.BackPressureError():
            return Overloaded(f"the queue in front of {where!r} is full; try again later", error.retry_after_s or 1.0)
        case ray_errors.RayTaskError(cause=StrettoError() as cause):
            return type(cause)(*cause.args)
        case ray_errors.RayTaskError(cause=Exception() as cause):
            return StepError(where, type(cause).__name__, str(cause))
        case serve_errors.DeploymentUnavailableError():
            return NotFound(f"deployment {where!r} is not there: it failed to come up, or was deleted")
        case _ if isinstance(error, DIED):
            return StepError(where, "ReplicaDied", "the replicas that were asked died or were out of reach")
        case ray_errors.RayError() | serve_errors.RayServeException() | ConnectionError():
            return ConnectionFailed(f"Ray Serve can't be asked for {where!r}: {error}")
        case _:
            return StepError(where, type(error).__name__, str(error))
