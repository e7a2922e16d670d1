"""`stretto demo` does its work in one go, and leaves no process whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psutil
import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def tag() -> Iterator[str]:
    """A mark in the environment by which a process and all it starts are known."""
    tag = uuid.uuid4().hex
    yield tag
    for process in _tagged(tag):
        process.kill()


def _tagged(tag: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("STRETTO_TEST_TAG") == tag and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _none_left(tag: str, seconds: float = 20.0) -> list[psutil.Process]:
    end = time.monotonic() + seconds
    while (left := _tagged(tag)) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def _demo(tag: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stretto", "demo", *options],
        env={**os.environ, "STRETTO_TEST_TAG": tag, "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_the_demo_shows_every_part_and_leaves_nothing(tag: str) -> None:
    """It exits 0, says what each part answered, and no process outlives it."""
    process = _demo(tag, "--seconds", "0.2")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    for part in ("train", "save", "one model", "endpoints", "handle", "ensemble", "side by side", "three ways"):
        assert f"✓ {part}" in output, output
    assert "2 handle calls inside Serve" in output
    assert "the same, {'logistic': 'setosa', 'svm': 'setosa'}" in output
    for way in ("in process", "by handle", "over HTTP"):
        assert way in output
    assert not _none_left(tag)


@pytest.mark.parametrize("after", ["train", "ensemble"])
def test_ctrl_c_at_any_moment_leaves_nothing(tag: str, after: str) -> None:
    """Interrupted while Ray starts, while something deploys, or in the middle, it ends and takes all with it."""
    with _demo(tag) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"✓ {after}"):
                break
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not _none_left(tag)


def test_kept_it_serves_until_it_is_ended(tag: str) -> None:
    """`--keep` says how to ask, the command line asks so, and SIGTERM ends all of it."""
    with _demo(tag, "--keep", "--seconds", "0.1") as process:
        assert process.stdout is not None
        url = ""
        for line in process.stdout:
            if line.startswith("Serving at "):
                url = line.split()[2].rstrip(".")
            if line.startswith("Ctrl-C"):
                break
        asked = _asked(url)
        process.send_signal(signal.SIGTERM)
        output = process.stdout.read()
    assert asked == '{"logistic":"setosa","svm":"setosa"}'
    assert process.returncode == 143, output
    assert not _none_left(tag)


def _asked(url: str) -> str:
    row = '{"sepal length": 1.2, "sepal width": 1.0, "petal length": 1.1, "petal width": 0.9}'
    command = [sys.executable, "-m", "stretto", "predict", url, row]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return asked.stdout.strip() or asked.stderr


def test_killed_outright_nothing_outlives_it(tag: str) -> None:
    """After `kill -9` of the command, what it had started ends by itself."""
    with _demo(tag, "--seconds", "0.2") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("✓ one model"):
                break
        process.kill()
    assert not _none_left(tag, seconds=60)
