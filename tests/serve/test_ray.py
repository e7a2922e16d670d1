"""Ray's private names stand in one module, which says what a version of Ray lacks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stretto
from stretto.serve import ray

SDK = Path(stretto.__file__).parent
ADAPTER = SDK / "serve" / "ray.py"

# Not private: what a user writes who deploys without Stretto.
PUBLIC = {SDK / "_demo" / "baseline.py": {"ray"}, SDK / "_demo" / "demo.py": {"ray"}}
PRIVATE = re.compile(r"ray\._private|serve\._private|ray\.serve\.schema|\bRAY_[A-Z]|\bSPT_|__serve_\w+")
OF_HANDLES = {"_by_reference", "_init", "_run_router_in_separate_loop", "_get_global_client", "_set_global_client"}


@pytest.mark.parametrize("name", ray.PRIVATE)
def test_each_private_name_is_there(name: str) -> None:
    ray.probe(name, ray.PRIVATE[name])


@pytest.mark.parametrize("name", ray.PRIVATE)
def test_a_name_that_is_not_there_is_named_with_its_purpose(name: str) -> None:
    path = name.partition("(")[0]
    hidden = f"{path}_of_another_version{name[len(path) :]}"
    with pytest.raises(ImportError) as error:
        ray.probe(hidden, ray.PRIVATE[name])
    version = re.escape(ray.ray.__version__)
    lacks = re.escape(path.replace(":", "."))
    expected = rf"ray {version} has no {lacks}_of_another_version: stretto needs it to .+; install ray\[serve\]\S+"
    assert re.fullmatch(expected, str(error.value))


def test_a_parameter_that_is_not_there_is_named() -> None:
    with pytest.raises(ImportError, match=r"has no ray\.serve\.handle\.DeploymentHandle\.options\(_by_value, _x\): "):
        ray.probe("ray.serve.handle:DeploymentHandle.options(method_name, _by_value, _x)", "call replicas by value")


def test_importing_stretto_s_ray_with_a_name_hidden_says_so() -> None:
    hide = "import ray.serve.context as context; del context._get_global_client; import stretto; stretto.deploy"
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", hide], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert re.match(r"ImportError: ray \S+ has no ray\.serve\.context\._get_global_client: stretto needs it to", last)


@pytest.mark.parametrize("path", sorted(SDK.rglob("*.py")), ids=lambda path: str(path.relative_to(SDK)))
def test_nothing_else_imports_ray_or_uses_what_is_private_in_it(path: Path) -> None:
    if path != ADAPTER:
        assert set(_used(path)) - PUBLIC.get(path, set()) == set()


def _used(path: Path) -> Iterator[str]:
    """What a file imports of Ray, and the private names of Ray in it; docstrings and comments may speak of them."""
    tree = ast.parse(path.read_text())
    prose = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name.split(".")[0] == "ray")
            case ast.ImportFrom(module=str(module), level=0) if module.split(".")[0] == "ray":
                yield module
            case ast.Attribute(attr=name) | ast.keyword(arg=str(name)) | ast.FunctionDef(name=name):
                if name in OF_HANDLES or PRIVATE.match(name):
                    yield name
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield from PRIVATE.findall(text)
            case _:
                pass
