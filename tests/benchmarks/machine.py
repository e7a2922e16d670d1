"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from tests.benchmarks.peers import VERSIONS
from tests.benchmarks.processes import ROOT

PACKAGES = ("stretto", "ray", "scikit-learn", "numpy", "aiohttp", "fastapi", "uvicorn", "uvloop")


def machine(*, peers: bool) -> dict[str, str]:
    """Return the machine, the versions, the commit, and what of the environment changes how Serve runs."""
    told = {name: value for name, value in sorted(os.environ.items()) if name.startswith(("RAY_", "OMP_", "STRETTO_"))}
    return {
        "processors": str(os.cpu_count()),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _commit(),
        **{name: _version(name) for name in PACKAGES},
        **(VERSIONS if peers else {}),
        **told,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
