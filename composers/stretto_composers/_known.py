"""What is known of a part before it runs."""

from __future__ import annotations

from stretto.nodes import Answers, Node, answers_of


def classifier(node: Node) -> Answers | None:
    """Return what is known of the model that a node's value comes from; None where it comes from something else."""
    answers = answers_of(node)
    return answers if answers.output else None
