"""The tutorial runs as it stands in the examples, on a real Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import iris_tutorial


@pytest.mark.usefixtures("ray_cluster")
async def test_the_tutorial_answers_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part of the tutorial runs, and its answers are those of the original."""
    said = await iris_tutorial.main(tmp_path)
    assert said["one model"] == "setosa"
    assert said["endpoints"] == ["setosa", "setosa"]
    assert said["ensemble"] == {"logistic": "setosa", "svm": "setosa"}
    assert said["both ways"] == ({"logistic": "setosa", "svm": "setosa"},) * 3
    assert said["custom"] == {"answer": "setosa", "agreed": True, "logistic": "setosa", "svm": "setosa"}
    handle_calls, together = said["side by side"]
    assert handle_calls == 2
    assert together > 0
    shown = capsys.readouterr().out
    assert "Client(serve://logistic:v1 at http://127.0.0.1:" in shown
    assert "<Submission to serve://logistic:v1" in shown


def test_the_validation_figure_is_honest() -> None:
    """The model is right on most rows it has not seen, as one fitted to shuffled targets could not be."""
    _, accuracy, _ = iris_tutorial.train()
    assert accuracy > 0.85
