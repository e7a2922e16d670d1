"""Ray in this process: imported quietly, reached where there is one, started where there is none."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anyio

from stretto.errors import ConnectionFailed, DeployError
from stretto.serve.child_processes import environment, guarded

with warnings.catch_warnings():
    # ray.serve 2.60 passes arguments to pydantic's Field that pydantic warns about.
    warnings.simplefilter("ignore")
    import ray
    from ray import exceptions as ray_errors
    from ray import serve
    from ray._private import auto_init_hook, ray_constants
    from ray._private.utils import read_ray_address
    from ray.cloudpickle.cloudpickle import Pickler
    from ray.cloudpickle.cloudpickle import dumps as cloudpickled
    from ray.serve import exceptions as serve_errors
    from ray.serve import schema as serve_schema
    from ray.serve._private import constants
    from ray.serve._private.build_app import build_app
    from ray.serve.context import _get_global_client, _set_global_client
    from ray.serve.deployment import deployment_to_schema
    from ray.serve.handle import DeploymentHandle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = [
    "DeploymentHandle",
    "LocalRay",
    "NodeAffinitySchedulingStrategy",
    "Pickler",
    "cloudpickled",
    "connect",
    "connected",
    "controller",
    "declaring",
    "deployment_schemas",
    "in_thread",
    "local_ray",
    "quietly",
    "ray",
    "ray_errors",
    "separate_thread",
    "serve",
    "serve_errors",
    "serve_schema",
    "start_serve",
]

T = TypeVar("T")
ADDRESS = "RAY_ADDRESS"

_connecting = threading.Lock()

declaring = threading.Lock()
"""To be held where a deployment is declared: Serve has its module pickled by value for that moment, in all threads."""


def separate_thread() -> bool:
    """Return whether this process, if it is a replica, runs what was deployed in a thread beside Serve's own."""
    return bool(constants.RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD)


class LocalRay:
    """A Ray on this machine that this process started: it listens on 127.0.0.1 alone, and ends with the process.

    Linux kills Ray's processes when the *thread* that started them ends (``PR_SET_PDEATHSIG`` in Ray's
    ``services.py``), so that thread stays for as long as Ray does. What that misses, a guard ends.
    """

    def __init__(self, *, logs: bool) -> None:
        self._done = threading.Event()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._keep, args=(logs,), name="stretto-ray", daemon=True)

    @classmethod
    def start(cls, *, logs: bool = False) -> LocalRay:
        """Start Ray and connect this process to it, which blocks for a few seconds.

        With `logs`, what replicas print is shown.
        """
        self = cls(logs=logs)
        self._thread.start()
        self._started.result()
        return self

    def stop(self) -> None:
        """Stop Ray and all its processes; this blocks for a second or two."""
        ray.shutdown(wait_for_processes=True)
        self._done.set()
        self._thread.join()

    def _keep(self, logs: bool) -> None:
        with guarded() as (mark, ended_in_order):
            try:
                with _loopback(), environment(mark):
                    _init(address="local", include_dashboard=False, log_to_driver=logs)
            except BaseException as error:
                self._started.set_exception(error)
                return
            self._started.set_result(None)
            self._done.wait()
            ended_in_order()


@asynccontextmanager
async def local_ray(*, logs: bool = False) -> AsyncGenerator[None]:
    """Have one Ray for all that is deployed inside the block: the one that is there, or one that ends with the block.

    Without it each `deploy` that finds no Ray starts one and stops it again. With `logs`, what replicas print is shown.
    """
    local = await in_thread(lambda gone: _unless_gone(connect(logs=logs), gone), undo=_stop)
    try:
        yield
    finally:
        await in_thread(lambda _: _stop(local))


def connect(*, logs: bool = False, start: bool = True) -> LocalRay | None:
    """Connect this process to Ray: as it is already, to the one that is configured or running, or to one it starts.

    The configured one is ``RAY_ADDRESS``; the running one is that of ``ray start``. It gives the Ray it has started, if
    it has. Without `start` it takes any Ray on this machine, and does not start one. This blocks.

    Raises:
        ConnectionFailed: Ray is not where it should be.
    """
    with _connecting:
        if connected():
            return None
        named = os.environ.get(ADDRESS)
        if start and named in (None, "", "local") and (named == "local" or not _is_started_by_hand()):
            return LocalRay.start(logs=logs)
        try:
            if named:
                _knock(named)
            # Ray looks for the address itself where none is named, and then also finds the token that it asks for.
            _init(address=named or (None if start else "auto"), log_to_driver=logs)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"at {named}, which {ADDRESS} names" if named else "on this machine"
            raise ConnectionFailed(
                f"there is no Ray {where}, or it lets nobody in ({error}): start one with `ray start --head` or "
                f"stretto.deploy(), set {ADDRESS}, and RAY_AUTH_MODE=token where it asks for a token"
            ) from error
        return None


