"""``python -m tests.benchmarks.scale``: what bounds many replicas, simulated with the calls of one machine."""

from __future__ import annotations

import asyncio

import click

from stretto import Profile, simulate, step

CALLS = {"hop": 0.0032, "caller": (0.0018, 3e-5), "replica": (0.0014, 2.4e-5), "client": 1.5e-5}
"""As `stretto.profile` found on two cores: 1.8 ms of the caller and 1.4 ms of the replica, and microseconds a row."""
CORES = 20_000
"""More than are used, so that none is waited for."""
CASES = [
    *(
        ("light", 0.0003, 5e-6, replicas, clients, 3.0 if replicas == 1000 else 0.5)
        for replicas in (10, 100, 1000)
        for clients in (1, 10)
    ),
    *(("heavy", 0.02, 0.02, replicas, clients, 5.0) for replicas in (10, 100) for clients in (1, 10)),
]
"""A step, its seconds for a row alone and among 64, the replicas, the processes that ask, and the seconds simulated."""


async def main() -> None:
    """Print a line a case."""
    click.echo(
        f"{'step':8}{'replicas':>9}{'clients':>9}{'callers':>9}{'rows/s':>10}{'p50':>10}{'client':>8}{'replica':>9}"
    )
    for name, alone, together, replicas, clients, seconds in CASES:
        callers = max(1000, 4 * replicas)
        found = await simulate(
            step(lambda row: row, name=name),
            Profile({name: alone}, {name: together}, **CALLS),  # pyright: ignore[reportArgumentType]
            placement="fused",
            callers=callers,
            clients=clients,
            seconds=seconds,
            replicas={"ingress": replicas},
            cores=CORES,
        )
        client, ingress = (found.deployments[each].utilisation for each in ("client", "ingress"))
        figures = f"{found.per_second:>10,.0f}{1e3 * found.p50:>7.0f} ms{client:>8.0%}{ingress:>9.0%}"
        click.echo(f"{name:8}{replicas:>9,}{clients:>9}{callers:>9,}{figures}")


if __name__ == "__main__":
    asyncio.run(main())
