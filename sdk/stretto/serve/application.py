"""From a compiled plan to the Serve application that runs it: an ingress, and a deployment for each deployed stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

from stretto.compiler import compile_plan
from stretto.engine.engine import describe
from stretto.errors import PipelineError
from stretto.pipeline import as_pipeline
from stretto.plan.nodes import Call, Node
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step
from stretto.serve.deployments import Ingress, StageReplica
from stretto.serve.direct_ingress import Address
from stretto.serve.options import ApplicationOptions, Settings
from stretto.serve.pickling import pickle_plan, reachable
from stretto.serve.ray import cloudpickled, declaring, serve
from stretto.serve.replicas import LANES

DEFAULTS: Mapping[str, Any] = {
    # Serve's default of 5 would make batches wait in the router; what is queued in a replica is bounded by its stages.
    "max_ongoing_requests": 1000,
    "health_check_period_s": 2.0,  # a replica that died is only then replaced; Serve's own default is 10
    # Seconds that a replica which is to stop waits before it looks whether calls are still under way; Serve's 2 and 20
    # make every replacement that slow.
    "graceful_shutdown_wait_loop_s": 0.2,
    "graceful_shutdown_timeout_s": 5.0,
}

ACTOR_DEFAULTS: Mapping[str, Any] = {"num_cpus": 0.1}
"""Serve's default of one CPU a replica does not fit three deployments on two cores. Below one CPU, Ray also sets
``OMP_NUM_THREADS=1``, so that replicas side by side do not fight over the cores with BLAS threads."""


def application(pipeline: Any, /, **options: Unpack[ApplicationOptions]) -> serve.Application:
    """Return the Serve application of a pipeline, for ``serve run module:app``, config files and `ray.serve.run`.

    `placement`, `profile` and `tokens` are as in `deploy`. The other options are Serve's for the deployment that takes
    the requests, such as ``num_replicas=2``; those of a step are arguments of `step` and `model`.

    Raises:
        PipelineError: the pipeline is built wrong, a part of it can't be sent to another process, or Serve has no such
            option.
    """
    whole, settings = as_pipeline(pipeline), Settings.of(options)
    plan = compile_plan(whole.plan(), settings.placement, settings.profile)
    return build(plan, whole.label, whole.text, settings)


def build(plan: Plan, name: str, text: str, settings: Settings, address: Address | None = None) -> serve.Application:
    """Return the application of a compiled plan; `text` is the pipeline as written.

    At `address` the replicas that take the requests answer HTTP themselves, next to Serve's proxy. Models of files go
    as paths where this process is connected to a Ray of which all nodes have the files, and as bytes elsewhere.

    Raises:
        PipelineError: a part of it can't be sent to another process, or Serve has no such option.
    """
    paths = reachable(plan)
    stages = {stage.deployment: stage for stage in _deployed(plan)}
    handles = {
        name: _deployment(StageReplica, name, stage.options).bind(_pickled(stage.plan, paths), name)
        for name, stage in stages.items()
    }
    lanes = {name: _lanes(stage) for name, stage in stages.items()}
    ingress = "ingress" if "ingress" not in stages else "ingress of " + name
    return _deployment(Ingress, ingress, settings.serve).bind(
        _pickled(_without_deployed(plan), paths),
        handles,
        lanes,
        describe(plan, name, text),
        tuple(settings.tokens),
        address,
    )


def _deployed(plan: Plan) -> Iterator[Stage]:
    for node in plan.walk():
        if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
            yield node.step


@dataclass(frozen=True, slots=True)
class _InAnotherProcess:
    """The function of a step in a stage with a deployment of its own, as the ingress holds it."""

    name: str

    def __call__(self, _: Any) -> Any:
        raise AssertionError(f"step {self.name!r} runs in a deployment of its own")


def _without_deployed(plan: Plan) -> Plan:
    """Return the plan without the models of deployed stages: they are neither sent to nor loaded in the ingress."""

    def without_function(node: Node) -> Node:
        if isinstance(node, Call) and isinstance(node.step, Step):
            step = node.step
            return replace(node, step=replace(step, fn=_InAnotherProcess(step.name), one=None, model=None, key=None))
        return node

    def without_functions(node: Node) -> Node:
        if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
            stage = node.step
            return replace(node, step=replace(stage, plan=stage.plan.rewrite(without_function), options={}))
        return node

    return plan.rewrite(without_functions)


def _deployment(cls: type, name: str, options: Mapping[str, Any]) -> Any:
    actor = {**ACTOR_DEFAULTS, **options.get("ray_actor_options", {})}
    # A "#" separates the parts of Serve's own names of replicas.
    fixed = {"name": name.replace("#", "-"), "ray_actor_options": actor}
    try:
        with declaring:
            deployment: Any = serve.deployment(cls)
            return deployment.options(**{**DEFAULTS, **options, **fixed})
    except (TypeError, ValueError) as error:
        raise PipelineError(f"Ray Serve rejects the options of {name!r}, {dict(options)}: {error}") from error


def _lanes(stage: Stage) -> int | None:
    """Return how many calls of a stage may be under way, or None where each request makes its own.

    Rows travel together only to where they are computed together: one that waits for something would delay the others.
    """
    if stage.plan.waits:
        return None
    replicas: Any = stage.options.get("num_replicas")
    if not isinstance(replicas, int):
        scaling: Any = stage.options.get("autoscaling_config") or {}
        most = scaling.get("max_replicas") if isinstance(scaling, Mapping) else getattr(scaling, "max_replicas", None)
        # Serve's own bound for "auto" is 100.
        replicas = most or (100 if replicas == "auto" else 1)
    return LANES * replicas


def _pickled(plan: Plan, paths: Collection[str]) -> bytes:
    try:
        return pickle_plan(plan, paths)
    except Exception as error:
        for step in plan.steps():
            try:
                cloudpickled(step.fn)
            except Exception as why:
                raise PipelineError(
                    f"step {step.name!r} can't be sent to Ray Serve, since it can't be pickled: {why}; create what its "
                    "function holds on the first call"
                ) from why
        raise PipelineError(f"the pipeline can't be sent to Ray Serve, since it can't be pickled: {error}") from error
