"""The URLs of an application, from what Serve reports of itself."""

from __future__ import annotations

from typing import Any

import pytest

from stretto.serve.direct_ingress import Address
from stretto.serve.whereabouts import urls_of


def details(host: str, route: str | None = "/iris") -> dict[str, Any]:
    replicas = [
        {"node_ip": "10.0.0.1", "state": "RUNNING"},
        {"node_ip": "10.0.0.2", "state": "RUNNING"},
        {"node_ip": "10.0.0.2", "state": "RUNNING"},
        {"node_ip": "10.0.0.3", "state": "STARTING"},
    ]
    return {
        "http_options": {"host": host, "port": 8000},
        "proxies": {"a": {"node_ip": "10.0.0.1"}, "b": {"node_ip": "10.0.0.4"}},
        "applications": {
            "iris": {
                "route_prefix": route,
                "deployment_topology": {"ingress_deployment": "ingress"},
                "deployments": {"ingress": {"replicas": replicas}, "svm": {"replicas": []}},
            }
        },
    }


@pytest.mark.parametrize(
    ("host", "direct", "expected"),
    [
        (
            "0.0.0.0",
            "0.0.0.0",
            "10.0.0.1:8100/iris 10.0.0.2:8100/iris 10.0.0.1:8000/iris 10.0.0.4:8000/iris",
        ),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:8100/iris 127.0.0.1:8000/iris"),
        ("127.0.0.1", None, "127.0.0.1:8000/iris"),
    ],
)
def test_replicas_come_first_on_each_node_that_has_some(host: str, direct: str | None, expected: str) -> None:
    address = None if direct is None else Address(direct, 8100, "/iris")
    assert list(urls_of(details(host), "iris", address)) == [f"http://{each}" for each in expected.split()]


def test_an_application_without_a_route_or_that_is_not_there_has_none() -> None:
    assert list(urls_of(details("0.0.0.0", None), "iris", None)) == []
    assert list(urls_of(details("0.0.0.0"), "other", None)) == []
