"""The Open Inference Protocol v2: the handlers of ``/v2``, over the same transport as all others."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import numpy as np

from stretto.batch.arrays import size
from stretto.batch.batch import Batch
from stretto.engine.context import Context
from stretto.engine.results import Metadata
from stretto.errors import InputError, NotFound, StepError, StrettoError
from stretto.server.limits import Limits
from stretto.server.messages import MethodNotAllowedError, Request, Response, headers_of, members_of
from stretto.server.tensor_rows import OUTPUT, declared, input_tensors, no_answers, output_tensors, rows_of_tensors
from stretto.transports.base import Transport
from stretto.wire import JSON, encode_json
from stretto.wire.inference import (
    BINARY,
    HEADER_LENGTH,
    Inference,
    InferResponse,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
    decode_inference,
    encode_inference,
)
from stretto.wire.tensors import answers_as_arrays

_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
V2: Final = "/v2"
V2_LIVE: Final = "/v2/health/live"
V2_READY: Final = "/v2/health/ready"
MODEL_VERSION: Final = "1"
"""The version of a served pipeline: there is one."""
EXTENSIONS: Final = ("binary_tensor_data",)
_MODEL: Final = re.compile(r"/v2/models/(?P<name>.+?)(?:/versions/(?P<version>[^/]+))?(?P<what>/infer|/ready|)")
_ROUTES: Final = (
    "GET /v2, GET /v2/health/live, GET /v2/health/ready, and under /v2/models/{name} or "
    "/v2/models/{name}/versions/{version}: GET for metadata, GET /ready, POST /infer"
)
_GET: Final = ("GET", "HEAD")


def is_inference(path: str) -> bool:
    """Return whether a path is one of the protocol's."""
    return path.startswith(V2) and path[len(V2) :][:1] in ("", "/")


def error_response(error: Exception) -> Response:
    """Return the response for an error, as the protocol has it: its text, with the row where there was one."""
    members = members_of(error)
    where = f"row {members['row']}: " if members.get("row") is not None else ""
    expected = members.get("expected")
    text = f"{where}{members['detail']}" + (f" (expected: {expected})" if expected else "")
    return Response(encode_json({"error": text}), JSON, members["status"], *headers_of(error))


