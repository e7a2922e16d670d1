"""A pipeline's plan tells what the compiler makes of it."""

from __future__ import annotations

from rich.console import Console
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stretto import Profile, model, parallel, step
from stretto_composers import default, fallback, switch, vote
from tests.cases import add_one, invert, iris_model, negative


def _two():
    return parallel(iris_model("logistic"), iris_model("svm"))


def test_a_fused_plan_is_one_stage_and_costs_no_handle_call() -> None:
    """All in one process: the tree has one stage, and nothing is called inside Serve."""
    explained = _two().plan().explain("fused")
    assert [branch.kind for branch in explained.tree.branches] == ["stage"]
    assert explained.deployments == ()
    assert explained.calls == (0, 0)


def test_a_split_plan_names_its_deployments_and_says_why() -> None:
    """A deployment a model, two handle calls, and the reason beside each."""
    explained = _two().plan().explain("split")
    assert explained.deployments == ("logistic", "svm")
    assert explained.calls == (2, 2)
    assert str(explained).count("placement='split' gives each model a deployment") == 2


def test_a_profile_moves_out_what_costs_more_than_a_hop() -> None:
    """By 'auto' a step whose measured cost is above a hop's gets a deployment, and the figures are said."""
    profile = Profile(steps={"logistic": 0.0001, "svm": 0.02}, hop=0.004)
    explained = _two().plan().explain("auto", profile)
    assert explained.deployments == ("svm",)
    assert "takes 20 ms a row, more than a hop (4 ms)" in str(explained)


def test_handle_calls_are_counted_from_the_best_to_the_worst_case() -> None:
    """A branch not taken and a spare not needed cost nothing; the range says so."""
    hosted = step(invert, name="hosted", num_replicas=1)
    assert fallback(hosted, step(invert, name="spare", num_replicas=1)).plan().explain().calls == (1, 2)
    assert switch(negative, {True: hosted, False: invert}).plan().explain().calls == (0, 1)


def test_a_vote_needs_the_members_that_make_up_half_of_the_weight() -> None:
    """Two of three, three of five; one where it outweighs the rest; all where each answer is wanted."""
    hosted = {f"m{i}": step(invert, name=f"m{i}", num_replicas=1) for i in range(5)}
    three = dict(list(hosted.items())[:3])
    assert vote(*three.values()).plan().explain().calls == (2, 3)
    assert vote(*hosted.values()).plan().explain().calls == (3, 5)
    assert vote(*three.values(), weights=[5, 1, 1]).plan().explain().calls == (1, 3)
    assert (parallel(**three) >> vote()).plan().explain().calls == (2, 3)
    assert parallel(**three).plan().explain().calls == (3, 3)


def test_it_prints_everywhere() -> None:
    """As text, by rich, and as a picture; a plan that does not compile says why."""
    plan = (parallel(iris_model("logistic"), add_one) >> len).plan()
    assert "├── logistic  (LogisticRegression(max_iter=1000))" in repr(plan)
    assert "└── add_one  (awaited)" in repr(plan)
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(plan)
    assert "logistic  LogisticRegression(max_iter=1000)" in console.export_text()
    assert "<b>logistic</b>" in (plan._repr_html_() or "")
    twice = parallel(a=step(invert, name="x"), b=step(abs, name="x")).plan()
    assert "it does not compile: two steps are named 'x'" in repr(twice)


def test_a_picture_shows_what_was_written() -> None:
    """Branches stand in their fan-out under their names, also where they run in stages of their own."""
    plan = (parallel(a=iris_model("logistic"), b=parallel(add_one, c=invert)) >> len).plan()
    lines = [line.partition("  (")[0] for line in str(plan.explain()).splitlines()[1:8]]
    assert lines == [
        "├── parallel",
        "│   ├── a: logistic",
        "│   └── b: parallel",
        "│       ├── add_one",
        "│       └── c: invert",
        "└── len",
        "",
    ]


def test_a_picture_fits_a_terminal() -> None:
    """Whatever a part is called and however long its estimator prints: 100 columns."""
    names = [f"a model with a name of some length, number {i}" for i in range(9)]
    forest = RandomForestClassifier(n_estimators=5, max_depth=3, min_samples_leaf=2, random_state=0)
    fitted = make_pipeline(StandardScaler(with_mean=False), forest).fit([[0.0], [1.0]], [0, 1])
    plan = vote(*(model(fitted, name=name) for name in names)).plan()
    for placement in ("fused", "split"):
        assert max(map(len, str(plan.explain(placement)).splitlines())) <= 100


def test_an_estimator_is_shown_by_what_differs_from_its_defaults_or_by_its_parts() -> None:
    """A pipeline of scikit-learn whose parameters fill a screen is named by its steps."""
    columns = ColumnTransformer([(f"c{at}", StandardScaler(), [at]) for at in range(4)])
    forest = RandomForestClassifier(n_estimators=3, max_depth=5, min_samples_leaf=3, random_state=1)
    table = [[0.0, 1, 2, 3], [1, 0, 3, 2]]
    long = model(make_pipeline(columns, forest).fit(table, [0, 1]), name="long")
    short = model(RandomForestClassifier(n_estimators=3).fit(table, [0, 1]), name="short")
    text = str(parallel(long, short).plan())
    assert "long  (Pipeline(ColumnTransformer, RandomForestClassifier))" in text
    assert "short  (RandomForestClassifier(n_estimators=3))" in text


def test_what_a_composer_made_is_left_out_of_its_parts() -> None:
    """The value that stands in for a failure is no step of the user's: the part is named, and nothing is said of it."""
    assert "└── on failure\n" in str(default(add_one, 0).plan())
