"""Models that are named by a URI of MLflow's: a registered version, or what a run logged."""

from __future__ import annotations

import os
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Final

from stretto.errors import ModelError
from stretto.models.extras import import_extra

_VERSION: Final = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>[^/@]+)|@(?P<alias>[^/@]+))")


def is_uri(target: str | os.PathLike[str]) -> bool:
    """Return whether a path is a URI of MLflow's."""
    return isinstance(target, str) and target.startswith(("models:/", "runs:/"))


def model_name(target: str | os.PathLike[str]) -> str:
    """Return the name of a model at a path or URI: its file's or folder's, or the one that it is registered under."""
    if not is_uri(target):
        return Path(target).stem
    registered = _VERSION.fullmatch(str(target))
    return registered["name"] if registered else str(target).rpartition("/")[2]


def resolved(target: str | os.PathLike[str]) -> Path:
    """Return a path, or the local folder of a model that a URI of MLflow's names.

    An alias is looked up at each call. What is downloaded stays for as long as this process.

    Raises:
        ModelError: MLflow is not installed, or does not find it.
    """
    if not is_uri(target):
        return Path(target).expanduser()
    uri = str(target)
    mlflow: Any = _mlflow("mlflow")
    try:
        registered = _VERSION.fullmatch(uri)
        if registered and registered["alias"]:
            found = mlflow.MlflowClient().get_model_version_by_alias(registered["name"], registered["alias"])
            uri = f"models:/{registered['name']}/{found.version}"
        elif registered and not registered["version"].isdecimal():
            return _download(uri)  # the latest one, or that of a stage
        folder = _downloaded(str(mlflow.get_tracking_uri()), str(mlflow.get_registry_uri()), uri)
        return folder if folder.is_dir() else _download(uri)
    except Exception as error:  # of MLflow, of its stores, and of the network
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"MLflow does not find {target!r} in {mlflow.get_registry_uri()} ({type(error).__name__}: {reason}); "
            "MLFLOW_TRACKING_URI, or mlflow.set_tracking_uri(), says where it looks"
        ) from error


# A version and a run never change.
@cache
def _downloaded(tracking: str, registry: str, uri: str) -> Path:
    return _download(uri)


def _download(uri: str) -> Path:
    return Path(_mlflow("mlflow.artifacts").download_artifacts(artifact_uri=uri)).resolve()


def _mlflow(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own type hints when it is imported
        return import_extra(module, "mlflow", "a model in MLflow's registry")
