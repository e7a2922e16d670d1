"""The interface described for programs (OpenAPI 3.1)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from stretto.engine.results import Metadata
from stretto.server.inference import V2, V2_LIVE, V2_READY
from stretto.wire import JSON_LINES, PROBLEM
from stretto.wire.inference import BINARY, InferRequest, InferResponse, ModelMetadata, ServerMetadata

Schema: TypeAlias = dict[str, Any]


def _object(properties: dict[str, Schema], **more: Any) -> Schema:
    """Return the schema of an object that has all of these properties, unless `more` says which."""
    return {"type": "object", "properties": properties, "required": list(properties), **more}


_ROW: Schema = {"$ref": "#/components/schemas/Row"}
_ERROR: Schema = {"$ref": "#/components/schemas/Problem"}
_TEXT: Schema = {"type": "string"}
_PROBLEM = _object(
    {
        "type": {"type": "string", "examples": ["urn:stretto:error:input-error"]},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, where, and what to do."},
        "row": {"type": "integer", "description": "The position of the failing row, if the request had many."},
    },
    required=["type", "title", "status", "detail"],
    description="What went wrong (RFC 9457). Further members, such as field and expected, depend on the type.",
)
_OUTCOME: Schema = {"oneOf": [_object({"answer": {}}), _object({"error": _ERROR})]}
_OUTCOMES = _object(
    {"outcomes": {"type": "array", "description": "An outcome for each row, in order.", "items": _OUTCOME}}
)
_LINE: Schema = {
    "description": "A line for each outcome, as soon as it is ready. Lines without text may come between.",
    **_object(
        {"row": {"type": "integer", "description": "The row's position."}, "answer": {}, "error": _ERROR},
        required=["row"],
    ),
}
_STATUS = _object({"status": _TEXT})
_TIMEOUT: Schema = {
    "name": "x-stretto-timeout",
    "in": "header",
    "description": "The seconds in which the request must be answered.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
_READY = _object({"ready": {"type": "boolean"}})
_HEADER_LENGTH: Schema = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "How many bytes of the body are JSON, where the bytes of tensors follow.",
    "schema": {"type": "integer", "minimum": 0},
}
_STEP: Schema = {"name": "step", "in": "query", "description": "The step that answers alone.", "schema": _TEXT}


def describe(metadata: Metadata, root: str, *, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document of a pipeline that is served at the path `root`.

    The types of features and answers are open, since fitted models do not record them. If `secured`, requests need a
    bearer token.
    """
    live = _get("live", "Respond, if the process does", _STATUS)
    ready = _get("ready", "Return whether a prediction would be answered now", _STATUS)
    ready["responses"]["503"] = {**ready["responses"]["200"], "description": "Not ready"}
    schemas, definitions = msgspec.json.schema_components(
        [Metadata, InferRequest, InferResponse, ModelMetadata, ServerMetadata],
        ref_template="#/components/schemas/{name}",
    )
    rows = {"type": "array", "items": _ROW}
    batch = _post("batch", "Return an outcome for each of many rows", rows, _OUTCOMES, _STEP)
    batch["responses"]["200"]["content"][JSON_LINES] = {"schema": _LINE}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": metadata.name or "pipeline",
            "description": metadata.pipeline,
            "version": metadata.versions.get("stretto", "0"),
        },
        "servers": [{"url": root or "/"}],
        "paths": {
            "/": {"post": _post("predict", "Answer one row", _ROW, {})},
            "/batch": {"post": batch},
            "/steps/{name}": {"post": _post("step", "Answer one row from one step alone", {}, {}, _name(metadata))},
            "/trace": {"post": _post("trace", "Answer one row, with the spans of its steps", _ROW, {})},
            "/metadata": {"get": _get("metadata", "Return what the pipeline is", schemas[0])},
            "/health/live": {"get": live},
            "/health/ready": {"get": ready},
            **_inference(*schemas[1:]),
        },
        "components": {"schemas": {**definitions, "Row": _row(metadata.features), "Problem": _PROBLEM}},
    }
    if secured:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        live["security"] = []
        document["paths"][V2_LIVE]["get"]["security"] = []
    return document


def _inference(request: Schema, response: Schema, model: Schema, server: Schema) -> dict[str, Any]:
    """Return the paths of the Open Inference Protocol, whose errors are not problems."""
    live = _get("v2_live", "Respond, if the process does", _object({"live": {"type": "boolean"}}))
    ready = _get("v2_ready", "Return whether a prediction would be answered now", _READY)
    paths = {
        V2: {"get": _get("v2", "Return what the server is", server)},
        V2_LIVE: {"get": live},
        V2_READY: {"get": ready},
    }
    for suffix, at in ("", "/v2/models/{model}"), ("_version", "/v2/models/{model}/versions/{version}"):
        infer = _post(f"v2_infer{suffix}", "Return the outputs for the rows in tensors", request, response)
        for content in (infer["requestBody"]["content"], infer["responses"]["200"]["content"]):
            content[BINARY] = {"schema": {"description": "The JSON, followed by the bytes of tensors."}}
        infer["parameters"].append(_HEADER_LENGTH)
        paths[f"{at}/infer"] = {"post": infer}
        paths[f"{at}/ready"] = {"get": _get(f"v2_model_ready{suffix}", "Return whether a model is ready", _READY)}
        paths[at] = {"get": _get(f"v2_model{suffix}", "Return what is known of a model", model)}
    for at, methods in paths.items():
        for operation in methods.values():
            names = [each for each in ("model", "version") if f"{{{each}}}" in at]
            own = [{"name": each, "in": "path", "required": True, "schema": _TEXT} for each in names]
            operation["parameters"] = [*own, *operation.get("parameters", ())]
            error = {"application/json": {"schema": _object({"error": _TEXT})}}
            operation["responses"]["default"] = {"description": "An error", "content": error}
            if "ready" in at:
                operation["responses"]["503"] = {**operation["responses"]["200"], "description": "Not ready"}
    return paths


def _name(metadata: Metadata) -> Schema:
    names = {"enum": list(metadata.steps)} if metadata.steps else {}
    return {"name": "name", "in": "path", "required": True, "schema": {"type": "string", **names}}


def _row(features: tuple[str, ...]) -> Schema:
    if not features:
        return {"description": "One row, in whatever form the pipeline takes."}
    named = _object({name: {} for name in features}, additionalProperties=False)
    size = len(features)
    listed = {"type": "array", "prefixItems": [{"title": name} for name in features], "minItems": size}
    return {
        "description": "One row: its features by name, or in order.",
        "oneOf": [named, {**listed, "maxItems": size}],
    }


def _get(name: str, summary: str, answer: Schema) -> dict[str, Any]:
    ok = {"description": HTTPStatus.OK.phrase, "content": {"application/json": {"schema": answer}}}
    problem = {"description": "An error", "content": {PROBLEM: {"schema": _ERROR}}}
    return {"operationId": name, "summary": summary, "responses": {"200": ok, "default": problem}}


def _post(name: str, summary: str, body: Schema, answer: Schema, *parameters: Schema) -> dict[str, Any]:
    return {
        **_get(name, summary, answer),
        "parameters": [*parameters, _TIMEOUT],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
    }
