"""`stretto build`: a config file that Ray Serve takes, for a pipeline of a module."""

from __future__ import annotations

import asyncio

import pytest
import yaml
from click.testing import CliRunner

from stretto import Client
from stretto.cli import cli
from stretto.errors import PipelineError
from stretto.serving import app, config

MODULE = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from stretto import model, parallel
from stretto_composers import vote

iris = load_iris()
fitted = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
first = model(fitted, name="first", labels=iris.target_names)
second = model(fitted, name="second", labels=iris.target_names, num_replicas=1)
ensemble = parallel(first, second) >> vote()
nothing = 7
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module with pipelines, in a folder of its own."""
    name = f"flowers_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_the_file_names_the_pipeline_its_deployments_and_where_the_module_is(module, tmp_path):
    path = tmp_path / "serve.yaml"
    ended = CliRunner().invoke(cli, ["build", f"{module}:ensemble", "--app-dir", str(tmp_path), "-o", str(path)])
    assert ended.exit_code == 0, ended.output
    made = yaml.safe_load(path.read_text())
    (application,) = made["applications"]
    assert made["http_options"]["host"] == "127.0.0.1"
    assert (application["name"], application["route_prefix"]) == ("vote", "/vote")
    assert application["args"] == {"target": f"{module}:ensemble", "placement": "auto"}
    assert application["runtime_env"] == {"env_vars": {"PYTHONPATH": str(tmp_path)}}
    assert {each["name"] for each in application["deployments"]} == {"second", "ingress"}


def test_without_a_file_it_is_printed(module, tmp_path):
    ended = CliRunner().invoke(
        cli, ["build", f"{module}:first", "--app-dir", str(tmp_path), "--installed", "--route", "/a", "--name", "b"]
    )
    (application,) = yaml.safe_load(ended.output)["applications"]
    assert (application["name"], application["route_prefix"], application["runtime_env"]) == ("b", "/a", {})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:x", "there is no module 'nowhere'"),
        ("flowers", "expected MODULE:ATTRIBUTE"),
        ("{module}:gone", "has no attribute 'gone'"),
        ("{module}:nothing", "can't stand in a pipeline"),
    ],
)
def test_a_target_that_is_no_pipeline_is_refused(module, target, says):
    ended = CliRunner().invoke(cli, ["build", target.format(module=module)])
    assert ended.exit_code == 1
    assert says in " ".join(ended.output.split())


def test_arguments_that_are_wrong_are_refused(module, monkeypatch):
    with pytest.raises(PipelineError, match="target is missing"):
        app({})
    with pytest.raises(PipelineError, match="unknown: replicas"):
        app({"target": f"{module}:ensemble", "replicas": 3})
    with pytest.raises(PipelineError, match=r"FLOWERS_TOKEN, .* is not set here"):
        app({"target": f"{module}:ensemble", "token_variable": "FLOWERS_TOKEN"})


@pytest.mark.asyncio(loop_scope="session")
async def test_ray_serve_runs_what_the_file_says(module, tmp_path, ray_cluster):
    from ray.serve.schema import ServeDeploySchema

    from stretto.serve import ray
    from stretto.serve.cluster import start_serve

    start_serve("127.0.0.1", None)
    made = config(f"{module}:ensemble", folder=tmp_path, name="of-a-config")
    client = ray._client()
    client.deploy_apps(ServeDeploySchema.model_validate(made))
    try:
        for _ in range(600):
            status = client.get_serve_status("of-a-config").app_status
            if status.status in ("RUNNING", "DEPLOY_FAILED"):
                break
            await asyncio.sleep(0.1)
        assert status.status == "RUNNING", status.message
        async with Client("serve://of-a-config") as flowers:
            assert await flowers.predict([5.1, 3.5, 1.4, 0.2]) == "setosa"
    finally:
        client.delete_apps(["of-a-config"])
