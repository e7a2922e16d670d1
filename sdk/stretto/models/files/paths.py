"""Whether there is a file at a path, and which one was probably meant."""

from __future__ import annotations

import difflib
from pathlib import Path

from stretto.errors import ModelError


def check_file(path: Path, what: str = "model file") -> None:
    """Check that there is a file at `path`.

    Raises:
        ModelError: there is none; the message names a file next to it with a similar name.
    """
    if path.is_dir():
        raise ModelError(f"{path.absolute()} is a directory: pass the path of the {what} in it")
    if path.is_file():
        return
    if not path.parent.is_dir():
        raise ModelError(f"there is no {what} {path.absolute()}: its directory does not exist")
    names = [each.name for each in sorted(path.parent.iterdir()) if each.is_file()]
    similar = [name for name in names if Path(name).stem == path.stem] or difflib.get_close_matches(path.name, names, 1)
    hint = f"; did you mean {similar[0]!r}, next to it?" if similar else ""
    raise ModelError(f"there is no {what} {path.absolute()}{hint}")
