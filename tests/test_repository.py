"""The repository's own files agree with each other and with what is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI = (ROOT / ".ci" / "run").read_text()
CHECKS = re.findall(r"^check (.*)$", CI, flags=re.MULTILINE)
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "README.md"]


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def same_command(command: str) -> list[str]:
    """Return the words of a command, without the folder that CI writes the site to."""
    return shlex.split(command.replace(' --site-dir "$work/site"', ""))


def test_every_path_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = {
        each for each in re.findall(r"`([\w./-]+)`", text) if "/" in each or each.endswith((".py", ".toml", ".yml"))
    }
    assert len(named) > 20
    composers = ROOT / "composers" / "stretto_composers"
    for each in named:
        if "NAME" not in each:
            assert (ROOT / each).exists() or (composers / each).exists(), each


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_there(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target


def test_the_passes_of_the_recipe_are_held_in_the_test_it_names() -> None:
    assert "\nPASSES:" in (ROOT / "tests" / "compiler" / "test_compile.py").read_text()


def test_pre_commit_runs_the_checks_of_ci_and_no_others() -> None:
    """Only the tests that need Ray are left to CI."""
    (repo,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local", "nothing to fall behind"
    hooks = [same_command(hook["entry"]) for hook in repo["hooks"]]
    checks = [same_command(check) for check in CHECKS if not check.startswith("pip ") and "-m serial" not in check]
    assert hooks == checks


def test_the_workflow_runs_ci_on_every_python_that_the_project_supports() -> None:
    workflow = read_yaml(".github/workflows/ci.yml")
    job = workflow["jobs"]["check"]
    versions = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python ::" in each]
    assert job["strategy"]["matrix"]["python"] == versions
    assert job["steps"][-1] == {"run": ".ci/run"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_pages_run_the_tests_as_ci_does(page: str) -> None:
    """Two commands: the tests that can run side by side, then those that can not."""
    text = (ROOT / page).read_text()
    for check in CHECKS:
        if "pytest" in check:
            assert f"python {check.removeprefix('python ').replace(' -q', '')}" in text, check


def test_the_changelog_names_the_version_and_what_comes_next() -> None:
    """The headings are those of Keep a Changelog 1.1, the newest version first."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, flags=re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert PROJECT["version"] in [version for version, _ in versions]
    assert all(date for _, date in versions[1:])
    kinds = set(re.findall(r"^### (.*)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
