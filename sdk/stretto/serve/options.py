"""What `deploy` and `application` take besides the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an application runs, as `deploy` documents it. `serve` are Ray Serve's options."""

    placement: Placement = "auto"
    profile: Profile | None = None
    tokens: Sequence[str] = ()
    name: str | None = None
    route: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    direct: bool | int = True
    patience: float = 10.0
    timeout: float = 300.0
    logs: bool = False
    serve: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Return the settings in the keywords of `deploy`: those that have no other meaning here are Ray Serve's."""
        own = {each.name for each in fields(cls)} - {"serve"}
        serve = {name: value for name, value in options.items() if name not in own}
        return cls(serve=serve, **{name: value for name, value in options.items() if name in own})
