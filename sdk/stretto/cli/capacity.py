"""``stretto plan --rate``: the cheapest deployment that holds it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec

from stretto.compiler import Profile
from stretto.observe.capacity import Capacity, cheapest
from stretto.observe.profile import profile
from stretto.observe.simulated_serve import INGRESS
from stretto.pipeline import Pipeline
from stretto.serve.cluster import local_ray
from stretto.wire import decode_json, encode_json


async def measured(pipeline: Pipeline[Any, Any], rows: Path) -> Profile:
    """Return the profile of a pipeline on the rows of a file.

    Calls are measured on the Ray that is there, or on one that is started for it.
    """
    value = _read(rows)
    async with local_ray():
        return await profile(pipeline, value if isinstance(value, list) else [value])


def write_profile(measures: Profile, path: Path) -> None:
    """Write a profile as JSON."""
    path.write_bytes(encode_json(asdict(measures)))


def read_profile(path: Path) -> Profile:
    """Return the profile that `write_profile` has written."""
    try:
        return msgspec.convert(_read(path), Profile)
    except msgspec.ValidationError as error:
        raise click.ClickException(f"{path} is no profile, as --rows and --profile write it: {error}") from error


def _read(path: Path) -> Any:
    try:
        return decode_json(path.read_bytes())
    except Exception as error:
        raise click.ClickException(f"{path} can't be read as JSON: {error}") from error


async def print_cheapest(
    pipeline: Pipeline[Any, Any], measures: Profile, rate: float, p99: float, cores: int | None
) -> bool:
    """Print the cheapest deployment, and return whether it holds the rate."""
    capacity = await cheapest(pipeline, measures, rate=rate, p99=p99, cores=cores)
    click.echo(_described(capacity, rate, p99))
    return capacity.holds


def _described(capacity: Capacity, rate: float, p99: float) -> str:
    """Return what to pass to `deploy`, and what it does."""
    goal = f"{rate:,g} rows/s with a p99 of {p99 * 1e3:g} ms"
    head = f"{goal}: the cheapest that holds it" if capacity.holds else f"nothing holds {goal}; the best there is"
    replicas = dict(capacity.replicas)
    extra = ", profile=profile" if capacity.placement == "auto" else ""
    options = [f"deploy(..., placement={capacity.placement!r}, num_replicas={replicas.pop(INGRESS)}{extra})"]
    options += [f"step {name!r}: num_replicas={number}" for name, number in replicas.items()]
    return "\n".join([f"{head}:", "", *(f"    {line}" for line in options), "", str(capacity.simulation)])
