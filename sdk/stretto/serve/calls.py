"""One call of a replica, and the boundary where Ray's errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stretto.engine.context import Context
from stretto.engine.results import Metadata
from stretto.errors import ConnectionFailed, NotFound, Overloaded, StepError, StrettoError
from stretto.serve.ray import Handle, grpc, ray_errors, serve_errors

TRIES = 3
"""How many replicas a call is given to before it counts as failed: predictions are idempotent."""

PAUSE = 0.5
"""Seconds after a replica died, at most: Serve's router gives calls to dead ones until it learns of them."""
SHORT_PAUSE = 0.05
"""Seconds after the first that died: mostly the router knows of it by then."""

DIED = (ray_errors.RayActorError, ray_errors.ObjectLostError)
"""What a call raises if its replica died, or is out of reach."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the replicas of an application know of it.

    `lanes` is how many calls of many rows one process should have under way, for all replicas together; it is 0 where
    rows that travel together are not computed together: then each should travel in a call of its own. `direct_url` is
    where the replicas answer HTTP themselves, or empty, and `advice` what could be faster.
    """

    lanes: int
    direct_url: str
    advice: tuple[str, ...]
    metadata: Metadata


OUTDATED = "outdated"
"""The reply of a replica to a call that is for one of another version."""


class OutdatedError(Exception):
    """The replica that was called is not of the version that was asked for."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the bytes of an answer are that is too large to travel by value: see `stored` and `fetched`."""

    where: bytes


async def call(method: Handle, *args: Any, deadline: float | None, tries: int = TRIES) -> Any:
    """Return what a replica answers; where one dies under the call, call another.

    The last argument that the replica gets are the seconds left: Serve itself carries no deadline. Cancelling this
    cancels the replica's work.
    """
    for tries_left in range(tries - 1, -1, -1):
        response = method.remote(*args, Context(deadline).budget)
        try:
            return await response
        except (asyncio.CancelledError, serve_errors.RequestCancelledError) as error:
            # Serve 2.60 lets the replica go on when only the await is cancelled (DeploymentResponse.__await__), and
            # raises one or the other exception, depending on how far the call was.
            response.cancel()
            task = asyncio.current_task()
            if task is None or task.cancelling():
                # The one that came in goes out: AnyIO knows its own cancellation by that object.
                inner = error.__context__
                raise (inner if isinstance(inner, asyncio.CancelledError) else error) from None
            # This task was not cancelled: a replica that is shutting down has cancelled the call.
            if not tries_left:
                raise ray_errors.RayActorError from None
        except DIED:
            await asyncio.sleep(min(PAUSE, SHORT_PAUSE * 3.0 ** (tries - 1 - tries_left)))
            if not tries_left or Context(deadline).expired:
                raise
    raise AssertionError("the last try returns or raises")


@contextmanager
def translating(deployment: str) -> Generator[None]:
    """Raise Stretto's errors in place of Ray's."""
    try:
        yield
    except (StrettoError, OutdatedError):
        raise
    except Exception as error:
        raise translated(error, deployment) from error


def translated(error: Exception, deployment: str) -> StrettoError:
    """Return the Stretto error that stands for an error of Ray's."""
    match error:
        case serve_errors.BackPressureError():
            return Overloaded(
                f"the queue in front of {deployment!r} is full; try again later", error.retry_after_s or 1.0
            )
        case ray_errors.RayTaskError(cause=StrettoError() as cause):
            return cause.copy()
        case ray_errors.RayTaskError(cause=Exception() as cause):
            return StepError.of(deployment, cause)
        case serve_errors.DeploymentUnavailableError():
            return NotFound(f"deployment {deployment!r} is not there: it failed to come up, or was deleted")
        case _ if isinstance(error, DIED):
            return StepError(deployment, "ReplicaDied", "the replicas that were called died or were out of reach")
        case ray_errors.RayError() | serve_errors.RayServeException() | grpc.RpcError() | ConnectionError():
            return ConnectionFailed(f"could not call {deployment!r} on Ray Serve: {error}")
        case _:
            return StepError.of(deployment, error)
