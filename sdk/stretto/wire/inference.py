"""Messages of the Open Inference Protocol v2: JSON, and the bytes of tensors after it.

The sources are ``specification/protocol/inference_rest.md`` of kserve/open-inference-protocol, and
``docs/protocol/extension_binary_data.md`` of triton-inference-server/server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from stretto.errors import InputError, TooLarge
from stretto.wire.json import decode_json, encode_json
from stretto.wire.tensors import BYTES, DATATYPES, array_of_content, array_of_values, content_of, datatype_of, values_of

HEADER_LENGTH: Final = b"inference-header-content-length"
"""The header with the bytes of a message that are JSON, where the bytes of tensors follow."""
BINARY: Final = "application/octet-stream"

_Size = Annotated[int, Meta(ge=0)]
_Datatype = Annotated[str, Meta(extra_json_schema={"enum": list(DATATYPES)})]
_Shape = Annotated[list[_Size], Meta(min_length=1, max_length=32)]


class InputParameters(Struct, omit_defaults=True):
    """Where the data of an input is: so many bytes of those after the JSON, or in shared memory."""

    binary_data_size: _Size | UnsetType = UNSET
    shared_memory_region: str | UnsetType = UNSET


class InputTensor(Struct, omit_defaults=True):
    """A tensor of a request, with a row at each place of its first axis."""

    name: str
    shape: _Shape
    datatype: _Datatype
    data: list[Any] | UnsetType = UNSET
    parameters: InputParameters = msgspec.field(default_factory=InputParameters)


class OutputParameters(Struct, omit_defaults=True):
    """How an output is to be sent."""

    binary_data: bool | None = None
    classification: int = 0


class RequestedOutput(Struct, omit_defaults=True):
    """An output that a request names."""

    name: str
    parameters: OutputParameters = msgspec.field(default_factory=OutputParameters)


class RequestParameters(Struct, omit_defaults=True):
    """How all outputs are to be sent, and the microseconds that the request has."""

    binary_data_output: bool = False
    timeout: _Size | None = None


class InferRequest(Struct, omit_defaults=True):
    """The JSON of a request."""

    inputs: Annotated[list[InputTensor], Meta(min_length=1)]
    outputs: list[RequestedOutput] = []
    id: str = ""
    parameters: RequestParameters = msgspec.field(default_factory=RequestParameters)


class OutputTensor(Struct, omit_defaults=True):
    """A tensor of a response; its data follows the JSON where its parameters have the size of it."""

    name: str
    datatype: _Datatype
    shape: list[int]
    data: list[Any] | UnsetType = UNSET
    parameters: dict[str, Any] = {}


class InferResponse(Struct, omit_defaults=True):
    """The JSON of a response."""

    model_name: str
    outputs: list[OutputTensor]
    model_version: str = ""
    id: str = ""


class TensorMetadata(Struct):
    """What is known of a tensor: -1 is a side of any length."""

    name: str
    datatype: _Datatype
    shape: list[int]


class ModelMetadata(Struct):
    """What is known of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Struct):
    """What a server is."""

    name: str
    version: str
    extensions: list[str]


@dataclass(frozen=True, slots=True)
class Inference:
    """A request as decoded: its message, and its tensors as arrays by name; texts are objects."""

    message: InferRequest
    tensors: dict[str, np.ndarray]

    def is_binary(self, name: str) -> bool:
        """Return whether an output is to be sent as bytes."""
        for each in self.message.outputs:
            if each.name == name and each.parameters.binary_data is not None:
                return each.parameters.binary_data
        return self.message.parameters.binary_data_output


def decode_inference(body: bytes, header_length: int | None = None) -> Inference:
    """Return the request in a body, of which `header_length` bytes are JSON, or all.

    Raises:
        InputError: it is none, or a tensor's data is not what its shape and datatype say; `field` is the tensor.
        TooLarge: it is nested too deeply, or has too many values.
    """
    length = len(body) if header_length is None else header_length
    if length > len(body):
        raise InputError(f"the header says that {length} bytes are JSON, and the body has {len(body)}")
    try:
        message = msgspec.convert(decode_json(body[:length]), InferRequest)
    except msgspec.ValidationError as error:
        raise InputError(f"the body is no inference request: {error}", expected="inputs, each a tensor") from None
    content = memoryview(body)[length:]
    tensors: dict[str, np.ndarray] = {}
    for each in message.inputs:
        if each.name in tensors:
            raise InputError(f"two inputs are named {each.name!r}", each.name, "each input once")
        tensors[each.name], content = _decoded(each, content)
    if len(content):
        raise InputError(f"the body has {len(content)} bytes after the data of all inputs", expected="binary_data_size")
    return Inference(message, tensors)


def encode_inference(response: InferResponse, arrays: Mapping[str, tuple[np.ndarray, str, bool]]) -> list[bytes]:
    """Return the body of a response with these outputs: its JSON, and the bytes of tensors.

    An output is an array, the content type of its texts or the empty string, and whether it is sent as bytes.

    Raises:
        StepError: a value can't be sent.
    """
    contents: list[bytes] = []
    for name, (array, content_type, binary) in arrays.items():
        tensor = OutputTensor(name, datatype_of(array.dtype), list(array.shape))
        if content_type:
            tensor.parameters["content_type"] = content_type
        if binary:
            contents.append(content_of(array))
            tensor.parameters["binary_data_size"] = len(contents[-1])
        else:
            tensor.data = values_of(array)
        response.outputs.append(tensor)
    return [encode_json(response), *contents]


def _decoded(tensor: InputTensor, content: memoryview) -> tuple[np.ndarray, memoryview]:
    """Return the array of an input, and the bytes that follow it."""
    name, size = tensor.name, tensor.parameters.binary_data_size
    expected = f"{tensor.datatype} of shape {tensor.shape}"
    if tensor.datatype not in DATATYPES:
        raise InputError(f"input {name!r} has the unknown datatype {tensor.datatype!r}", name, ", ".join(DATATYPES))
    try:
        if size is UNSET:
            if tensor.data is UNSET:
                where = "; shared memory is not shared with this server" * (
                    tensor.parameters.shared_memory_region is not UNSET
                )
                raise ValueError(f"it has neither data nor binary_data_size{where}")
            return array_of_values(tensor.data, tensor.datatype, tensor.shape), content
        if tensor.data is not UNSET:
            raise ValueError("it has both data and binary_data_size")
        if size > len(content):
            raise ValueError(f"its binary_data_size is {size}, and {len(content)} bytes are left of the body")
        return array_of_content(content[:size], tensor.datatype, tensor.shape), content[size:]
    except TooLarge:
        raise
    except ValueError as error:
        text = "its texts are not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(f"input {name!r}: {text}", name, expected) from None


__all__ = [
    "BINARY",
    "BYTES",
    "HEADER_LENGTH",
    "InferRequest",
    "InferResponse",
    "Inference",
    "ModelMetadata",
    "ServerMetadata",
    "TensorMetadata",
    "decode_inference",
    "encode_inference",
]
