"""Mutated ``.skops`` files: each is refused, or is a model that gives the original's answers; none ends the process.

    python -m tests.fuzz_skops --count 10000

Files are read in processes of their own, so that a crash is seen, with a limit of time and memory for each. A case is
made of its number alone: ``--first 1234 --count 1`` repeats one, and ``--keep FOLDER`` writes the files that fail.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from stretto import load_model, save_model
from stretto.errors import ModelError

SECONDS = 20.0
MEMORY = 8 * 2**30
WORKERS = 2
ANSWERS = ("predict", "predict_proba", "decision_function", "transform")
RECORD, SCHEMA = "stretto.json", "schema.json"

X, y = load_iris(return_X_y=True)
X, y = X[::3], y[::3]
WORDS = [f"{first} {second}" for first in ("good", "bad", "long") for second in ("film", "book", "play", "song")]
COLUMNS = pd.DataFrame({"c": ["x", "y", "z"] * 16, "n": [1, 2] * 24})
EXTREME = [0, 1, -1, 2, 7, 255, 256, 2**31 - 1, -(2**31), 2**62, -(2**62), 10**6]


def originals() -> Iterator[tuple[Any, Any, Any]]:
    """Yield estimators that are not fitted, each with its rows and their targets."""
    for estimator in (
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(3, random_state=0),
        ExtraTreesRegressor(3, random_state=0),
        BaggingClassifier(n_estimators=2, max_features=0.5, random_state=0),
        IsolationForest(n_estimators=3, random_state=0),
        GradientBoostingClassifier(n_estimators=2, random_state=0),
        GradientBoostingRegressor(n_estimators=2, random_state=0),
        HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2, random_state=0),
        KNeighborsClassifier(algorithm="kd_tree", leaf_size=4),
        KNeighborsRegressor(algorithm="ball_tree", leaf_size=4),
        KNeighborsClassifier(algorithm="brute"),
        make_pipeline(StandardScaler(), SVC(random_state=0)),
        SVR(),
        KMeans(3, n_init=1, random_state=0),
        make_pipeline(StandardScaler(), PCA(2), LogisticRegression()),
        GaussianNB(),
    ):
        yield estimator, X, y
    yield make_pipeline(TfidfVectorizer(), LogisticRegression()), WORDS, [0, 1] * 6
    yield make_pipeline(OneHotEncoder(), LogisticRegression()), COLUMNS, [0, 1] * 24


@dataclass(frozen=True)
class Finding:
    """A case that went wrong: its number, the original, and what was seen."""

    case: int
    original: str
    what: str


# Mutations


def members(content: bytes) -> dict[str, bytes]:
    """Return the members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(content: dict[str, bytes]) -> bytes:
    """Return a zip archive of members, with their right checksums."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    return stream.getvalue()


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes of which a few are others."""
    changed = bytearray(content)
    for at in rng.integers(len(changed), size=rng.integers(1, 6)) if changed else ():
        changed[at] = rng.integers(256)
    return bytes(changed)


def other_bytes(content: dict[str, bytes], rng: np.random.Generator) -> None:
    """Change bytes of one member."""
    name = rng.choice(sorted(content))
    content[name] = flipped(content[name], rng)


def shorter(content: dict[str, bytes], rng: np.random.Generator) -> None:
    """Cut one member short, or take it away."""
    name = rng.choice(sorted(content))
    kept = int(rng.integers(len(content[name]) + 1))
    content[name] = content[name][:kept]
    if not kept:
        del content[name]


def swapped(content: dict[str, bytes], rng: np.random.Generator) -> None:
    """Put one array in the place of another."""
    names = sorted(name for name in content if name.endswith((".npy", ".npz")))
    if names:
        one, other = rng.choice(names, size=2)
        content[one] = content[other]


