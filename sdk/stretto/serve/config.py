"""Config files of Ray Serve: what ``stretto build`` writes, and what Serve calls to read one.

A config file names an import path and its arguments. `app` is the import path of every pipeline, and which pipeline it
is stands in the arguments:

    applications:
    - name: iris
      route_prefix: /iris
      import_path: stretto.serving:app
      args: {target: "app:ensemble", placement: auto}
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from stretto.compiler import Placement
from stretto.errors import PipelineError
from stretto.pipeline import Pipeline, as_pipeline
from stretto.serve.application import application
from stretto.serve.deploy import _checked_name, _checked_route, _default_route
from stretto.serve.ray import deployment_schemas, serve, serve_schema

__all__ = ["app", "config", "find"]

IMPORT_PATH = "stretto.serving:app"
"""What config files name: the module that stays, wherever this one is."""

ARGUMENTS = ("target", "placement", "token_variable")


def app(args: dict[str, Any]) -> serve.Application:
    """Return the application that a config file asks for; Serve calls it with the file's ``args``.

    `target` is ``MODULE:ATTRIBUTE`` of a pipeline, and `placement` is as in `deploy`. `token_variable` names the
    environment variable that holds the bearer token of which HTTP requests need.

    Raises:
        PipelineError: the pipeline is not there or built wrong, or an argument is unknown or missing.
    """
    unknown = sorted(args.keys() - set(ARGUMENTS))
    if unknown or "target" not in args:
        said = f"unknown: {', '.join(unknown)}" if unknown else "target is missing"
        raise PipelineError(f"the args of stretto.serving:app are {', '.join(ARGUMENTS)}; {said}")
    variable = args.get("token_variable")
    if variable and not os.environ.get(variable):
        raise PipelineError(f"the environment variable {variable}, which should hold the bearer token, is not set here")
    tokens = [os.environ[variable]] if variable else []
    return application(find(args["target"]), placement=args.get("placement", "auto"), tokens=tokens)


def find(target: str) -> Pipeline[Any, Any]:
    """Return the pipeline at ``MODULE:ATTRIBUTE``.

    Raises:
        PipelineError: there is no such module or attribute, or it is not a pipeline.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise PipelineError(f"{target!r}: expected MODULE:ATTRIBUTE of a pipeline, such as app:ensemble")
    try:
        return as_pipeline(getattr(import_module(module), attribute))
    except ModuleNotFoundError as error:
        raise PipelineError(f"{target!r}: there is no module {error.name!r} on {sys.path}") from error
    except (AttributeError, PipelineError) as error:
        raise PipelineError(f"{target!r}: {error}") from error


def config(
    target: str,
    *,
    name: str | None = None,
    route: str | None = None,
    placement: Placement = "auto",
    host: str = "127.0.0.1",
    port: int = 8000,
    folder: str | os.PathLike[str] | None = None,
    token_variable: str | None = None,
) -> Mapping[str, Any]:
    """Return the config of a pipeline, for ``serve deploy`` and ``serve run``: what goes into the YAML file.

    It has an entry for each deployment, with what can be changed there. `folder` is where the module is on the nodes of
    the cluster; without it the nodes must have the module installed.

    Raises:
        PipelineError: the pipeline is not there or built wrong.
    """
    pipeline = find(target)
    called = _checked_name(name or pipeline.label)
    args = {"target": target, "placement": placement}
    made = application(pipeline, placement=placement)
    whole = {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": called,
                "route_prefix": _checked_route(_default_route(called) if route is None else route),
                "import_path": IMPORT_PATH,
                "args": args | ({"token_variable": token_variable} if token_variable else {}),
                "runtime_env": {"env_vars": {"PYTHONPATH": str(Path(folder).absolute())}} if folder else {},
                "deployments": deployment_schemas(made, called),
            }
        ],
    }
    serve_schema.ServeDeploySchema.model_validate(whole)
    return whole
