"""``python -m tests.benchmarks``: Stretto and the baselines, in turn, as ratios.

Next to them the goals of the project. wrk must be installed for the rows over HTTP.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from tests.benchmarks.groups import measure_rows, measure_sweep
from tests.benchmarks.machine import machine
from tests.benchmarks.report import Report
from tests.benchmarks.settings import Settings

ROWS = "abcdefghijklmn"
QUICK = {"rounds": 2, "seconds": 0.2, "share": 0.05}


def _rows(_: click.Context, __: click.Parameter, value: str) -> frozenset[str]:
    rows = frozenset(value.replace(",", "").replace(" ", ""))
    if not rows <= set(ROWS):
        raise click.BadParameter(f"there is no row {''.join(sorted(rows - set(ROWS)))!r}; rows are a to n")
    return rows


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rounds", default=5, help="How often each figure is measured, in turn.")
@click.option("--seconds", default=2.0, help="How long each figure is measured; wrk takes whole seconds.")
@click.option("--only", default=ROWS, callback=_rows, help="The rows of the table of goals to measure, as in a,b,i.")
@click.option(
    "--peers", is_flag=True, help="LitServe and BentoML too, in environments that are made when they are missing."
)
@click.option("--quick", is_flag=True, help="A smoke run: two short rounds, small sizes. Its figures say nothing.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Measure against callers too, and draw it here."
)
@click.option("--plot-only", is_flag=True, help="Measure nothing but what --plot draws.")
def main(
    rounds: int,
    seconds: float,
    only: frozenset[str],
    peers: bool,
    quick: bool,
    path: Path | None,
    plot: Path | None,
    plot_only: bool,
) -> None:
    """Measure Stretto and the same ensemble by hand and with other frameworks, in turn, and print ratios.

    Ends with 1 if something could not be measured.
    """
    sizes = QUICK if quick else {"rounds": rounds, "seconds": seconds}
    errors = Console(stderr=True)
    report = Report(machine(peers=peers), sizes["rounds"], sizes["seconds"])
    with errors.status("starting") as status:
        settings = Settings(**sizes, peers=peers, only=only, say=lambda text: _say(errors, status, text))
        try:
            asyncio.run(_measured(settings, report, rows=not plot_only, points=plot is not None))
        except (KeyboardInterrupt, asyncio.CancelledError):
            errors.print("interrupted; what was started is stopped")
            sys.exit(130)
    _show(report, path, plot)
    sys.exit(1 if report.failed else 0)


async def _measured(settings: Settings, report: Report, *, rows: bool, points: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    # SIGTERM ends it as Ctrl-C does: servers are stopped on the way out.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if rows:
        await measure_rows(settings, report)
    if points:
        await measure_sweep(settings, report)


def _say(console: Console, status: Status, text: str) -> None:
    if console.is_terminal:
        status.update(text)
    else:
        console.print(text, highlight=False)


def _show(report: Report, path: Path | None, plot: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    if report.compared:
        console.print(report.table(), highlight=False)
        console.print(
            f"[dim]medians of {report.rounds} rounds in turn, {report.seconds:g} s each, ratios round by round; "
            f"{report.machine['processors']} processors, Python {report.machine['python']}[/]"
        )
    if path is not None:
        report.write(path)
        console.print(f"written: {path}")
    if plot is not None and report.sweep:
        from tests.benchmarks.plot import draw

        draw(report.sweep, plot)
        console.print(f"drawn: {plot}")
    for name, reason in report.failed.items():
        console.print(f"[red]not measured[/]: {name}: {escape(reason)}", highlight=False)


if __name__ == "__main__":
    main()
