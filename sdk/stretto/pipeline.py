"""The notation: pipelines, `>>` and fan-outs, whose building runs nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar, cast, overload, runtime_checkable

from stretto.compiler import PipelinePlan, check, optimize
from stretto.errors import PipelineError
from stretto.models import Signature, default_name, in_order, is_estimator, model_step
from stretto.plan.nodes import Call, Input, Instead, Node, Pack
from stretto.plan.plan import Plan, substitute
from stretto.plan.steps import Step

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
X = TypeVar("X")
Y = TypeVar("Y")


@runtime_checkable
class Estimator(Protocol):
    """A fitted scikit-learn estimator, or an object with the same methods."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Fit the estimator."""
        ...

    def get_params(self, deep: bool = ...) -> dict[str, Any]:
        """Return its parameters by name."""
        ...


@dataclass(frozen=True, slots=True)
class ComposerCall:
    """The call of a composer that made a pipeline: the composer's name, and its arguments by parameter.

    Parts among the arguments are pipelines, and parameters that were left out have their defaults.
    """

    composer: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """One link of a composition.

    `lower` applies it to a node. `text` is how it is written, `label` the name of the part that answers. `alone`
    is the text of a pipeline that consists of it alone, where that differs. `call` is the call that made it.
    """

    lower: Callable[[Node], Node]
    text: str
    label: str
    alone: str = ""
    call: ComposerCall | None = None


