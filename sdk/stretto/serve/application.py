"""From a compiled plan to the Serve application that runs it: a deployment for the requests, and one a hosted stage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stretto.compiler import Placement, Profile, compile_plan
from stretto.engine.engine import Engine
from stretto.engine.results import Metadata
from stretto.engine.threads import run_sync
from stretto.errors import PipelineError
from stretto.pipeline import as_pipeline
from stretto.plan.nodes import Call, Node
from stretto.plan.plan import Plan
from stretto.plan.steps import Stage, Step
from stretto.serve.backend import LANES
from stretto.serve.deployments import Host, Ingress
from stretto.serve.direct_ingress import Address
from stretto.serve.pickling import packed, reachable
from stretto.serve.ray import cloudpickled, declaring, serve

OPTIONS: Mapping[str, Any] = {
    # Serve's default of 5 would have batches wait in the router; what is queued in a replica is bounded by its lanes.
    "max_ongoing_requests": 1000,
    "health_check_period_s": 2.0,  # a replica that died is only then replaced; Serve's own default is 10
    # Seconds that a replica which is to stop waits before it looks whether calls are still under way; Serve's 2 and 20
    # make every replacement that slow.
    "graceful_shutdown_wait_loop_s": 0.2,
    "graceful_shutdown_timeout_s": 5.0,
}

ACTOR_OPTIONS: Mapping[str, Any] = {"num_cpus": 0.1}
"""Serve's default of one CPU a replica does not fit three deployments on two cores. Below one CPU, Ray also sets
``OMP_NUM_THREADS=1``, so that replicas side by side do not fight over the cores with BLAS threads."""


def application(
    pipeline: Any,
    /,
    *,
    placement: Placement = "auto",
    profile: Profile | None = None,
    tokens: Sequence[str] = (),
    **options: Any,
) -> serve.Application:
    """Return the Serve application of a pipeline, for ``serve run module:app``, config files and `ray.serve.run`.

    `placement` and `profile` are as in `deploy`. With `tokens`, HTTP requests need one of them as their bearer token.
    `options` are Serve's for the deployment that takes the requests, such as ``num_replicas=2``; those of a step are
    given where it is made.

    Raises:
        PipelineError: the pipeline is built wrong, a part of it can't be sent to another process, or Serve has no such
            option.
    """
    whole = as_pipeline(pipeline)
    return build(compile_plan(whole.plan(), placement, profile), whole.label, whole.text, tokens, options)


def build(
    plan: Plan,
    name: str,
    text: str,
    tokens: Sequence[str],
    options: Mapping[str, Any],
    address: Address | None = None,
) -> serve.Application:
    """Return the application of a compiled plan; `text` is the pipeline as written.

    At `address` the replicas that take the requests answer HTTP themselves, beside Serve's proxy. Models of files go as
    paths where this process is connected to a Ray of which all nodes have the files, and as bytes elsewhere.

    Raises:
        PipelineError: a part of it can't be sent to another process, or Serve has no such option.
    """
    there = reachable(plan)
    hosted = {stage.deployment: stage for stage in hosted_stages(plan)}
    handles = {
        host: _deployment(Host, host, stage.options).bind(_pickled(stage.plan, there), host)
        for host, stage in hosted.items()
    }
    lanes = {host: _lanes(stage) for host, stage in hosted.items()}
    metadata: Metadata = run_sync(Engine(plan, name=name, text=text).metadata())
    ingress = "ingress" if "ingress" not in hosted else "ingress of " + name
    return _deployment(Ingress, ingress, options).bind(
        _pickled(_without_hosted(plan), there), handles, lanes, metadata, tuple(tokens), address
    )


def hosted_stages(plan: Plan) -> Iterator[Stage]:
    """Return the stages that get a deployment of their own."""
    for node in plan.walk():
        if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
            yield node.step


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Stands for the function of a step whose model is in another process."""

    name: str

    def __call__(self, _: Any) -> Any:
        raise AssertionError(f"step {self.name!r} runs in a deployment of its own")


def _without_hosted(plan: Plan) -> Plan:
    """Return the plan without the models that are hosted: they are neither sent to nor loaded in the ingress."""

    def inner(node: Node) -> Node:
        if isinstance(node, Call) and isinstance(node.step, Step):
            return replace(node, step=replace(node.step, fn=_Elsewhere(node.step.name), key=None))
        return node

    def outer(node: Node) -> Node:
        if isinstance(node, Call) and isinstance(node.step, Stage) and node.step.deployment:
            return replace(node, step=replace(node.step, plan=node.step.plan.rewrite(inner), options={}))
        return node

    return plan.rewrite(outer)


def _deployment(cls: type, name: str, options: Mapping[str, Any]) -> Any:
    actor = {**ACTOR_OPTIONS, **options.get("ray_actor_options", {})}
    # Serve's own names of replicas part at "#".
    wanted = {**OPTIONS, **options, "name": name.replace("#", "-"), "ray_actor_options": actor}
    try:
        with declaring:
            deployment: Any = serve.deployment(cls)
            return deployment.options(**wanted)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"Ray Serve refuses the options of {name!r}, {dict(options)}: {error}") from error


def _lanes(stage: Stage) -> int | None:
    """Return how many calls of a stage may be under way, or None where each request makes its own.

    Rows travel together only to where they are done together: one that waits for something would hold up the others.
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


def _pickled(plan: Plan, there: Collection[str]) -> bytes:
    try:
        return packed(plan, there)
    except Exception as error:
        for step in plan.steps():
            try:
                cloudpickled(step.fn)
            except Exception as why:
                raise PipelineError(
                    f"step {step.name!r} can't be sent to Ray Serve, since it can't be pickled: {why}; have its "
                    "function make what it holds when it is first called"
                ) from why
        raise PipelineError(f"the pipeline can't be sent to Ray Serve, since it can't be pickled: {error}") from error
