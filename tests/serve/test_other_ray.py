"""A process that was connected to one Ray, and then to another, by its user."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
import ray
from stretto import deploy

async def main():
    async with deploy(lambda x: 2 * x, name="double") as client:
        print(await client.predict(21))

for _ in range(2):
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    asyncio.run(main())
    ray.shutdown()
"""


def test_serve_is_asked_anew_in_each() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200, check=False)
    assert ended.stdout.split() == ["42", "42"], ended.stderr