class Pipeline(Generic[In, Out]):
    """A composition of parts: a function from a node to a node.

    A part is a model, a bare fitted estimator, a function (plain or ``async def``), another pipeline or its plan.
    In ``a >> b`` the answer of `a` is the input of `b`. Building a pipeline runs nothing; a `Client` runs it.

    Raises:
        PipelineError: the part is none of these.

    >>> def double(x: int) -> int:
    ...     return 2 * x
    >>> Pipeline(double) >> double
    Pipeline(double) >> double
    """

    __slots__ = ("_atoms", "_plan")
    _atoms: tuple[Atom, ...]
    _plan: PipelinePlan | None

    # To a type checker a pipeline is also a function between nodes: only as an overload of its own does it come first.
    @overload
    def __init__(self, part: Pipeline[In, Out], /) -> None: ...
    @overload
    def __init__(self, part: Callable[[In], Awaitable[Out] | Out], /) -> None: ...
    @overload
    def __init__(self: Pipeline[Any, Any], part: Estimator, /) -> None: ...
    def __init__(self, part: Any, /) -> None:
        whole = as_pipeline(part)
        self._atoms = (Atom(whole.__call__, f"Pipeline({whole.text})", whole.label, call=whole.call),)
        self._plan = None

    @classmethod
    def of(cls, *atoms: Atom) -> Self:
        """Return the pipeline that consists of these links, one after the other."""
        pipeline = cls.__new__(cls)
        pipeline._atoms, pipeline._plan = atoms, None
        return pipeline

    @property
    def label(self) -> str:
        """The name of its last part, which is the branch's name in a fan-out."""
        return self._atoms[-1].label

    @property
    def text(self) -> str:
        """The composition as it was written."""
        return " >> ".join(atom.text for atom in self._atoms)

    @property
    def signature(self) -> Signature | None:
        """What it takes: names, types, categories and ranges of the columns; None where nobody recorded it.

        It is that of the first model that reads the request, recorded by ``model(..., features=X)`` or read from its
        file.

        >>> import pandas
        >>> X = pandas.DataFrame({"rooms": [2, 5], "city": pandas.Categorical(["bonn", "ulm"])})
        >>> print(model(lambda rows: rows["rooms"], features=X, name="rooms").signature)
        frame of 2 columns
          rooms: int64, 2 to 5
          city: category of 2
        """
        models = (step.model.signature for step in self.plan().readers() if step.model is not None)
        return next((each for each in models if isinstance(each, Signature)), None)

    @property
    def call(self) -> ComposerCall | None:
        """The composer's call that made the pipeline; None where it was made in another way.

        >>> from stretto_composers import fallback
        >>> pipeline = fallback(abs, float)
        >>> pipeline.call.composer, list(pipeline.call.arguments.values())
        ('fallback', [abs, float])
        """
        return self._atoms[0].call if len(self._atoms) == 1 else None

    def __call__(self, node: Node) -> Node:
        """Apply the pipeline to a node of a plan under construction."""
        if not isinstance(cast("object", node), Node):
            raise PipelineError(
                f"{self!r} is applied to nodes of a plan, not to {node!r}: "
                "to predict write await Client(pipeline).predict(x)"
            )
        for atom in self._atoms:
            node = atom.lower(node)
        return node

    def plan(self) -> PipelinePlan:
        """Return the plan: the pipeline applied to a request's value."""
        if self._plan is None:
            start = Input()
            try:
                self._plan = PipelinePlan(start, self(start), self.text, self.label)
            except RecursionError as error:
                raise PipelineError("parts are nested too deep in each other: chain them with >>") from error
        return self._plan

    def optimize(self, sample: Any = None, *, engine: str = "onnx") -> Pipeline[In, Out]:
        """Return the pipeline with its models compiled by an engine, where that is possible and faster for one row.

        `sample` is rows that the pipeline takes, as for `Client.predict_many`. On these rows, and at the thresholds of
        trees, a compiled model must agree with its estimator: labels equal, numbers within a millionth of the largest.
        Without a sample rows are drawn. Functions are not run. `plan` shows the result for each model.

        Raises:
            Disagreement: a compiled model differs from its estimator; the error holds the rows.
            ModelError: a row of the sample is not what a model takes, or ``stretto[onnx]`` is not installed.
        """
        return grafted(optimize(check(self.plan()), sample, engine), self.text, self.label)

    @overload
    def __rshift__(self, other: Pipeline[Out, X]) -> Pipeline[In, X]: ...
    @overload
    def __rshift__(self, other: Callable[[Out], Awaitable[X] | X]) -> Pipeline[In, X]: ...
    @overload
    def __rshift__(self, other: Estimator) -> Pipeline[In, Any]: ...
    def __rshift__(self, other: Any) -> Pipeline[In, Any]:
        return Pipeline.of(*self._atoms, *as_pipeline(other)._atoms)

    @overload
    def __rrshift__(self, other: Callable[[X], Awaitable[In] | In]) -> Pipeline[X, Out]: ...
    @overload
    def __rrshift__(self, other: Estimator) -> Pipeline[Any, Out]: ...
    def __rrshift__(self, other: Any) -> Pipeline[Any, Out]:
        return Pipeline.of(*as_pipeline(other)._atoms, *self._atoms)

    def __repr__(self) -> str:
        return (self._atoms[0].alone if len(self._atoms) == 1 else "") or self.text

    def __bool__(self) -> bool:
        raise PipelineError(f"a pipeline has no truth value: {self!r} runs nothing until a Client predicts with it")

    def __iter__(self) -> Iterator[Any]:
        raise PipelineError(
            f"a pipeline can't be iterated: {self!r} is not a list of parts; "
            "to predict many rows use Client.predict_many"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return grafted, (self.plan(), self.text, self.label, self.call)


Part: TypeAlias = Pipeline[X, Y] | Estimator | Callable[[X], Awaitable[Y] | Y]
"""What can stand in a composition."""


def grafted(plan: Plan, text: str, label: str, call: ComposerCall | None = None) -> Pipeline[Any, Any]:
    """Return the pipeline that applies a copy of the plan's graph to a node."""
    return Pipeline.of(Atom(lambda node: substitute(plan.output, {plan.inputs[0]: node}), text, label, call=call))


def as_pipeline(part: Part[Any, Any]) -> Pipeline[Any, Any]:
    """Return the pipeline of anything that can stand in a composition.

    Raises:
        PipelineError: it can't.
    """
    if isinstance(part, Pipeline):
        return cast("Pipeline[Any, Any]", part)
    if isinstance(part, PipelinePlan):
        return grafted(part, part.written, part.label)
    if is_estimator(part):
        return _of_step(model_step(part), default_name(part))
    if isinstance(part, type) and hasattr(part, "fit") and hasattr(part, "get_params"):
        raise PipelineError(f"{part.__name__} is a class: give a fitted instance, such as {part.__name__}().fit(X, y)")
    if getattr(part, "_composes", False):
        name = _function_name(part)
        raise PipelineError(f"{name} is a composer, not yet a part: call it, as in {name}()")
    if isinstance(part, str | Path):
        raise PipelineError(f"{str(part)!r} is not a part; for the path of a saved model write model({str(part)!r})")
    if not callable(part):
        raise PipelineError(
            f"{part!r} can't stand in a pipeline: a part is a model, a fitted estimator, a function or a pipeline, "
            f"not a value of type {type(part).__name__}"
        )
    step = Step(fn=cast("Callable[..., Any]", part), name=_function_name(part), named=False)
    return _of_step(step, step.name)


def plan_of(part: Part[Any, Any]) -> Plan:
    r"""Return the plan of a part, for a node that holds work which may not be wanted.

    >>> plan_of(abs).text
    '%0 = Input()\n%1 = Call(%0) abs'
    """
    return as_pipeline(part).plan()


def _of_step(step: Step, text: str, alone: str = "") -> Pipeline[Any, Any]:
    return Pipeline.of(Atom(lambda node: Call((in_order(step, node),), step=step), text, step.name, alone))


def _function_name(fn: object) -> str:
    while isinstance(fn, functools.partial):
        fn = cast("functools.partial[Any]", fn).func
    name = getattr(fn, "__name__", None) or type(fn).__name__.lower()
    return "lambda" if name == "<lambda>" else name


def model(
    target: Any,
    *,
    name: str | None = None,
    features: Any = None,
    labels: Any = None,
    output: str = "predict",
    extra: Literal["forbid", "ignore"] = "forbid",
    trusted: bool | list[str] = False,
    strict: bool = False,
    mmap: bool = False,
    engine: str | None = None,
    sample: Any = None,
    **options: Any,
) -> Pipeline[Any, Any]:
    """Return a fitted estimator, or the path of a saved one, as a step.

    `target` is a fitted scikit-learn estimator, any object with `predict` or `transform`, a function of an array of
    shape (n_rows, n_features), or a path that ends in ``.skops`` or ``.onnx``, or with ``trusted=True`` in ``.joblib``
    or ``.pkl``, or of a folder that MLflow saved a model in; see `load_model` for `trusted`, `strict` and `mmap`. One
    path is read once in a process. With ``engine="onnx"`` ONNX Runtime computes the model, verified on the rows of
    `sample`, or on drawn ones. A row is a dict of named features in any order, a pandas series, or a sequence or a 1-d
    array of shape (n_features,) in the order of `features`; rows are a list of those, an array of shape (n_rows,
    n_features) or a data frame. Of a model of texts a row is a text.
    `features` are taken from the estimator where it was fitted with names. A data frame, an array or a series like that
    it was fitted on is recorded as its signature: names, types, categories and ranges, and what the estimator is given
    has these types, whatever form a row came in. `labels`, a list, an array or the path of a
    JSON file, name the classes in the order of ``classes_``. `output` is ``"predict"``, ``"proba"``, ``"label_proba"``,
    ``"decision"`` or ``"transform"``. A name in a row that is no feature is refused, since it may be misspelt, unless
    ``extra="ignore"``; columns of a frame that a ``ColumnTransformer`` leaves alone are left alone. `options` say where
    it runs on Ray Serve, in Serve's words: ``num_replicas=2``, ``ray_actor_options={"num_cpus": 1}``.

    Raises:
        ModelError: the estimator is not fitted, the file is missing, damaged or not trusted, names do not fit, or the
            engine can't compute it.
        Disagreement: the compiled model differs from the estimator.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> iris = load_iris()
    >>> fitted = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    >>> model(fitted, name="logistic", labels=iris.target_names)
    model(LogisticRegression(max_iter=1000), name='logistic')
    """
    if isinstance(target, Pipeline):
        raise PipelineError(f"{target!r} is a pipeline already: use it as it is")
    step = model_step(
        target,
        name=name,
        features=features,
        labels=labels,
        output=output,
        extra=extra,
        trusted=trusted,
        strict=strict,
        mmap=mmap,
        engine=engine,
        sample=sample,
        options=options,
    )
    return _of_step(step, step.name, f"model({step.fn!r}, name={step.name!r})")


def step(
    fn: Callable[[X], Awaitable[Y] | Y],
    /,
    *,
    name: str | None = None,
    vectorized: bool = False,
    blocking: bool = False,
    pure: bool = False,
    idempotent: bool = True,
    **options: Any,
) -> Pipeline[X, Y]:
    """Return a function as a step, when a bare function is not enough.

    With `vectorized` the function takes a batch: a list or an array with a row each, or after a fan-out a dict of them;
    and returns as many rows. A `blocking` one, which waits for a network or a disk, runs in a thread of its own. Equal
    calls of a `pure` one happen once. With ``idempotent=False``, as of a function that books or counts, clients do not
    send a request again that may have reached it. `options` are Ray Serve's deployment options, as in `model`.

    Raises:
        PipelineError: `fn` can't be called.

    >>> import numpy as np
    >>> step(np.sqrt, name="root", vectorized=True)
    root
    """
    if not callable(cast("object", fn)) or isinstance(fn, Pipeline):
        raise PipelineError(f"step() takes a function, got {fn!r}")
    wrapped = Step(
        fn=fn,
        name=name or _function_name(fn),
        vectorized=vectorized,
        blocking=blocking,
        pure=pure,
        key=("function", fn, vectorized, blocking, name) if pure and isinstance(cast("object", fn), Hashable) else None,
        options=options,
        named=name is not None,
        idempotent=idempotent,
    )
    return _of_step(wrapped, wrapped.name)


@overload
def parallel(*parts: Pipeline[X, Y], **named: Pipeline[X, Y]) -> Pipeline[X, dict[str, Y]]: ...
@overload
def parallel(*parts: Pipeline[Any, Any], **named: Pipeline[Any, Any]) -> Pipeline[Any, dict[str, Any]]: ...
@overload
def parallel(
    *parts: Callable[[X], Awaitable[Y] | Y], **named: Callable[[X], Awaitable[Y] | Y]
) -> Pipeline[X, dict[str, Y]]: ...
@overload
def parallel(*parts: Part[Any, Any], **named: Part[Any, Any]) -> Pipeline[Any, dict[str, Any]]: ...
@overload
def parallel(*parts: Part[Any, Any], on_error: Any, **named: Part[Any, Any]) -> Pipeline[Any, dict[str, Any]]: ...
def parallel(*parts: Any, on_error: Any = "raise", **named: Any) -> Pipeline[Any, dict[str, Any]]:
    """Run every part on the same value, side by side, and return a dict keyed by branch name, in the order written.

    A positional branch is keyed by the name of its last part. Where a branch fails, the row fails; with
    ``on_error="omit"`` its dict is without that branch, and with any other value it has that value there. What a branch
    refuses as bad input stays refused.

    Raises:
        PipelineError: there is no branch, two have one name, or `on_error` is a part.

    >>> parallel(low=min, high=max)
    parallel(low=min, high=max)
    >>> import asyncio
    >>> from stretto import Client
    >>> async def main():
    ...     async with Client(parallel(half=lambda x: x / 2, inverse=lambda x: 1 / x, on_error=None)) as client:
    ...         return await client.predict(0)
    >>> asyncio.run(main())
    {'half': 0.0, 'inverse': None}
    """
    policy = _on_error(on_error)
    branches: dict[str, Pipeline[Any, Any]] = {}
    for key, part in (*(("", part) for part in parts), *named.items()):
        branch = as_pipeline(part)
        name = key or branch.label
        if name in branches:
            raise PipelineError(f"two branches are named {name!r}: name them, as in parallel(first=..., second=...)")
        branches[name] = branch
    if not branches:
        raise PipelineError("parallel() needs at least one branch")

    def lower(node: Node) -> Node:
        nodes = tuple(branch(node) for branch in branches.values())
        return Pack(nodes, names=tuple(branches), on_error=policy, name="parallel")

    shown = [branch.text for branch in list(branches.values())[: len(parts)]]
    shown += [f"{key}={branches[key].text}" for key in named]
    shown += [] if policy == "raise" else [f"on_error={policy!r}"]
    return Pipeline.of(Atom(lower, f"parallel({', '.join(shown)})", "parallel"))


def _on_error(on_error: Any) -> Literal["raise", "omit"] | Instead:
    if isinstance(on_error, Pipeline) or callable(on_error) or is_estimator(on_error):
        raise PipelineError(
            f"parallel(on_error={shown(on_error)}): it says what becomes of a failed branch: 'raise', 'omit', or a "
            "value to put there; a branch of that name goes first, as in parallel(step(fn, name='on_error'))"
        )
    return on_error if isinstance(on_error, str) and on_error in ("raise", "omit") else Instead(on_error)


def shown(value: Any) -> str:
    """Return a value as it was written in a composition."""
    if isinstance(value, Pipeline):
        return cast("Pipeline[Any, Any]", value).text
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return "{" + ", ".join(f"{shown(key)}: {shown(each)}" for key, each in pairs) + "}"
    if type(value) in (list, tuple):
        inside = ", ".join(map(shown, cast("list[Any]", value)))
        return f"[{inside}]" if isinstance(value, list) else f"({inside},)" if len(value) == 1 else f"({inside})"
    return _function_name(value) if inspect.isroutine(value) or isinstance(value, type) else repr(value)
