"""Workers share a port; one that dies or hangs is replaced, and none outlives its supervisor."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

APP = """
import os, time
from stretto import step

def answer(x):
    if x == "die":
        os._exit(3)
    if x == "hang":
        never_ends()
    return os.getpid()

def never_ends():
    while True:
        pass

def fast(x):
    return answer(x)

app = step(fast, name="answer")
"""


@contextmanager
def workers(folder: Path, count: int, source: str = APP, **environment: str) -> Generator[tuple[Any, str, Path]]:
    (folder / "app.py").write_text(source)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    log = folder / "log.txt"
    command = [sys.executable, "-c", environment.pop("code", "from stretto.cli.main import cli; cli()"), "serve"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "app:app", "--port", str(port), "--workers", str(count)],
            cwd=folder,
            stderr=out,
            env={**os.environ, **environment},
        )
    try:
        yield process, f"http://127.0.0.1:{port}", log
    finally:
        process.terminate()
        process.wait(60)


def until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            value = condition()
        except requests.RequestException:
            value = None
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError(condition)


def ask(url: str, x: Any = "who") -> int:
    return requests.post(url, json=x, timeout=10).json()


def children(process: Any) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def test_one_that_dies_is_replaced_and_all_end_with_their_supervisor(tmp_path: Path) -> None:
    with workers(tmp_path, 2) as (process, url, log):
        assert until(lambda: ask(url)) in {each.pid for each in children(process)}
        until(lambda: len({ask(url) for _ in range(20)}) == 2 or None)
        before = {each.pid for each in children(process)}
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(lambda: len({each.pid for each in children(process)} - {victim}) == 2)
        assert ask(url) != victim
        with pytest.raises(requests.ConnectionError):
            ask(url, "die")
        assert until(lambda: ask(url))
        until(lambda: "exit status 3" in log.read_text())
        assert f"worker {victim} ended (SIGKILL); it is replaced" in log.read_text()
        everyone = children(process)
        os.kill(process.pid, signal.SIGKILL)  # nobody tells the workers
        _, left = psutil.wait_procs(everyone, 60)
        assert left == []


def test_one_whose_event_loop_is_stuck_is_replaced_and_said_where_it_hangs(tmp_path: Path) -> None:
    quick = "import stretto.cli.workers as w; w.STUCK = 3.0; from stretto.cli.main import cli; cli()"
    with workers(tmp_path, 1, code=quick) as (process, url, log):
        until(lambda: ask(url))
        stuck = ask(url)
        with pytest.raises(requests.RequestException):
            ask(url, "hang")
        assert until(lambda: ask(url) not in (None, stuck) and ask(url))
        said = log.read_text()
        assert re.search(rf"worker {stuck} has been stuck for \d+ s, in\n", said)
        assert "never_ends" in said
        assert process.poll() is None


def test_workers_that_can_not_start_end_the_supervisor(tmp_path: Path) -> None:
    with workers(tmp_path, 1, source="raise ImportError('no model here')") as (process, _, log):
        assert process.wait(120) == 1
        assert "no model here" in log.read_text()
        assert "3 workers ended one after the other before they could serve" in log.read_text()


def test_what_is_wrong_with_the_command_is_said_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from stretto.cli.main import cli; cli()", "serve", "--workers", "1"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run([*command, "app:app", "--port", port], cwd=tmp_path, text=True, capture_output=True)
    assert (ended.returncode, ended.stderr) == (
        1,
        f"Error: can't listen on 127.0.0.1, port {port}: Address already in use\n",
    )
    ended = subprocess.run([*command, "nothing:here", "--port", "0"], cwd=tmp_path, text=True, capture_output=True)
    assert ended.returncode == 1
    assert "Error: 'nothing:here': there is no module 'nothing'" in ended.stderr
    assert "Traceback" not in ended.stderr
