"""Ray as Stretto uses it: imported without its warnings, with a probe for every private name.

Nothing else in Stretto imports Ray or uses a private name, attribute or environment variable of it. A new version of
Ray is a change of the requirement in ``pyproject.toml`` and, where a probe fails, of this file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import pkgutil
import threading
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import requires
from inspect import signature
from typing import Any, TypeAlias, TypeVar, cast

C = TypeVar("C", bound=type)

PRIVATE: Mapping[str, str] = {
    "ray._private.auto_init_hook:enable_auto_connect": "keep a late handle call from starting another Ray",
    "ray._private.ray_constants:ENABLE_RAY_CLUSTER": "make a local Ray listen on 127.0.0.1 alone",
    "ray._private.ray_constants:ENABLE_RAY_CLUSTERS_ENV_VAR": "make a local Ray listen on 127.0.0.1 alone",
    "ray._private.worker:global_worker": "send large answers",
    "ray._raylet:CoreWorker.remove_object_ref_reference": "send large answers",
    "ray._private.utils:read_ray_address": "find the Ray that `ray start` started",
    "ray.cloudpickle.cloudpickle:Pickler.dump": "send plans to replicas",
    "ray.cloudpickle.cloudpickle:dumps": "find values that can't be pickled",
    "ray.serve._private.build_app:build_app(app, name)": "write config files",
    "ray.serve._private.client:ServeControllerClient.delete_apps(names, blocking)": "delete applications",
    "ray.serve._private.client:ServeControllerClient.get_serve_details": "watch applications come up",
    "ray.serve._private.client:ServeControllerClient.root_url": "return the URL of Serve's proxy",
    "ray.serve._private.constants:RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "advise on slow settings",
    "ray.serve._private.handle_options:InitHandleOptions(_run_router_in_separate_loop)": "outlive an event loop",
    "ray.serve._private.replica:SERVE_BUILD_ASGI_APP_METHOD": "answer HTTP in replicas",
    "ray.serve.context:_get_global_client(raise_if_no_controller_running)": "find the Serve that is running",
    "ray.serve.context:_set_global_client": "forget the Serve of a Ray that was stopped",
    "ray.serve.deployment:deployment_to_schema": "write config files",
    "ray.serve.handle:DeploymentHandle(deployment_name, app_name)": "call replicas by handle",
    "ray.serve.handle:DeploymentHandle._init": "outlive an event loop",
    "ray.serve.handle:DeploymentHandle.is_initialized": "outlive an event loop",
    "ray.serve.handle:DeploymentHandle.options(method_name, _by_reference)": "call replicas by value",
    "ray.serve.schema:ApplicationDetails(status, message, deployments, deployment_topology)": "watch applications",
    "ray.serve.schema:DeploymentDetails(name, status, message, required_resources, replicas)": "watch deployments",
    "ray.serve.schema:DeploymentTopology(ingress_deployment)": "find the deployment that takes the requests",
    "ray.serve.schema:ProxyDetails(node_ip)": "name the addresses of proxies",
    "ray.serve.schema:ReplicaDetails(node_id, node_ip, state)": "watch replicas come up, and name their addresses",
    "ray.serve.schema:ServeInstanceDetails(http_options, proxies, applications)": "name addresses",
    "ray.serve.schema:ServeDeploySchema.model_validate": "check config files",
    "ray.serve:run_many(wait_for_ingress_deployment_creation, wait_for_applications_running)": "deploy",
    "ray.serve:RunTarget(target, name, route_prefix)": "deploy",
}
"""What Ray does not promise to keep, as ``MODULE:NAME`` or ``MODULE:NAME(PARAMETERS)``, and why Stretto needs it."""

ADDRESS = "RAY_ADDRESS"
"""The environment variable with the address of the Ray to connect to."""

WITH_TOKEN = "RAY_AUTH_MODE=token"
"""The setting of a process that connects to a Ray with token authentication."""


def probe(name: str, purpose: str) -> None:
    """Check that the installed Ray has a name of `PRIVATE`.

    Raises:
        ImportError: it has not; the message says what the name is for, and which versions of Ray have it.
    """
    path, _, parameters = name.rstrip(")").partition("(")
    try:
        target: Any = pkgutil.resolve_name(path)
        missing = [each for each in parameters.split(", ") if each and each not in signature(target).parameters]
    except (ImportError, AttributeError):
        missing = [""]
    if missing:
        lacks = path.replace(":", ".") + (f"({', '.join(missing)})" if missing != [""] else "")
        needs = (each.partition(";")[0].strip() for each in requires("stretto") or [])
        supported = next(each for each in needs if each.startswith("ray"))
        raise ImportError(f"ray {ray.__version__} has no {lacks}: stretto needs it to {purpose}; install {supported}")


with warnings.catch_warnings():
    # ray.serve 2.60 passes arguments to pydantic's Field that pydantic warns about.
    warnings.simplefilter("ignore")
    import grpc
    import ray

    for _name, _purpose in PRIVATE.items():
        probe(_name, _purpose)
    from ray import exceptions as ray_errors
    from ray import serve
    from ray._private import auto_init_hook, ray_constants
    from ray._private.utils import read_ray_address
    from ray._private.worker import global_worker
    from ray.cloudpickle.cloudpickle import Pickler
    from ray.cloudpickle.cloudpickle import dumps as cloudpickled
    from ray.serve import exceptions as serve_errors
    from ray.serve._private.build_app import build_app
    from ray.serve._private.constants import RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD
    from ray.serve._private.replica import SERVE_BUILD_ASGI_APP_METHOD
    from ray.serve.context import _get_global_client, _set_global_client
    from ray.serve.deployment import deployment_to_schema
    from ray.serve.handle import DeploymentHandle
    from ray.serve.schema import ServeDeploySchema
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = [
    "DeploymentHandle",
    "NodeAffinitySchedulingStrategy",
    "Pickler",
    "cloudpickled",
    "grpc",
    "ray",
    "ray_errors",
    "read_ray_address",
]

Handle: TypeAlias = Any
"""A ``ray.serve.handle.DeploymentHandle``; Ray ships no types for it."""

Details: TypeAlias = Mapping[str, Any]
"""What Serve reports of an application: ``ApplicationDetails`` of ``ray/serve/schema.py``, as a dict."""

SEPARATE_THREAD = (
    "replicas run its code in a second thread, which a handle call pays for twice; if no step blocks the event loop "
    "for long, start Ray with RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 or RAY_SERVE_THROUGHPUT_OPTIMIZED=1"
    if RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD
    else ""
)
"""What a replica could say of its settings."""

declaring = threading.Lock()
"""Hold it while a deployment is declared: Serve pickles its module by value for that moment, in all threads."""


def forget_previous_ray() -> None:
    """Forget the Ray this process was connected to, before it connects to another."""
    # Serve keeps the controller it knew for as long as the job's id is the same, and in a Ray of one's own that is
    # always 1.
    _set_global_client(None)
    # Once this Ray is stopped, a late call of a handle's router would start another Ray, which nobody stops.
    auto_init_hook.enable_auto_connect = False


@contextmanager
def local_processes(variables: Mapping[str, str]) -> Generator[None]:
    """Set these variables for the processes that Ray starts in the block, and have them listen on 127.0.0.1 alone."""
    # SPT_NOENV stops setproctitle from overwriting the environment: we find them by a variable in it.
    variables = {**variables, "SPT_NOENV": "1", ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    cluster, before = ray_constants.ENABLE_RAY_CLUSTER, {name: os.environ.get(name) for name in variables}
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ.update(variables)
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = cluster
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}


@contextmanager
def quietly() -> Generator[None]:
    """Keep the loggers of Ray and Serve to errors during the block."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.serve")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def serve_runs() -> bool:
    """Return whether Serve runs on the connected Ray; this blocks."""
    return _client() is not None


