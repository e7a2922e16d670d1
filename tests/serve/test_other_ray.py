"""A process whose user connects it to one Ray, and then to another: `tests/chaos/nodes.py` does so for real."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stretto.serve import cluster


def test_what_serve_knows_of_another_ray_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = iter(["one", "one", "two", "two"])
    forgotten: list[str] = []
    context = SimpleNamespace(get_session_name=lambda: forgotten.append("|") or next(sessions))
    monkeypatch.setattr(cluster, "_PROCESS", cluster._Process())
    monkeypatch.setattr(cluster, "connected", lambda: True)
    monkeypatch.setattr(cluster, "forget_previous_ray", lambda: forgotten.append("forget"))
    monkeypatch.setattr(cluster.ray, "get_runtime_context", lambda: context)
    for _ in range(4):
        assert cluster.connect() is None
    assert " ".join(forgotten) == "| forget | | forget |"
