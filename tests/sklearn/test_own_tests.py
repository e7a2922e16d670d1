"""scikit-learn's own tests of what `from_sklearn` takes apart: each answer in them is also given by Stretto.

They run as they are, with a plugin (`answering_too.py`) that asks again for what each outermost call of `predict`,
`predict_proba`, `decision_function` and `transform` has answered.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sklearn

LEAST = {
    "ensemble/tests/test_voting.py": 80,
    "ensemble/tests/test_stacking.py": 200,
    "tests/test_pipeline.py": 110,
    "compose/tests/test_column_transformer.py": 400,
}
"""How many answers are equal at least, of both ways, in each file."""

SLOW = (
    "test_feature_union_parallel or test_gridsearch or test_n_features_in_pipeline or test_parallel_fit or "
    "test_pipeline_memory or test_stacking_classifier_drop_column_binary_classification or "
    "test_stacking_classifier_stratify_default or test_stacking_with_sample_weight"
)
"""Tests of seconds each, of fitting in several processes and the like, which answer as others do."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", list(LEAST))
def test_answers_in_scikit_learns_own_tests_are_ours(file: str, tmp_path: Path) -> None:
    path = Path(sklearn.__file__).parent / file
    if not path.exists():
        pytest.skip(f"this build of scikit-learn has no {file}")
    tally = tmp_path / "tally.jsonl"
    here = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    options = ["-q", "-p", "answering_too", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={tmp_path}"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", f"not ({SLOW})", str(path)],
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, here)), "STRETTO_TALLY": str(tally)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    asked = [json.loads(line) for line in tally.read_text().splitlines()]
    wrong = [each for each in asked if each["kind"] in ("otherwise", "error")]
    assert not wrong, "\n".join(map(str, wrong))
    assert Counter(each["kind"] for each in asked)["equal"] >= LEAST[file]
