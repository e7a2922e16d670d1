"""From a compiled plan to the Serve application that runs it: an ingress, and a deployment for each deployed stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
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
from stretto.serve.options import ApplicationOptions, serve_options
from stretto.serve.pickling import pickle_plan, reachable, version_of
from stretto.serve.ray import cloudpickled, declaring, serve
from stretto.serve.replicas import lanes_of

DEFAULTS: Mapping[str, Any] = {
    # Serve's default of 5 would make batches wait in the router; what is queued in a replica is bounded by its stages.
    "max_ongoing_requests": 1000,
    "health_check_period_s": 2.0,  # a replica that died is only then replaced; Serve's own default is 10
    # Seconds that a replica which is to stop waits before it looks whether calls are still under way; Serve's 2 and 20
    # make every replacement that slow.
    "graceful_shutdown_wait_loop_s": 0.2,
    "graceful_shutdown_timeout_s": 5.0,
}

NUM_CPUS = 0.1
"""The CPUs of a replica: Serve's default of one does not fit three deployments on two cores. Below one CPU, Ray also
sets ``OMP_NUM_THREADS=1``, so that replicas side by side do not fight over the cores with BLAS threads."""


def application(pipeline: Any, /, **options: Unpack[ApplicationOptions]) -> serve.Application:
    """Return the Serve application of a pipeline, for ``serve run module:app``, config files and `ray.serve.run`.

    `placement`, `profile` and `tokens` are as in `deploy`. The other options are Serve's for the deployment that takes
    the requests, such as ``num_replicas=2``; those of a step are arguments of `step` and `model`.

    Raises:
        PipelineError: the pipeline is built wrong, a part of it can't be sent to another process, or Serve has no such
            option.
    """
    whole = as_pipeline(pipeline)
    plan = compile_plan(whole.plan(), options.get("placement", "auto"), options.get("profile"))
    return build(plan, whole.label, whole.text, options)


def build(
    plan: Plan, name: str, text: str, options: ApplicationOptions, address: Address | None = None
) -> serve.Application:
    """Return the application of a compiled plan; `text` is the pipeline as written.

    At `address` the replicas that take the requests answer HTTP themselves, next to Serve's proxy. Models of files go
    as paths where this process is connected to a Ray of which all nodes have the files, and as bytes elsewhere.
    """
    paths = reachable(plan)
    steps = [node.step for node in plan.walk() if isinstance(node, Call)]
    stages = {step.deployment: step for step in steps if isinstance(step, Stage) and step.deployment}
    plans = {name: _pickled(stage.plan, paths) for name, stage in stages.items()}
    handles = {
        name: _deployment(StageReplica, name, stage.options).bind(plans[name], name) for name, stage in stages.items()
    }
    lanes = {name: lanes_of(stage) for name, stage in stages.items()}
    ingress = _deployment(
        Ingress, "ingress" if "ingress" not in stages else f"ingress of {name}", serve_options(options)
    )
    rest = _pickled(plan.rewrite(_without_models), paths)
    metadata = describe(plan, name, text)
    # What must not run twice runs with whatever version there is.
    versions = {name: version_of(each) for name, each in plans.items()} if metadata.idempotent else {}
    return ingress.bind(rest, handles, lanes, versions, metadata, tuple(options.get("tokens", ())), address)


def _without_models(node: Node) -> Node:
    """Return the node of a deployed stage without its models: they are neither sent to nor loaded in the ingress."""

    def without_function(inner: Node) -> Node:
        if isinstance(inner, Call) and isinstance(inner.step, Step):
            step = replace(inner.step, fn=partial(_elsewhere, inner.step.name), one=None, model=None, key=None)
            return replace(inner, step=step)
        return inner

    if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
        return replace(node, step=replace(node.step, plan=node.step.plan.rewrite(without_function), options={}))
    return node


def _elsewhere(name: str, _: Any) -> Any:
    """Stand for the function of a step that runs in a deployment of its own."""
    raise AssertionError(f"step {name!r} runs in a deployment of its own")


def _deployment(cls: type, name: str, options: Mapping[str, Any]) -> Any:
    actor = {"num_cpus": NUM_CPUS, **options.get("ray_actor_options", {})}
    # A "#" separates the parts of Serve's own names of replicas.
    fixed = {"name": name.replace("#", "-"), "ray_actor_options": actor}
    try:
        with declaring:
            deployment: Any = serve.deployment(cls)
            return deployment.options(**{**DEFAULTS, **options, **fixed})
    except (TypeError, ValueError) as error:
        raise PipelineError(f"Ray Serve rejects the options of {name!r}, {dict(options)}: {error}") from error


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
