"""``stretto trust``: what a file asks for, and the list that allows it."""

import json
import pickle

import pytest
import scipy.stats
from click.testing import CliRunner
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from stretto import load_model, save_model
from stretto.cli import cli

X, y = load_iris(return_X_y=True)
RANKS = "scipy.stats._stats_py.zscore"


def run(*arguments):
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["trust", *map(str, arguments)])


def test_a_file_that_needs_no_trust_says_so(tmp_path):
    result = run(save_model(DecisionTreeClassifier().fit(X, y), tmp_path / "m.skops"))
    assert result.exit_code == 0
    assert "sklearn.tree._tree.Tree" in result.output
    assert "its arrays are checked" in result.output
    assert "It loads without trusted=." in result.output


def test_unknown_types_come_first_and_are_written_as_a_list_that_loads_the_file(tmp_path):
    path = save_model(make_pipeline(FunctionTransformer(scipy.stats.zscore)).fit(X, y), tmp_path / "m.skops")
    result = run(path, "-o", tmp_path / "trusted.json")
    lines = result.output.splitlines()
    assert RANKS in lines[1]
    assert f"trusted=['{RANKS}']" in result.output
    assert json.loads((tmp_path / "trusted.json").read_text()) == [RANKS]
    assert load_model(path, trusted=tmp_path / "trusted.json")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.pkl", pickle.dumps(1), "is a pickle: it can run any code"),
        ("m.skops", b"hello", "it is no skops file"),
        ("gone.skops", None, "there is no model file"),
    ],
)
def test_what_is_no_skops_file_is_said(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run(tmp_path / name)
    assert result.exit_code == 1
    assert says in result.output
