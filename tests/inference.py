"""A client of the Open Inference Protocol by hand, for tests, written from its specification."""

from __future__ import annotations

import json
import struct
from typing import Any

import httpx
import numpy as np

NAMES = {"b": "BOOL", "i": "INT", "u": "UINT", "f": "FP"}


def tensor(name: str, values: Any, *, binary: bool = False) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of an input and its bytes; texts with missing ones among them are JSON in any case."""
    if isinstance(values, list) and any(isinstance(each, str) or each is None for each in values):
        if all(each is None or isinstance(each, float) for each in values):
            return {"name": name, "shape": [len(values)], "datatype": "FP64", "data": values}, b""
        about = {"name": name, "shape": [len(values)], "datatype": "BYTES"}
        if not binary or None in values:
            return {**about, "data": values}, b""
        content = b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in values)
        return {**about, "parameters": {"binary_data_size": len(content)}}, content
    array = np.asarray(values)
    kind = NAMES[array.dtype.kind]
    about = {"name": name, "shape": list(array.shape)}
    about["datatype"] = kind if kind == "BOOL" else f"{kind}{8 * array.dtype.itemsize}"
    if not binary and np.isfinite(array).all():
        return {**about, "data": array.tolist()}, b""
    return {**about, "parameters": {"binary_data_size": array.nbytes}}, array.tobytes()


def message(tensors: list[tuple[dict[str, Any], bytes]], **members: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request with these inputs, and its headers."""
    header = json.dumps({"inputs": [about for about, _ in tensors], **members}).encode()
    content = b"".join(each for _, each in tensors)
    return header + content, {"Inference-Header-Content-Length": str(len(header))} if content else {}


async def posted(
    http: httpx.AsyncClient,
    model: str,
    tensors: list[tuple[dict[str, Any], bytes]],
    *,
    binary: bool = False,
    **members: Any,
) -> httpx.Response:
    """Return the response to a request with these inputs, whose outputs are wanted as bytes or as JSON."""
    body, headers = message(tensors, parameters={"binary_data_output": binary}, **members)
    return await http.post(f"/v2/models/{model}/infer", content=body, headers=headers)


def answers_of(response: httpx.Response) -> list[Any]:
    """Return the rows of the outputs in a response: values, arrays, or dicts of these."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get("Inference-Header-Content-Length", len(response.content)))
    header, content = json.loads(response.content[:length]), response.content[length:]
    columns: dict[str, list[Any]] = {}
    for output in header["outputs"]:
        size = output["parameters"]["binary_data_size"] if "data" not in output else 0
        values = _values(output, content[:size])
        content = content[size:]
        if output.get("parameters", {}).get("content_type") == "application/json":
            values = [json.loads(each) for each in values]
        columns[output["name"]] = values
    assert content == b""
    if list(columns) == ["output"]:
        return columns["output"]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(output: dict[str, Any], content: bytes) -> list[Any]:
    if output["datatype"] == "BYTES":
        data = output["data"] if "data" in output else texts(content)
        array = np.array(data, dtype=object).reshape(output["shape"])
    else:
        kind = next(each for each, name in NAMES.items() if output["datatype"].startswith(name))
        bits = output["datatype"].removeprefix(NAMES[kind])
        dtype = np.dtype("?" if kind == "b" else f"<{kind}{int(bits) // 8}")
        data = np.array(output["data"], dtype=dtype) if "data" in output else np.frombuffer(content, dtype)
        array = data.reshape(output["shape"])
    return array.tolist() if array.ndim == 1 else list(array)


def texts(content: bytes) -> list[str]:
    """Return the texts in the bytes of a tensor."""
    found: list[str] = []
    while content:
        (length,) = struct.unpack_from("<I", content)
        found.append(content[4 : 4 + length].decode())
        content = content[4 + length :]
    return found