def connected() -> bool:
    """Return whether this process is connected to Ray."""
    return ray.is_initialized()


def controller(*, required: bool = True) -> Any:
    """Return Serve's controller client on the connected Ray, or None where Serve is not started. This blocks.

    Raises:
        ConnectionFailed: it is required, and Serve is not started.
    """
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None and required:
        where = ray.get_runtime_context().gcs_address
        raise ConnectionFailed(f"Ray runs at {where} but Ray Serve does not: deploy something, or set {ADDRESS}")
    return client


def start_serve(host: str, port: int | None) -> Any:
    """Start Serve on the connected Ray unless it is, and give its controller client. This blocks.

    `port` None is 8000, or the next that is free. A Serve that is running keeps its own host and port.

    Raises:
        DeployError: the port asked for is taken.
    """
    with _connecting:
        client = controller(required=False)
        if client is None:
            with quietly(), reserved(host, port) as free:
                serve.start(http_options={"host": host, "port": free})
            client = controller()
        return client


def deployment_schemas(app: Any, name: str) -> list[dict[str, Any]]:
    """Return what a config file says of each deployment of an application."""
    made = build_app(app, name=name).deployments
    return [deployment_to_schema(each).model_dump(mode="json", exclude_unset=True) for each in made]


async def in_thread(work: Callable[[threading.Event], T], undo: Callable[[T], object] | None = None) -> T:
    """Run blocking `work` in a thread, and leave nothing of it behind.

    When the caller is cancelled, the event that `work` was given is set, and the cancellation goes on once `work` has
    returned; what it returned nevertheless is given to `undo`.
    """
    gone = threading.Event()
    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(None, work, gone)
    try:
        result = await asyncio.shield(running)
        _own_sigterm()
        return result
    except asyncio.CancelledError:
        gone.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([running])
            if running.exception() is None and undo is not None:
                await loop.run_in_executor(None, undo, running.result())
        raise


def _own_sigterm() -> None:
    """Have SIGTERM do again what the process says: Ray's core, when it connects, has it print a stack and abort."""
    if threading.current_thread() is threading.main_thread() and (handler := signal.getsignal(signal.SIGTERM)):
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def quietly() -> Generator[None]:
    """Keep Ray's and Serve's loggers to errors for the length of the block."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.serve")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _init(**options: Any) -> None:
    # Ray and Serve tell the terminal much that is for their developers; errors still come through.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    # Serve keeps the controller it knew for as long as the job's id is the same, and in a Ray of one's own that is
    # always 1.
    _set_global_client(None)
    # Once this Ray is stopped, a late call of a handle's router would have Ray start another, which nobody stops.
    auto_init_hook.enable_auto_connect = False
    with quietly():
        ray.init(logging_level=logging.ERROR, **options)


def _stop(local: LocalRay | None) -> None:
    if local is not None:
        local.stop()


def _unless_gone(local: LocalRay | None, gone: threading.Event) -> LocalRay | None:
    if gone.is_set():
        _stop(local)
        return None
    return local


def _is_started_by_hand() -> bool:
    """Return whether a Ray that ``ray start`` started on this machine is there."""
    address = read_ray_address()
    if not address:
        return False
    try:
        _knock(address)
    except OSError:
        return False
    return True


def _knock(address: str) -> None:
    """Return if somebody listens at a ``HOST:PORT``, and raise an OSError if not: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "//" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


@contextmanager
def _loopback() -> Generator[None]:
    """Have what Ray starts in the block listen on 127.0.0.1 alone, as on macOS and Windows, not on all interfaces."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def reserved(host: str, port: int | None, first: int = 8000) -> Generator[int]:
    """Give a port for HTTP that nobody listens on, and keep others that ask here away from it during the block.

    It is `port`, or of the hundred from `first` on the first that is free.

    Serve's proxy sets ``SO_REUSEPORT``: on a port that another Serve has, it would take every other request of it.
    """
    for candidate in range(port or first, (port or first) + (1 if port else 100)):
        with socket.socket(type=socket.SOCK_DGRAM) as lock, socket.socket() as probe:
            # A TCP socket held here would be in the proxy's way: the UDP port of the same number is the lock.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                lock.bind((host, candidate))
                probe.bind((host, candidate))
            except OSError:
                continue
            probe.close()
            yield candidate
            return
    raise DeployError(f"port {port} on {host} is taken: give another port=, or none to take the next free one")
