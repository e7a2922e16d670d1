"""Names, routes and addresses of applications, and where a pipeline is imported from."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from stretto.errors import PipelineError
from stretto.pipeline import Pipeline, as_pipeline


def checked_name(name: str) -> str:
    """Return an application's name.

    Raises:
        PipelineError: Serve can't have it.
    """
    if not name or "#" in name or "/" in name:
        raise PipelineError(f"{name!r} can't be an application's name: it must not be empty, nor contain '#' or '/'")
    return name


def checked_route(route: str | None, name: str) -> str:
    """Return an application's route, which is by default ``/NAME``.

    Raises:
        PipelineError: Serve can't have it.
    """
    if route is None:
        return "/" + re.sub(r"[^\w.:~-]+", "-", name)
    if not route.startswith("/") or (route != "/" and route.endswith("/")) or re.search(r"[{}?#\s]|^/-(/|$)", route):
        raise PipelineError(
            f"{route!r} can't be a route: it must start with a slash, not end in one, and not be below Serve's own /-/"
        )
    return route


def reachable_url(url: str) -> str:
    """Return the URL with 127.0.0.1 where a server's host is all interfaces."""
    return re.sub(r"//(0\.0\.0\.0|\[?::\]?)(?=[:/]|$)", "//127.0.0.1", url).rstrip("/")


def imported_pipeline(target: str) -> Pipeline[Any, Any]:
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
        searched = f"{Path.cwd()}, and PYTHONPATH is {os.environ.get('PYTHONPATH') or 'not set'}"
        raise PipelineError(f"{target!r}: there is no module {error.name!r}: this runs in {searched}") from error
    except (AttributeError, PipelineError) as error:
        raise PipelineError(f"{target!r}: {error}") from error
