"""Modules of packages that an extra of Stretto installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from stretto.errors import ModelError


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Return a module that an extra installs.

    Raises:
        ModelError: it is not installed; the message says what needs it and names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(f"{purpose} needs {error.name or module}: pip install 'stretto[{extra}]'") from error
