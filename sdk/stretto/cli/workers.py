"""`stretto serve --workers`: processes that share a port, and a supervisor that replaces those that die or hang.

uvicorn's own supervisor asks a thread of each process whether it is there, which says nothing of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Final

import click

from stretto.errors import StrettoError
from stretto.serve.names import imported_pipeline
from stretto.server import asgi
from stretto.server.connections import BACKLOG, DRAIN, SETTINGS

SIGN: Final = 1.0
"""Seconds between signs of life of a worker's event loop."""
STUCK: Final = 15.0
"""Seconds without one after which a worker is replaced."""
STARTING: Final = 120.0
"""The same while it imports and loads its models."""
TOLD: Final = 5.0
"""Seconds, at most, in which it says what it is doing."""
FAILURES: Final = 3
"""How many workers in a row may end before they have served, until the supervisor ends too."""


@dataclass(slots=True)
class Worker:
    """A process that serves; `link` is this side's end of the socket on which it shows that it lives."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    traces: Any
    serves: bool = False
    seen: float = field(default_factory=time.monotonic)

    def read(self) -> None:
        """Take the signs of life that have come."""
        with contextlib.suppress(OSError):
            if self.link.recv(4096):
                self.seen, self.serves = time.monotonic(), True

    @property
    def silent(self) -> bool:
        """Whether its event loop has shown nothing for too long."""
        return time.monotonic() - self.seen > (STUCK if self.serves else STARTING)

    def where(self) -> str:
        """Return what its threads are doing, each with its functions, the innermost first."""
        self.process.send_signal(signal.SIGUSR1)
        written, until = b"", time.monotonic() + TOLD
        while time.monotonic() < until:
            time.sleep(0.1)
            self.traces.seek(0)
            before, written = written, self.traces.read()
            if written and written == before:
                break
        return written.decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the process if it is there."""
        self.process.kill()
        self.process.wait()
        self.link.close()
        self.traces.close()


def supervise(target: str, host: str, port: int, token: str | None, count: int) -> int:
    """Serve `target` from `count` processes until SIGTERM or Ctrl-C, and return the exit status.

    The listening socket is theirs together: what one of them has not taken yet another takes if it dies.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise click.ClickException(
            f"can't listen on {host}, port {port}: {str(error.strerror).partition(' (')[0]}"
        ) from error
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    workers: list[Worker] = []
    failures = 0
    with listener, selectors.DefaultSelector() as selector:
        try:
            while not stopped and failures < FAILURES:
                while len(workers) < count:
                    workers.append(_started(target, token, listener, selector))
                for key, _ in selector.select(SIGN):
                    key.data.read()
                for worker in list(workers):
                    reason = _fault(worker)
                    if reason:
                        failures = 0 if worker.serves else failures + 1
                        click.echo(f"{reason}; it is replaced", err=True)
                        selector.unregister(worker.link)
                        worker.close()
                        workers.remove(worker)
        finally:
            _end(workers)
    if failures:
        click.echo(f"{failures} workers ended one after the other before they could serve", err=True)
    return 1 if failures else 0


def _started(target: str, token: str | None, listener: socket.socket, selector: selectors.BaseSelector) -> Worker:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    traces = tempfile.TemporaryFile()  # noqa: SIM115  it is the worker's, until that ends
    descriptors = (listener.fileno(), theirs.fileno(), traces.fileno())
    command = [sys.executable, "-m", "stretto.cli.workers", target, *map(str, descriptors)]
    environment = os.environ if token is None else {**os.environ, "STRETTO_TOKEN": token}
    # In a session of its own, so that Ctrl-C reaches the supervisor alone, which then ends the workers in order.
    process = subprocess.Popen(command, pass_fds=descriptors, env=environment, start_new_session=True)
    theirs.close()
    worker = Worker(process, ours, traces)
    selector.register(ours, selectors.EVENT_READ, worker)
    return worker


def _fault(worker: Worker) -> str:
    """Return why a worker has to be replaced, or nothing."""
    status = worker.process.poll()
    if status is not None:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"worker {worker.process.pid} ended ({how})"
    if worker.silent:
        waited = time.monotonic() - worker.seen
        return f"worker {worker.process.pid} has been stuck for {waited:.0f} s, in\n{worker.where()}"
    return ""


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    until = time.monotonic() + DRAIN + 5
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, until - time.monotonic()))
        worker.close()


async def work(target: str, listener: socket.socket, link: socket.socket) -> None:
    """Serve as one of the workers, until it is told to end or its supervisor is gone."""
    import uvicorn

    token = os.environ.get("STRETTO_TOKEN")
    app = asgi(imported_pipeline(target), tokens=[token] if token else [], name=target.rpartition(":")[2])
    server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=DRAIN, **SETTINGS))
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(link)
        server.should_exit = True

    async def beat() -> None:
        while True:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                if server.started:
                    link.send(b".")
            await asyncio.sleep(SIGN if server.started else 0.01)

    link.setblocking(False)
    loop.add_reader(link, gone)  # it sends nothing: that there is something to read means that it has ended
    beating = loop.create_task(beat())
    await server.serve([listener])
    beating.cancel()


def main(target: str, *descriptors: str) -> None:
    """Run a worker; the descriptors are those of the listening socket, the link and the file for its traces."""
    listening, linked, traces = map(int, descriptors)
    # Also while C code holds the interpreter.
    faulthandler.register(signal.SIGUSR1, file=traces)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  as Python itself does for a script
    try:
        asyncio.run(work(target, socket.socket(fileno=listening), socket.socket(fileno=linked)))
    except StrettoError as error:
        raise SystemExit(f"Error: {error}") from None  # as the command prints it


if __name__ == "__main__":
    main(*sys.argv[1:])
