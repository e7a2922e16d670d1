"""A composer of another package, installed from its own pyproject, is found and proven from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "examples" / "plugin"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the plug-in is installed in, beside what is there."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(PLUGIN)]
    subprocess.run(pip, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Runs a Python module where the plug-in is installed."""

    def run(*args: str, also: Path | None = None) -> subprocess.CompletedProcess[str]:
        paths = [str(installed), *([str(also)] if also else []), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120"}
        command = [sys.executable, "-m", *args]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


def test_it_is_listed_with_its_sentence_and_its_package(run: Run) -> None:
    listed = run("stretto", "composers")
    assert listed.returncode == 0, listed.stderr
    (line,) = (line for line in listed.stdout.splitlines() if line.startswith(" veto"))
    assert "Return the answer of `main`, or of `instead` where the guard is false." in line
    assert "stretto-veto 0.1.0" in line


def test_its_own_tests_pass(run: Run) -> None:
    tested = run("pytest", "-q", "-p", "no:cacheprovider", "-c", str(PLUGIN / "pyproject.toml"), str(PLUGIN / "tests"))
    assert tested.returncode == 0, tested.stdout
    assert "3 passed" in tested.stdout


def test_two_packages_that_claim_one_name_are_named_both(run: Run, tmp_path: Path) -> None:
    thief = tmp_path / "thief-2.0.dist-info"
    thief.mkdir()
    (thief / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 2.0\n")
    (thief / "entry_points.txt").write_text("[stretto.composers]\nveto = thief:veto\n")
    listed = run("stretto", "composers", also=tmp_path)
    assert listed.returncode == 1
    assert "two packages have a composer named 'veto': stretto-veto 0.1.0 and thief 2.0" in listed.stderr
