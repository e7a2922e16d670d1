"""What `deploy` and `application` take besides the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from stretto.compiler import Placement, Profile


class ServeOptions(TypedDict, total=False):
    """Ray Serve's own options, for the deployment that takes the requests; `ray.serve.deployment` documents them."""

    num_replicas: int | Literal["auto"] | None
    ray_actor_options: Mapping[str, Any]
    autoscaling_config: Any
    max_ongoing_requests: int
    max_queued_requests: int
    max_replicas_per_node: int
    placement_group_bundles: Sequence[Mapping[str, float]]
    placement_group_strategy: str
    graceful_shutdown_wait_loop_s: float
    graceful_shutdown_timeout_s: float
    health_check_period_s: float
    health_check_timeout_s: float
    logging_config: Any
    request_router_config: Any


class ApplicationOptions(ServeOptions, total=False):
    """The keywords of `application`."""

    placement: Placement
    profile: Profile | None
    tokens: Sequence[str]


class DeployOptions(ApplicationOptions, total=False):
    """The keywords of `deploy`."""

    name: str | None
    route: str | None
    host: str
    port: int | None
    direct: bool | int
    patience: float
    timeout: float
    logs: bool


def serve_options(options: ApplicationOptions) -> dict[str, Any]:
    """Return Ray Serve's own among the options: those that have no other meaning here."""
    ours = DeployOptions.__annotations__.keys() - ServeOptions.__annotations__.keys()
    return {name: value for name, value in options.items() if name not in ours}