def root_url() -> str:
    """Return the URL of Serve's proxy, empty where Serve has no HTTP; this blocks."""
    return _client().root_url


def details() -> Mapping[str, Details]:
    """Return what Serve reports of each application, by name, or nothing if Serve does not run; this blocks."""
    return {} if _client() is None else instance_details()["applications"]


def instance_details() -> Mapping[str, Any]:
    """Return what Serve reports: ``ServeInstanceDetails`` of ``ray/serve/schema.py``, as a dict; this blocks."""
    return _client().get_serve_details()


def run(app: serve.Application, name: str, route: str) -> None:
    """Hand an application to Serve, in place of the one of that name, without waiting for it; this blocks."""
    with quietly(), declaring:
        target = serve.RunTarget(app, name=name, route_prefix=route)
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def delete(name: str) -> None:
    """Request the deletion of an application, without waiting for it; this blocks."""
    with quietly():
        _client().delete_apps([name], blocking=False)


def ingress_handle(app: Details, name: str) -> Handle | None:
    """Return a handle to the deployment that takes an application's requests, if there is one yet."""
    ingress = (app.get("deployment_topology") or {}).get("ingress_deployment")
    return DeploymentHandle(ingress, name) if ingress else None


def routed(handle: Handle) -> Handle:
    """Return the handle with its router started; this blocks."""
    if not handle.is_initialized:
        # With RAY_SERVE_THROUGHPUT_OPTIMIZED=1 the router would live in the caller's event loop and end with it, and
        # a second asyncio.run would find every handle of the process dead.
        with quietly():
            handle._init(_run_router_in_separate_loop=True)
    return handle


