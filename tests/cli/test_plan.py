"""``stretto plan``: with a rate and a time it finds the cheapest deployment that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stretto.cli.main import cli

APP = """
from stretto import Pipeline, parallel, step

def light(row):
    return row

def heavy(row):
    return row

ensemble = Pipeline(parallel(step(light), step(heavy, num_replicas=1)))
"""
COSTS = {"steps": {"light": 0.0001, "heavy": 0.02}, "hop": 0.001}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target of a pipeline in the working directory, with a file of what its steps cost."""
    monkeypatch.chdir(tmp_path)
    name = f"app_{tmp_path.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(APP)
    Path("costs.json").write_text(json.dumps(COSTS))
    return f"{name}:ensemble"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plan", *arguments])


def test_replicas_are_added_where_they_help_until_the_rate_is_held(app: str) -> None:
    """A step that takes 20 ms needs more than one replica for 150 rows a second, and nothing else does."""
    ended = run(app, "--rate", "150", "--p99", "200ms", "--profile", "costs.json", "--cores", "8")
    assert ended.exit_code == 0, ended.output
    head, _, deploy, heavy, *_ = ended.output.splitlines()
    assert head == "150 rows/s with a p99 of 200 ms: the cheapest that holds it:"
    assert deploy.strip() == "deploy(..., placement='fused', num_replicas=1)"
    assert heavy.strip() in {f"step 'heavy': num_replicas={number}" for number in (2, 3)}


def test_where_nothing_holds_the_best_is_printed_and_it_fails(app: str) -> None:
    ended = run(app, "--rate", "1000", "--p99", "0.1s", "--profile", "costs.json", "--cores", "1")
    assert ended.exit_code == 1
    assert ended.output.startswith("nothing holds 1,000 rows/s with a p99 of 100 ms; the best there is:")
    assert "deploy(..., placement='fused'" in ended.output


def test_a_profile_explains_the_placement_too(app: str) -> None:
    ended = run(app, "--profile", "costs.json")
    assert ended.exit_code == 0, ended.output
    assert "without a profile" not in ended.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rate", "5"], "--rate and --p99 belong together"),
        (["--p99", "5ms"], "--rate and --p99 belong together"),
        (["--rate", "5", "--p99", "5ms"], "--rate needs --rows, to measure what steps cost, or --profile"),
        (["--rate", "0", "--p99", "5ms"], "0.0 is not in the range x>0"),
        (["--rate", "5", "--p99", "5"], "'5' is no time: write 50ms or 0.05s"),
        (["--rate", "5", "--p99", "0ms"], "'0ms' is no time"),
        (["--rate", "5", "--p99", "5ms", "--profile", "none.json"], "none.json can't be read as JSON"),
        (["--rate", "5", "--p99", "5ms", "--profile", "wrong.json"], "wrong.json is no profile"),
        (["--rate", "5", "--p99", "5ms", "--profile", "other.json"], "does not say what step 'light' costs"),
    ],
)
def test_bad_input_is_told(app: str, options: list[str], message: str) -> None:
    Path("wrong.json").write_text('{"steps": {"light": "fast"}}')
    Path("other.json").write_text('{"steps": {"medium": 1.0}}')
    ended = run(app, *options)
    assert ended.exit_code != 0
    assert message in ended.output.replace("\n", " ")


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_measured_on_rows_is_kept(app: str) -> None:
    Path("rows.json").write_text("[1, 2]")
    ended = run(app, "--rows", "rows.json", "--profile", "new.json", "--rate", "200", "--p99", "1s")
    assert ended.exit_code == 0, ended.output
    kept = json.loads(Path("new.json").read_text())
    assert kept["rows"] == [1, 2]
    assert len(kept["hops"]) > 10
    again = run(app, "--profile", "new.json", "--rate", "200", "--p99", "1s")
    assert again.output == ended.output, "the same profile gives the same"
