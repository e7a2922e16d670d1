"""The Ray of this process: connected to where there is one, started on this machine where there is none."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import IO, TypeVar, cast

import anyio

from stretto.engine.fork import forget_after_fork
from stretto.errors import ConnectionFailed, DeployError
from stretto.serve import reaper
from stretto.serve.ray import (
    ADDRESS,
    WITH_TOKEN,
    forget_previous_ray,
    local_processes,
    quietly,
    ray,
    read_ray_address,
    serve,
    serve_runs,
)

T = TypeVar("T")


class _Process:
    """Whether this process can use Ray, which one it was last connected to, and the lock under which it connects."""

    def __init__(self) -> None:
        self.connecting = threading.Lock()
        self.session = ""
        self.forked = False
        forget_after_fork(self)

    def forget(self) -> object:
        """Record that a parent's connection is no use here: its threads, which do the work, are the parent's alone."""
        self.connecting, before = threading.Lock(), self.connecting
        self.forked = connected()
        return before


_PROCESS = _Process()


def check_process() -> None:
    """Check that this process was not forked from one that was connected to Ray.

    Raises:
        ConnectionFailed: it was.
    """
    if _PROCESS.forked:
        raise ConnectionFailed(
            "this process was forked from one that was connected to Ray, where Ray can't be used: call Ray only after "
            "the fork, start the process with multiprocessing's 'spawn', or ask over HTTP, with Client(client.url)"
        )


class LocalRay:
    """A Ray on this machine that this process started: it listens on 127.0.0.1 alone, and ends with the process.

    Making one starts Ray and connects this process to it, which blocks for a few seconds. With `logs`, what replicas
    print is shown. Linux kills Ray's processes when the *thread* that started them ends (``PR_SET_PDEATHSIG`` in Ray's
    ``services.py``), so that thread stays for as long as Ray does. The reaper kills what is left.
    """

    def __init__(self, *, logs: bool) -> None:
        self._stopped = threading.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._keep, args=(logs, started), name="stretto-ray", daemon=True)
        self._thread.start()
        started.result()

    def stop(self) -> None:
        """Stop Ray and all its processes; this blocks for a second or two."""
        ray.shutdown(wait_for_processes=True)
        self._stopped.set()
        self._thread.join()

    def _keep(self, logs: bool, started: Future[None]) -> None:
        with _reaper() as (mark, dismiss):
            try:
                with local_processes(mark):
                    _initialize("local", logs=logs, include_dashboard=False)
            except BaseException as error:
                started.set_exception(error)
                return
            started.set_result(None)
            self._stopped.wait()
            dismiss()


@contextmanager
def _reaper() -> Generator[tuple[Mapping[str, str], Callable[[], object]]]:
    """Yield an environment variable, and a function to call once the processes started with it have been stopped.

    If it is not called by the end of the block, or this process dies inside it, by whatever signal, the reaper kills
    the processes with the variable in their environment. This works on Linux only.
    """
    if sys.platform != "linux":
        yield {}, lambda: None
        return
    mark = uuid.uuid4().hex
    command = [sys.executable, "-I", "-S", reaper.__file__, mark]
    # A session of its own, so that a Ctrl-C in the terminal does not reach it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        pipe = cast("IO[bytes]", process.stdin)
        yield {reaper.VARIABLE: mark}, lambda: pipe.write(b"stopped in order")


@asynccontextmanager
async def local_ray(*, logs: bool = False) -> AsyncGenerator[None]:
    """Keep one Ray for all deployments inside the block: the one that is there, or one that ends with the block.

    Without it each `deploy` that finds no Ray starts one and stops it again. With `logs`, what replicas print is shown.
    """
    local = await in_thread(lambda _: connect(logs=logs), undo=_stop)
    try:
        yield
    finally:
        await in_thread(lambda _: _stop(local))


def connect(*, logs: bool = False, start: bool = True) -> LocalRay | None:
    """Connect this process to Ray, and return the Ray that this started, if it started one; this blocks.

    A process that is connected stays so. Else it connects to the Ray of ``RAY_ADDRESS``, or to that of ``ray start``;
    where there is neither, it starts one. Without `start` it takes any Ray on this machine, and does not start one.

    Raises:
        ConnectionFailed: Ray is not where it should be, or this process was forked from one that was connected.
    """
    check_process()
    with _PROCESS.connecting:
        if connected():
            # The user may have connected it, and to another Ray than before.
            session = ray.get_runtime_context().get_session_name()
            if session != _PROCESS.session:
                forget_previous_ray()
            _PROCESS.session = session
            return None
        address = os.environ.get(ADDRESS)
        if start and address in (None, "", "local") and (address == "local" or not _started_by_hand()):
            return LocalRay(logs=logs)
        try:
            if address:
                _knock(address)
            # Ray looks for the address itself where none is named, and then also finds the token that it asks for.
            _initialize(address or (None if start else "auto"), logs=logs)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"at {address}, the address in {ADDRESS}" if address else "on this machine"
            raise ConnectionFailed(
                f"could not connect to Ray {where} ({error}): is it running, and is the token right? Start one with "
                f"`ray start --head` or stretto.deploy(), or set {ADDRESS}; set {WITH_TOKEN} if it needs one"
            ) from error
        return None


def connected() -> bool:
    """Return whether this process is connected to Ray."""
    return ray.is_initialized()


def start_serve(host: str, port: int | None) -> None:
    """Start Serve on the connected Ray, unless it runs already, with its own host and port; this blocks.

    If `port` is None it is 8000, or the next that is free.

    Raises:
        DeployError: the port is taken.
    """
    with _PROCESS.connecting:
        if not serve_runs():
            with quietly(), reserved(host, port) as free:
                serve.start(http_options={"host": host, "port": free})


async def in_thread(work: Callable[[threading.Event], T], undo: Callable[[T], object] | None = None) -> T:
    """Run blocking `work` in a thread, and leave nothing of it behind.

    When the caller is cancelled, the event that `work` is called with is set, and the cancellation goes on once `work`
    has returned; its result is then passed to `undo`.
    """
    cancelled = threading.Event()
    loop = asyncio.get_running_loop()
    running = loop.run_in_executor(None, work, cancelled)
    try:
        result = await asyncio.shield(running)
        _restore_sigterm()
        return result
    except asyncio.CancelledError:
        cancelled.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([running])
            if running.exception() is None and undo is not None:
                await loop.run_in_executor(None, undo, running.result())
        raise


@contextmanager
def reserved(host: str, port: int | None, first: int = 8000) -> Generator[int]:
    """Yield a free port for HTTP, and keep it from other callers of this function during the block.

    It is `port`, or the first free one of the hundred from `first` on.

    Serve's proxy sets ``SO_REUSEPORT``: on a port that another Serve has, it would take every other request of it.

    Raises:
        DeployError: it is taken.
    """
    for candidate in range(port or first, (port or first) + (1 if port else 100)):
        with socket.socket(type=socket.SOCK_DGRAM) as lock, socket.socket() as listener:
            # A TCP socket held here would be in the proxy's way: the UDP port of the same number is the lock.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                lock.bind((host, candidate))
                listener.bind((host, candidate))
            except OSError:
                continue
            listener.close()
            yield candidate
            return
    raise DeployError(f"port {port} on {host} is taken: pass another port=, or none to take the next free one")


def _initialize(address: str | None, *, logs: bool, include_dashboard: bool | None = None) -> None:
    # Ray and Serve log much that is for their developers; errors still come through.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    forget_previous_ray()
    with quietly():
        ray.init(address, logging_level=logging.ERROR, log_to_driver=logs, include_dashboard=include_dashboard)


def _restore_sigterm() -> None:
    """Install Python's handler of SIGTERM again: when it connects, Ray's core replaces it by one that aborts."""
    if threading.current_thread() is threading.main_thread() and (handler := signal.getsignal(signal.SIGTERM)):
        signal.signal(signal.SIGTERM, handler)


def _stop(local: LocalRay | None) -> None:
    if local is not None:
        local.stop()


def _started_by_hand() -> bool:
    """Return whether a Ray that ``ray start`` started on this machine is there."""
    address = read_ray_address()
    try:
        _knock(address or "")
    except OSError:
        return False
    return bool(address)


def _knock(address: str) -> None:
    """Raise an OSError if nothing listens at a ``HOST:PORT``: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "//" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
