"""Other serving frameworks, each in a virtual environment of its own, since their requirements fight with ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.processes import running

VERSIONS = {"litserve": "0.2.19", "bentoml": "1.4.39"}


def cache() -> Path:
    """Return the directory of the environments, outside the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stretto-benchmarks"


async def peer(name: str) -> Path:
    """Return the interpreter of a peer's environment; one that is not there, or of other versions, is made.

    Raises:
        RuntimeError: it can't be made.
    """
    home = cache() / name
    python = home / "bin" / "python"
    shared = [f"{each}=={version(each)}" for each in ("numpy", "scikit-learn")]
    wanted = [f"{name}=={VERSIONS[name]}", *shared]
    # Written at the very end, so that an environment left half made is not taken for a whole one.
    stamp = home / "installed.txt"
    if stamp.is_file() and stamp.read_text().split() == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    await _run(sys.executable, "-m", "venv", str(home))
    await _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
    stamp.write_text("\n".join(wanted))
    return python


async def _run(*command: str) -> None:
    async with running(command) as (process, log):
        async with asyncio.timeout(900):
            code = await process.wait()
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {log.read_text()[-2000:]}")