class InferenceRoutes:
    """The handlers of the protocol, over the transport that `transport` returns; `name` is the model's, if any."""

    def __init__(self, transport: Callable[[], Transport], limits: Limits, name: str) -> None:
        self._transport = transport
        self._name = name
        self._limits = limits
        self._metadata: Metadata | None = None
        self._declared: list[TensorMetadata] = []
        self._server = {V2: self.server, V2_LIVE: self.live, V2_READY: self.ready}
        self._model = {"": self.model, "/ready": self.model_ready, "/infer": self.infer}

    def find(self, root: str, path: str, method: str) -> _Handler:
        """Return the handler of a request.

        Raises:
            NotFound: there is nothing at `path`; the message lists the routes.
            MethodNotAllowedError: the route takes other methods.
        """
        handler, model = self._server.get(path), _MODEL.fullmatch(path)
        if handler is None and model is None:
            under = f" under {root}" if root else ""
            raise NotFound(f"there is nothing at {path}; the routes{under} are {_ROUTES}")
        what = model["what"] if model else ""
        methods = ("POST",) if what == "/infer" else _GET
        if method not in methods:
            raise MethodNotAllowedError(sorted(methods))
        return handler or self._model[what]

    async def server(self, _: Request) -> Response:
        """Return what the server is."""
        return Response(encode_json(ServerMetadata("stretto", version("stretto"), list(EXTENSIONS))))

    async def live(self, _: Request) -> Response:
        """Respond, and thus show that the process does."""
        return Response(b'{"live":true}')

    async def ready(self, _: Request) -> Response:
        """Return whether a prediction would be answered now."""
        return _readiness(await self._is_ready(), live=True)

    async def model_ready(self, request: Request) -> Response:
        """Return the same, of a model by its name."""
        ready = await self._is_ready()
        # What is not ready may well not know its name.
        name = self._name_of(await self._named(request.path)) if ready else _MODEL.fullmatch(request.path)["name"]  # pyright: ignore[reportOptionalSubscript]
        return _readiness(ready, name=name)

    async def model(self, request: Request) -> Response:
        """Return what is known of a model."""
        self._metadata = None
        metadata = await self._named(request.path)
        about = ModelMetadata(
            self._name_of(metadata), [MODEL_VERSION], "stretto", input_tensors(metadata), self._declared
        )
        return Response(encode_json(about))

    async def infer(self, request: Request) -> Response:
        """Return the outputs for the rows in a request's tensors.

        Raises:
            InputError: the tensors are not the rows of this pipeline, or a requested output is none of it.
            StrettoError: a row failed; it has the position of the first.
        """
        metadata = await self._named(request.path)
        inference: Inference = request.value()
        rows = rows_of_tensors(inference.tensors, metadata)
        self._limits.check_rows(size(rows))
        timeout = inference.message.parameters.timeout
        context = request.context.within(timeout / 1e6) if timeout else request.context
        if size(rows):
            arrays = declared(answers_as_arrays(await self._answers(rows, context), OUTPUT), self._declared)
        else:
            arrays = no_answers(self._declared)
        response = InferResponse(self._name_of(metadata), [], MODEL_VERSION, inference.message.id)
        names = _requested(inference, arrays)
        body = encode_inference(response, {name: (*arrays[name], inference.is_binary(name)) for name in names})
        if not any(map(inference.is_binary, names)):
            return Response(body)
        return Response(body, BINARY, 200, (HEADER_LENGTH, b"%d" % len(body[0])))

    async def _answers(self, rows: Sequence[Any], context: Context) -> Batch:
        if size(rows) == 1 and isinstance(rows, list | np.ndarray):
            try:
                return Batch.of([await self._transport().predict(rows[0], context)])
            except (InputError, StepError) as error:
                raise error.at(0) from error
        answers = await self._transport().batch(rows, context)
        if answers.errors:
            at = min(answers.errors)
            raise answers.errors[at].at(at)
        return answers

    async def _is_ready(self) -> bool:
        try:
            return await self._transport().ready()
        except StrettoError:
            return False

    def _name_of(self, metadata: Metadata) -> str:
        return self._name or metadata.name or "pipeline"

    async def _named(self, path: str) -> Metadata:
        """Return the metadata of the model in a path.

        Raises:
            NotFound: there is no such model, or no such version of it.
        """
        model = _MODEL.fullmatch(path)
        assert model is not None
        if self._metadata is None or self._name_of(self._metadata) != model["name"]:
            self._metadata = await self._transport().metadata()
            self._declared = output_tensors(self._metadata)
        name = self._name_of(self._metadata)
        if model["name"] != name:
            raise NotFound(f"there is no model {model['name']!r}; the models are {name!r}")
        if model["version"] not in (None, MODEL_VERSION):
            raise NotFound(f"model {name!r} has no version {model['version']!r}; the versions are {MODEL_VERSION!r}")
        return self._metadata


def decoder(headers: dict[bytes, bytes]) -> Callable[[bytes], Inference]:
    """Return what decodes the body of a request with these headers.

    Raises:
        InputError: the length of its JSON is no number, or the body is compressed.
    """
    coding = headers.get(b"content-encoding", b"identity")
    if coding != b"identity":
        name = coding.decode("latin-1")
        raise InputError(f"the body is compressed ({name}): send it as it is", "content-encoding", "identity")
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return decode_inference
    if not text.isdigit() or len(text) > 20:
        raise InputError("Inference-Header-Content-Length is no number of bytes", HEADER_LENGTH.decode(), "a number")
    return partial(decode_inference, header_length=int(text))


def _requested(inference: Inference, arrays: dict[str, Any]) -> list[str]:
    for each in inference.message.outputs:
        if each.name not in arrays:
            names = ", ".join(map(repr, arrays)) or "none"
            raise InputError(f"there is no output {each.name!r}; the outputs are {names}", each.name, names)
        if each.parameters.classification:
            raise InputError("this server does not have Triton's extension classification", each.name)
    return list(dict.fromkeys(each.name for each in inference.message.outputs)) or list(arrays)


def _readiness(ready: bool, **about: Any) -> Response:
    return Response(encode_json({**about, "ready": ready}), status=200 if ready else 503)