def by_value(handle: Handle, method: str) -> Handle:
    """Return the handle's method, to be called with values.

    By default Serve 2.60 puts the arguments and the answer of a call into Ray's object store, by way of actor tasks. By
    value it uses the gRPC server of the replica, which takes half the time and no message over 4 MiB
    (``RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH`` of ``ray/serve/_private/constants.py``).
    """
    return handle.options(method_name=method, _by_reference=False)


def by_reference(handle: Handle, method: str) -> Handle:
    """Return the handle's method, to be called with values of any size that Ray's object store takes."""
    return handle.options(method_name=method, _by_reference=True)


def stored(content: bytes, seconds: float) -> bytes:
    """Put bytes into Ray's object store for some seconds, and return where they are, for `fetched`.

    A reference that is pickled by hand keeps its object for as long as this process lives
    (``add_contained_object_ref`` in ``ray/_private/serialization.py``): that is undone here.
    """
    reference = ray.put(content)
    pickled = cloudpickled(reference)
    cast("Any", global_worker).core_worker.remove_object_ref_reference(reference)
    asyncio.get_running_loop().call_later(seconds, _drop, reference)
    return pickled


def _drop(reference: Any) -> None:
    """Do nothing: the timer of this call held the object, and has let go of it."""


async def fetched(pickled: bytes) -> bytes:
    """Return the bytes that another process has `stored`."""
    return await pickle.loads(pickled)


def asgi_ingress(deployment: C) -> C:
    """Make a class with a method `asgi` a deployment that takes HTTP requests: Serve calls it after the constructor."""
    setattr(deployment, SERVE_BUILD_ASGI_APP_METHOD, deployment.asgi)
    return serve.ingress()(deployment)


def replica_context() -> Any:
    """Return Serve's context of the replica that this runs in; None in local testing mode."""
    try:
        return serve.get_replica_context()
    except serve_errors.RayServeException:
        return None


def deployment_schemas(app: serve.Application, name: str) -> list[dict[str, Any]]:
    """Return the entry of each deployment of an application in a config file."""
    deployments = build_app(app, name=name).deployments
    return [deployment_to_schema(each).model_dump(mode="json", exclude_unset=True) for each in deployments]


def check_config(config: Mapping[str, Any]) -> None:
    """Raise pydantic's ValidationError if Serve would not take a config file."""
    ServeDeploySchema.model_validate(config)


def _client() -> Any:
    return _get_global_client(raise_if_no_controller_running=False)
