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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stretto.compiler import Placement
from stretto.errors import PipelineError
from stretto.serve.application import application
from stretto.serve.names import checked_name, checked_route, imported_pipeline
from stretto.serve.ray import check_config, deployment_schemas, serve

IMPORT_PATH = "stretto.serving:app"
"""What config files name: the module that stays, wherever this one is."""

ARGUMENTS = ("target", "placement", "token_variable")


def app(args: dict[str, Any]) -> serve.Application:
    """Return the application of a config file; Serve calls this with the file's ``args``.

    `target` is ``MODULE:ATTRIBUTE`` of a pipeline, and `placement` is as in `deploy`. `token_variable` names the
    environment variable that holds the bearer token that HTTP requests need.

    Raises:
        PipelineError: the pipeline is not there or built wrong, or an argument is unknown or missing.
    """
    unknown = sorted(args.keys() - set(ARGUMENTS))
    if unknown or "target" not in args:
        problem = f"unknown: {', '.join(unknown)}" if unknown else "target is missing"
        raise PipelineError(f"the args of {IMPORT_PATH} are {', '.join(ARGUMENTS)}; {problem}")
    variable = args.get("token_variable")
    if variable and not os.environ.get(variable):
        raise PipelineError(f"the environment variable {variable}, which should hold the bearer token, is not set here")
    tokens = [os.environ[variable]] if variable else []
    return application(imported_pipeline(args["target"]), placement=args.get("placement", "auto"), tokens=tokens)


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
    """Return the content of a pipeline's config file, for ``serve deploy`` and ``serve run``.

    It has an entry for each deployment, with what can be changed there. `folder` is where the module is on the nodes of
    the cluster; without it the nodes must have the module installed.

    Raises:
        PipelineError: the pipeline is not there or built wrong.
    """
    pipeline = imported_pipeline(target)
    name = checked_name(name or pipeline.label)
    content = {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": name,
                "route_prefix": checked_route(route, name),
                "import_path": IMPORT_PATH,
                "args": {"target": target, "placement": placement}
                | ({"token_variable": token_variable} if token_variable else {}),
                "runtime_env": {"env_vars": {"PYTHONPATH": str(Path(folder).absolute())}} if folder else {},
                "deployments": deployment_schemas(application(pipeline, placement=placement), name),
            }
        ],
    }
    check_config(content)
    return content
