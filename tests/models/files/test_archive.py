"""``.skops`` files: what they ask for is said, and they unpack to no more than a file of their size may."""

import json
import zipfile

import numpy as np
import pytest
import scipy.stats
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from stretto import load_model, save_model
from stretto.errors import ModelError
from stretto.models.files import archive
from stretto.models.files.archive import types_in
from tests.fuzz_skops import objects, run

X, y = load_iris(return_X_y=True)
logistic = LogisticRegression(max_iter=1000).fit(X, y)


def rewritten(path, changes):
    """Write a zip archive again, with other members."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path


def test_types_are_safe_checked_or_unknown(tmp_path):
    ranks = make_pipeline(FunctionTransformer(scipy.stats.zscore), DecisionTreeClassifier()).fit(X, y)
    words = types_in(save_model(ranks, tmp_path / "m.skops"))
    assert words["sklearn.pipeline.Pipeline"] == "safe"
    assert words["sklearn.tree._tree.Tree"] == "checked"
    assert [name for name, word in words.items() if word == "unknown"] == ["scipy.stats._stats_py.zscore"]


def test_a_list_of_trusted_types_may_be_a_file(tmp_path):
    path = save_model(make_pipeline(FunctionTransformer(scipy.stats.zscore)).fit(X, y), tmp_path / "m.skops")
    allowed = tmp_path / "trusted.json"
    allowed.write_text(json.dumps(["scipy.stats._stats_py.zscore"]))
    assert load_model(path, trusted=allowed).estimator.transform(X).shape == X.shape
    assert load_model(path, trusted="scipy.stats._stats_py.zscore")
    for text in ("{}", "[1]", "[", ""):
        allowed.write_text(text)
        with pytest.raises(ModelError, match="should hold a JSON list of types"):
            load_model(path, trusted=str(allowed))
    with pytest.raises(ModelError, match="there is no list of trusted types"):
        load_model(path, trusted="nowhere.json")


def test_a_file_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SMALL", 2**20)
    bomb = rewritten(save_model(logistic, tmp_path / "m.skops"), {"zeros.npy": bytes(2**25)})
    with pytest.raises(ModelError, match=r"its [\d,]+ bytes unpack to 33,\d+,\d+"):
        load_model(bomb)


def test_a_member_that_is_read_again_and_again_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SMALL", 2**20)
    skops.io.dump([np.zeros(50_000) for _ in range(100)], path := tmp_path / "m.skops")
    with zipfile.ZipFile(path) as old:
        schema, large = json.loads(old.read("schema.json")), [name for name in old.namelist() if name.endswith("npy")]
    for each in schema["content"]:
        each["file"] = large[0]
    with zipfile.ZipFile(path) as old:
        first = old.read(large[0])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("schema.json", json.dumps(schema))
        new.writestr(large[0], first)
    with pytest.raises(ModelError, match="unpack to 40,"):
        load_model(path)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff"])
def test_a_schema_that_is_none_is_refused(tmp_path, text):
    path = rewritten(save_model(logistic, tmp_path / "m.skops"), {"schema.json": text})
    with pytest.raises(ModelError, match=f"can't read {path}"):
        load_model(path)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"labels": 1}', b'{"signature": {"columns": 3}}'])
def test_a_record_that_is_none_is_refused(tmp_path, text):
    path = save_model(logistic, tmp_path / "m.skops", labels=["a", "b", "c"])
    rewritten(path, {"stretto.json": text})
    with pytest.raises(ModelError, match="beside the estimator is damaged"):
        load_model(path)


# Files made to do harm


def changed_schema(path, change):
    """Change the objects of a schema in place."""
    with zipfile.ZipFile(path) as old:
        schema = json.loads(old.read("schema.json"))
    for each in objects(schema):
        change(each)
    return rewritten(path, {"schema.json": json.dumps(schema).encode()})


@pytest.mark.parametrize("by_id", [False, True])
def test_nodes_that_are_a_single_number_end_no_process(tmp_path, by_id):
    tree = DecisionTreeClassifier().fit(X, y)
    tree.aside = np.float64(3).reshape(())
    path = save_model(tree, tmp_path / "m.skops")
    aside = []

    def change(each):
        if "aside" in each:
            aside.append(each["aside"])
        if each.get("__loader__") == "TreeNode":
            nodes = each["content"]["content"]["nodes"]
            if by_id:
                aside[0]["__id__"] = nodes["__id__"]
            else:
                nodes["file"] = aside[0]["file"]

    with pytest.raises(ModelError, match="a tree in it has no nodes"):
        load_model(changed_schema(path, change))


@pytest.mark.parametrize(
    ("name", "loader"), [("Tree", "LossNode"), ("Tree", "ConstructorFromReduceNode"), ("Tree", "TypeNode")]
)
def test_a_known_type_is_only_made_as_skops_makes_it(tmp_path, name, loader):
    def change(each):
        if each.get("__class__") == name:
            each["__loader__"] = loader

    path = save_model(DecisionTreeClassifier().fit(X, y), tmp_path / "m.skops")
    with pytest.raises(ModelError, match=f"{name} in it is a {loader}, and not a TreeNode"):
        load_model(changed_schema(path, change))


def test_mutated_files_are_refused_or_give_the_same_answers():
    assert run(200, show=lambda _: None) == []
