"""The program behind `stretto demo`."""

from pathlib import Path

# The tutorial is examples/iris_tutorial.py: a wheel has it in this folder (pyproject.toml), a checkout where it is.
__path__.append(str(Path(__file__).parents[3] / "examples"))
