"""The benchmark runs, and what it finds are numbers. Nothing here is timed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.benchmarks.__main__ import main
from tests.benchmarks.compared import COST, RATE, Line, at_least, at_most
from tests.benchmarks.report import Report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What a quick run of the rows without Ray and wrk finds."""
    path: Path = tmp_path_factory.mktemp("benchmarks") / "quick.json"
    ended = CliRunner().invoke(
        main, ["--quick", "--only", "a,b,i,j,k,l,m", "--json", str(path)], catch_exceptions=False
    )
    assert ended.exit_code == 0, ended.output
    return Report.read(path)


def test_every_row_gives_finite_ratios(report: Report) -> None:
    """No line is missing, and none divides by nothing."""
    assert not report.failed
    assert {each.row for each in report.compared} == set("abijklm")
    for each in report.compared:
        assert math.isfinite(each.result.median), each
        assert each.result.low <= each.result.median <= each.result.high
        assert len(each.result.rounds) == report.rounds


def test_a_report_prints(report: Report) -> None:
    """The table has a row a comparison, in a terminal and on a page."""
    assert report.table().row_count == len(report.compared)
    head, rule, *lines = [line for line in report.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == len(report.compared)
    assert {line.count("|") for line in (head, rule, *lines)} == {8}


def test_goals_are_about_medians_of_ratios_round_by_round() -> None:
    """A ratio is taken within a round, where both contenders had the same machine."""
    figures = {
        "Stretto": [{"per_second": 10.0, "seconds": 1.0}, {"per_second": 20.0, "seconds": 2.0}],
        "by hand": [{"per_second": 1.0, "seconds": 4.0}, {"per_second": 4.0, "seconds": 4.0}],
    }
    faster = Line("a", "").compare(figures, RATE, "by hand", at_least(7.5))
    assert faster.result.rounds == [10.0, 5.0]
    assert faster.result.median == 7.5
    assert faster.reached
    costlier = Line("a", "").compare(figures, COST, "by hand", at_most(0.3))
    assert costlier.result.rounds == [0.25, 0.5]
    assert costlier.reached is False