def other_array(content: dict[str, bytes], rng: np.random.Generator) -> None:
    """Change values, the type or the shape of one array."""
    names = sorted(name for name in content if name.endswith(".npy"))
    if not names:
        return
    name = rng.choice(names)
    try:
        array = np.load(io.BytesIO(content[name]), allow_pickle=False)
    except Exception:
        return
    array = mutated(array, rng)
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    content[name] = stream.getvalue()


def mutated(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an array with other values, or of another type or shape."""
    how = rng.integers(8)
    if how == 0 and array.dtype.names is None:
        kind = rng.choice(["<f8", "<f4", "<i8", "<i4", "|u1", "|b1", ">i8"])
        with np.errstate(all="ignore"):
            return array.astype(kind) if array.dtype.kind in "biuf" else array
    if how == 1:
        return array.ravel() if rng.integers(2) else array[..., None]
    if how == 2 and array.ndim:
        axis = int(rng.integers(array.ndim))
        return (
            np.repeat(array, 2, axis=axis) if rng.integers(2) else np.take(array, range(array.shape[axis] // 2), axis)
        )
    array = array.copy()
    target = array[rng.choice(array.dtype.names)] if array.dtype.names else array
    flat = target.reshape(-1) if target.flags.c_contiguous else target
    for at in rng.integers(len(flat), size=rng.integers(1, 4)) if flat.ndim and len(flat) else ():
        value: Any = rng.choice([*EXTREME, len(flat), len(flat) - 1, int(rng.integers(-9, 99))])
        if flat.dtype.kind == "f" and rng.integers(2):
            value = rng.choice([np.nan, np.inf, -np.inf, 1e308, 0.5])
        with np.errstate(all="ignore"):
            flat[at] = np.asarray(value).astype(flat.dtype) if flat.dtype.kind in "biuf" else flat[at]
    return array


def other_schema(content: dict[str, bytes], rng: np.random.Generator) -> None:
    """Change, replace or take away one thing in the schema."""
    try:
        schema = json.loads(content[SCHEMA])
    except (KeyError, ValueError):
        return
    places = [(holder, key) for holder in objects(schema) for key in holder]
    holder, key = places[rng.integers(len(places))]
    other, other_key = places[rng.integers(len(places))]
    match int(rng.integers(5)):
        case 0:
            del holder[key]
        case 1:
            holder[key] = copy.deepcopy(other[other_key])
        case 2:
            same = [(each, name) for each, name in places if name == key]
            other, other_key = same[rng.integers(len(same))]
            holder[key] = copy.deepcopy(other[other_key])
        case 3:
            numbers = [each for each, name in places if name == "content" and isinstance(each[name], str)]
            if numbers:
                values = [*map(str, EXTREME), "null", "true", "1e400", '"x"', "[]", "{}", "-0.5", "NaN"]
                numbers[rng.integers(len(numbers))]["content"] = str(rng.choice(values))
        case _:
            holder[key] = [None, 3, "x", [], {}, True, -1][rng.integers(7)]
    content[SCHEMA] = json.dumps(schema).encode()


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a schema."""
    if isinstance(schema, dict):
        yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from objects(each)


MUTATIONS: tuple[Callable[[dict[str, bytes], np.random.Generator], None], ...] = (
    other_bytes, shorter, swapped, other_array, other_array, other_array, other_array, other_schema, other_schema,
)  # fmt: skip


def mutation(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file of which something is another."""
    match int(rng.integers(10)):
        case 0:
            return flipped(content, rng)
        case 1:
            # What it holds beside the estimator: without its probes nothing shows that the rest has changed.
            found = members(content)
            found[RECORD] = flipped(found[RECORD], rng)
            return packed(found)
        case _:
            found = members(content)
            record = found.pop(RECORD)
            for _ in range(rng.integers(1, 3)):
                if found:
                    MUTATIONS[rng.integers(len(MUTATIONS))](found, rng)
            return packed({**found, RECORD: record})


# One case


def case(number: int, files: list[tuple[Path, Any]], folder: Path) -> tuple[str, str]:
    """Return the original of a case, and what became of it: "refused", "equal", or what went wrong."""
    original, rows = files[number % len(files)]
    path = folder / f"{number}.skops"
    path.write_bytes(mutation(original.read_bytes(), np.random.default_rng(number)))
    result = outcome(path, original, rows)
    path.unlink()
    return original.stem, result


def outcome(path: Path, original: Path, rows: Any) -> str:
    """Return what reading a file, and asking its model, comes to."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model = load_model(path).estimator
        except ModelError:
            return "refused"
        except Exception as error:
            return f"raised {type(error).__name__}: {error}"
        expected = load_model(original).estimator
        try:
            kinds = [name for name in ANSWERS if hasattr(expected, name)]
            same = np.allclose(answers(model, kinds, rows), answers(expected, kinds, rows), equal_nan=True)
        except Exception as error:
            return f"answers with {type(error).__name__}: {error}"
        if isinstance(rows, np.ndarray):
            for each in (
                np.full_like(rows, 1e30),
                -rows,
                np.full_like(rows, np.nan),
                rows[:1],
                rows.astype(np.float32),
            ):
                try:
                    answers(model, kinds, each)
                except Exception:  # what it does not take it may refuse
                    continue
    return "equal" if same else "answers differ"


def answers(model: Any, kinds: list[str], rows: Any) -> np.ndarray:
    """Return the answers of a model, of several kinds, side by side."""
    found = [np.asarray(getattr(model, name)(rows)) for name in kinds]
    return np.concatenate([each.reshape(len(each), -1).astype(float) for each in found], axis=1)


def work(pipe: Connection, folder: Path) -> None:
    """Answer the numbers of cases with what became of them."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    files = list(written(folder))
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        pipe.send(case(number, files, folder))


def written(folder: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the files of the originals, which are written where they are missing."""
    for at, (estimator, rows, target) in enumerate(originals()):
        path = folder / f"{at:02}-{type(estimator).__name__}.skops"
        if not path.exists():
            estimator.fit(rows, target)
            save_model(estimator, path, probes=rows, features=rows if not isinstance(rows, list) else None)
        yield path, rows


class Worker:
    """A process that takes cases, and is replaced when one ends it or takes too long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=work, args=(there, self.folder), daemon=True)
        self.process.start()
        there.close()
        self.pipe.recv()

    def run(self, number: int) -> tuple[str, str]:
        """Return the original of a case, and what became of it."""
        self.pipe.send(number)
        try:
            if self.pipe.poll(SECONDS):
                return self.pipe.recv()
            said = f"took more than {SECONDS:g} s"
        except (EOFError, OSError):
            self.process.join()
            said = f"ended the process with {self.process.exitcode}"
        self.close()
        self._start()
        return "", said

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(count: int, first: int = 0, keep: Path | None = None, show: Callable[[str], Any] = print) -> list[Finding]:
    """Run cases, and return those that went wrong."""
    counts: Counter[str] = Counter()
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = list(written(folder))

        def share(part: int) -> None:
            worker = Worker(folder)
            for number in range(first + part, first + count, WORKERS):
                original, result = worker.run(number)
                counts[result if result in ("refused", "equal") else "wrong"] += 1
                if result not in ("refused", "equal"):
                    stem = original or files[number % len(files)][0].stem
                    findings.append(Finding(number, stem, result))
                    show(f"case {number} ({stem}): {result[:300]}")
                    if keep is not None:
                        source = files[number % len(files)][0].read_bytes()
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{number}.skops").write_bytes(mutation(source, np.random.default_rng(number)))
            worker.close()

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(share, range(WORKERS)))
    show(", ".join(f"{kind}: {number}" for kind, number in sorted(counts.items())))
    return sorted(findings, key=lambda each: each.case)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    findings = run(options.count, options.first, options.keep)
    print(f"{options.count} files in {time.perf_counter() - start:.0f} s")
    sys.exit(bool(findings))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
