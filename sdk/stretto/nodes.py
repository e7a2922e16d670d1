"""What authors of composers build with: nodes, the protocols of `Join` and `Around`, and what is known of answers.

A composer is a function from a node to a node, made with `stretto.composer`. These are all the kinds of node there are.
"""

from stretto.models import Answers, Engine, answering, answers_of, rows_read
from stretto.pipeline import ComposerCall, Part, as_pipeline, plan_of
from stretto.plan.nodes import Around, Aside, Call, Choose, Each, Input, Instead, Join, Node, Pack, Recover, Sub, Within
from stretto.plan.plan import Plan
from stretto.plan.protocols import UNDECIDED, Body, Policy, Until
from stretto.plan.steps import Step

__all__ = [
    "UNDECIDED",
    "Answers",
    "Around",
    "Aside",
    "Body",
    "Call",
    "Choose",
    "ComposerCall",
    "Each",
    "Engine",
    "Input",
    "Instead",
    "Join",
    "Node",
    "Pack",
    "Part",
    "Plan",
    "Policy",
    "Recover",
    "Step",
    "Sub",
    "Until",
    "Within",
    "answering",
    "answers_of",
    "as_pipeline",
    "plan_of",
    "rows_read",
]
