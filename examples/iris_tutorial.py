"""The Ray Serve tutorial "scikit-learn and model compositions", whole, the Stretto way.

Run it with ``python examples/iris_tutorial.py``: it starts a Ray of its own on this machine, and stops it at the end.
The parts are functions of `stretto._demo.tutorial`; ``docs/tutorial.md`` shows each, and explains it.
"""

import asyncio
import tempfile
from pathlib import Path

from stretto._demo.tutorial import main

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(asyncio.run(main(Path(name))))
