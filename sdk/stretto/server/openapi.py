"""The interface described for machines (OpenAPI 3.1)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from stretto.engine.results import Metadata
from stretto.wire import PROBLEM

_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457). Further members, such as field and expected, depend on the type.",
    "properties": {
        "type": {"type": "string", "examples": ["urn:stretto:error:input-error"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, where, and what to do."},
        "row": {"type": "integer", "description": "The row at fault, where the request had many."},
    },
    "required": ["type", "title", "status", "detail"],
}
_OUTCOMES = {
    "type": "object",
    "properties": {
        "outcomes": {
            "type": "array",
            "description": "An outcome for each row, in order.",
            "items": {
                "oneOf": [
                    {"type": "object", "properties": {"answer": {}}, "required": ["answer"]},
                    {
                        "type": "object",
                        "properties": {"error": {"$ref": "#/components/schemas/Problem"}},
                        "required": ["error"],
                    },
                ]
            },
        }
    },
    "required": ["outcomes"],
}
_STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_METADATA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "pipeline": {"type": "string"},
        "plan": {"type": "string"},
        "steps": _TEXTS,
        "features": _TEXTS,
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_TIMEOUT = {
    "name": "x-stretto-timeout",
    "in": "header",
    "description": "The seconds that are left for the answer.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def describe(metadata: Metadata, root: str, *, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document of a pipeline that is served at the path `root`.

    The types of features and answers are open, since fitted models do not say them; `secured` asks for a bearer token.
    """
    row: dict[str, Any] = {"$ref": "#/components/schemas/Row"}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": metadata.name or "pipeline",
            "description": metadata.pipeline,
            "version": metadata.versions.get("stretto", "0"),
        },
        "servers": [{"url": root or "/"}],
        "paths": {
            "/": {"post": _takes("predict", "Answer one row", row, {})},
            "/batch": {
                "post": _takes("batch", "Give an outcome for each of many rows", _many(row), _OUTCOMES, [_STEP])
            },
            "/steps/{name}": {"post": _takes("step", "Answer one row from one step alone", {}, {}, [_name(metadata)])},
            "/trace": {"post": _takes("trace", "Answer one row, and tell what happened on the way", row, {})},
            "/metadata": {"get": _tells("metadata", "Say what the pipeline is", _METADATA)},
            "/health/live": {"get": _tells("live", "Say that the process answers", _STATUS)},
            "/health/ready": {"get": _ready()},
        },
        "components": {"schemas": {"Row": _row(metadata.features), "Problem": _PROBLEM}},
    }
    if secured:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"]["/health/live"]["get"]["security"] = []
    return document


_STEP = {"name": "step", "in": "query", "description": "Ask this step alone.", "schema": {"type": "string"}}


def _name(metadata: Metadata) -> dict[str, Any]:
    names = {"enum": list(metadata.steps)} if metadata.steps else {}
    return {"name": "name", "in": "path", "required": True, "schema": {"type": "string", **names}}


def _row(features: tuple[str, ...]) -> dict[str, Any]:
    if not features:
        return {"description": "One row, in whatever form the pipeline takes."}
    named = {
        "type": "object",
        "properties": {name: {} for name in features},
        "required": list(features),
        "additionalProperties": False,
    }
    listed = {"type": "array", "prefixItems": [{"title": name} for name in features]}
    sized = {"minItems": len(features), "maxItems": len(features)}
    return {"description": "One row: its features by name, or in order.", "oneOf": [named, listed | sized]}


def _many(row: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": row}


def _takes(
    name: str,
    summary: str,
    body: dict[str, Any],
    answer: dict[str, Any],
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    operation = _tells(name, summary, answer)
    operation["parameters"] = [*(parameters or []), _TIMEOUT]
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _tells(name: str, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": HTTPStatus.OK.phrase, "content": {"application/json": {"schema": answer}}},
            "default": {"description": "An error", "content": problem},
        },
    }


def _ready() -> dict[str, Any]:
    operation = _tells("ready", "Say whether a prediction would be answered now", _STATUS)
    operation["responses"]["503"] = {**operation["responses"]["200"], "description": "Not ready"}
    return operation
