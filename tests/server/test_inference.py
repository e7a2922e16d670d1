# pyright: basic, reportArgumentType=false
"""The Open Inference Protocol: Triton's own clients, errors, tokens, deadlines, and what strangers send."""

import asyncio
import contextlib
import gzip
import json
import re
import struct

import anyio.to_thread
import httpx
import numpy as np
import pandas as pd
import pytest
import tritonclient.http
import tritonclient.http.aio
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tritonclient.utils import InferenceServerException

from stretto import Client, asgi, model, parallel, step
from stretto.errors import InputError, StrettoError
from stretto.testing.http_server import serving
from stretto.wire.inference import decode_inference
from tests.echo import Echo, Failing, over_asgi
from tests.inference import answers_of, message, posted, tensor

X, y = load_iris(return_X_y=True)
LABELS = ["setosa", "versicolor", "virginica"]
LINEAR = LogisticRegression(max_iter=500).fit(X, y)
HOMES = pd.DataFrame({"area": [30.5, 48.0, 120.0, 77.0], "rooms": [1, 2, 5, 3], "city": ["bonn", "ulm", "ulm", "bonn"]})
PRICEY = make_pipeline(
    make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"),
    LogisticRegression(),
).fit(HOMES, [False, False, True, True])
NOTES = ["quiet and bright", "near the river", "bright river view"]


def double(x):
    return 2 * x


# The pipeline, and its inputs by name with their datatypes.
SERVED = {
    "labels": (model(LINEAR, labels=LABELS), {"any": (X[:7], "FP64")}),
    "codes": (model(LINEAR), {"x": (X[:7].astype(np.float32), "FP32")}),
    "probabilities": (model(LINEAR, output="proba"), {"x": (X[:7], "FP64")}),
    "named probabilities": (model(LINEAR, output="label_proba", labels=LABELS), {"x": (X[:7], "FP64")}),
    "arrays": (model(StandardScaler().fit(X)), {"x": (X, "FP64")}),
    "one row": (model(LINEAR, labels=LABELS), {"x": (X[:1], "FP64")}),
    "columns": (
        model(PRICEY, features=HOMES),
        {
            "area": (HOMES["area"].to_numpy(), "FP64"),
            "rooms": (HOMES[["rooms"]].to_numpy(dtype=np.uint8), "UINT8"),
            "city": (HOMES["city"].to_numpy(dtype=object), "BYTES"),
        },
    ),
    "texts": (
        model(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(NOTES, ["a", "b", "ü"])),
        {"text": (np.array(NOTES, dtype=object).reshape(3, 1), "BYTES")},
    ),
    "several": (
        parallel(model(LINEAR, name="linear", labels=LABELS), model(LINEAR, name="codes")),
        {"x": (X[:5], "FP64")},
    ),
}


def rows_of(inputs):
    if len(inputs) > 1:
        columns = [array.ravel().tolist() for array, _ in inputs.values()]
        return [dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)]
    ((array, _),) = inputs.values()
    return array.ravel().tolist() if array.shape[1] == 1 else array.tolist()


def read(result, answers):
    """Return the answers in a result of Triton's client, in the form of these."""
    outputs = {each["name"]: result.as_numpy(each["name"]) for each in result.get_response()["outputs"]}
    plain = {
        name: [each.decode() if isinstance(each, bytes) else each for each in array.tolist()]
        for name, array in outputs.items()
    }
    if isinstance(answers[0], dict):
        return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    return plain["output"]


def same(got, want):
    return json.dumps(got) == json.dumps([each.tolist() if isinstance(each, np.ndarray) else each for each in want])


def asked_with(module, inputs, outputs, *, binary_in, binary_out):
    sent = []
    for name, (array, datatype) in inputs.items():
        sent.append(module.InferInput(name, list(array.shape), datatype))
        sent[-1].set_data_from_numpy(array, binary_data=binary_in)
    return sent, [module.InferRequestedOutput(each, binary_data=binary_out) for each in outputs]


class TestTritonsClients:
    @pytest.mark.parametrize("kind", SERVED)
    async def test_they_get_metadata_readiness_and_the_answers_of_predict_many(self, kind):
        pipeline, inputs = SERVED[kind]
        async with Client(pipeline) as client:
            answers = await client.predict_many(rows_of(inputs))
        outputs = list(answers[0]) if isinstance(answers[0], dict) else ["output"]
        async with serving(pipeline) as url:
            await anyio.to_thread.run_sync(self.check, url, inputs, outputs, answers)
            async with tritonclient.http.aio.InferenceServerClient(url.removeprefix("http://")) as client:
                assert await client.is_server_live()
                assert await client.is_server_ready()
                assert await client.is_model_ready(pipeline.label)
                assert (await client.get_model_metadata(pipeline.label))["name"] == pipeline.label
                for binary_in in (False, True):
                    for binary_out in (False, True):
                        sent, wanted = asked_with(
                            tritonclient.http.aio, inputs, outputs, binary_in=binary_in, binary_out=binary_out
                        )
                        result = await client.infer(pipeline.label, sent, outputs=wanted)
                        assert same(read(result, answers), answers)

    def check(self, url, inputs, outputs, answers):
        with tritonclient.http.InferenceServerClient(url.removeprefix("http://")) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            server = client.get_server_metadata()
            assert (server["name"], server["extensions"]) == ("stretto", ["binary_tensor_data"])
            name = self.name(client)
            assert client.is_model_ready(name, "1")
            assert not client.is_model_ready(name, "2")
            assert not client.is_model_ready("another")
            metadata = client.get_model_metadata(name, "1")
            assert (metadata["name"], metadata["versions"]) == (name, ["1"])
            for binary_in in (False, True):
                for binary_out in (False, True):
                    sent, wanted = asked_with(
                        tritonclient.http, inputs, outputs, binary_in=binary_in, binary_out=binary_out
                    )
                    result = client.infer(name, sent, outputs=wanted, request_id="7", model_version="1")
                    assert same(read(result, answers), answers)
                    response = result.get_response()
                    assert (response["id"], response["model_name"], response["model_version"]) == ("7", name, "1")
            assert same(read(client.infer(name, sent), answers), answers)

    def name(self, client):
        with pytest.raises(InferenceServerException, match="there is no model 'another'") as raised:
            client.get_model_metadata("another")
        assert raised.value.status() == "404"
        return str(raised.value).rpartition("the models are ")[2].split("'")[1]


class TestMetadata:
    async def test_it_has_what_the_signature_has(self):
        async with over_asgi(Client(model(PRICEY, features=HOMES, name="homes")).transport) as client:
            about = (await client.get("/v2/models/homes")).json()
        assert about["inputs"] == [
            {"name": "area", "datatype": "FP64", "shape": [-1]},
            {"name": "rooms", "datatype": "INT64", "shape": [-1]},
            {"name": "city", "datatype": "BYTES", "shape": [-1]},
        ]
        assert about["outputs"] == [{"name": "output", "datatype": "BOOL", "shape": [-1]}]

    @pytest.mark.parametrize(
        ("part", "inputs", "outputs"),
        [
            (model(LINEAR, labels=LABELS), [("input", "FP64", [-1, 4])], [("output", "BYTES", [-1])]),
            (model(LINEAR), [("input", "FP64", [-1, 4])], [("output", "INT64", [-1])]),
            (model(LINEAR, output="proba"), [("input", "FP64", [-1, 4])], [("output", "FP64", [-1, 3])]),
            (
                model(LINEAR, output="label_proba", labels=LABELS, features=list("abcd")),
                [(each, "FP64", [-1]) for each in "abcd"],
                [(each, "FP64", [-1]) for each in LABELS],
            ),
            (SERVED["texts"][0], [("input", "BYTES", [-1])], [("output", "BYTES", [-1])]),
            (step(double), [], []),
        ],
    )
    async def test_it_has_what_is_known_of_a_model(self, part, inputs, outputs):
        app = asgi(part, name="a model")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            about = (await client.get("/v2/models/a%20model/versions/1")).json()
        assert [tuple(each.values()) for each in about["inputs"]] == inputs
        assert [tuple(each.values()) for each in about["outputs"]] == outputs

    async def test_no_rows_get_outputs_of_no_rows(self):
        async with over_asgi(Client(model(LINEAR, output="proba", name="m")).transport) as client:
            response = await posted(client, "m", [tensor("x", np.empty((0, 4)))])
        assert response.json()["outputs"] == [{"name": "output", "datatype": "FP64", "shape": [0, 3], "data": []}]


class TestAnswers:
    @pytest.mark.parametrize(
        "answers",
        [
            [1, 2],
            [2**63, 2**64 - 1],
            [1, 2.5],
            [True, False],
            ["a", "ü"],
            [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
            [{"a": 1}, {"b": 2}],
            [{"a": {"b": 1}}, {"a": {"b": None}}],
            [None, None],
            ["a", None],
            [1, "a"],
            [[1, 2], [3, 4]],
            [[1, 2], [3]],
            [["a"], ["b"]],
            [[], []],
            [{}, {}],
        ],
        ids=str,
    )
    @pytest.mark.parametrize("binary", [False, True])
    async def test_whatever_they_are_they_arrive(self, answers, binary):
        async with over_asgi(Client(step(answers.__getitem__, name="m")).transport) as client:
            response = await posted(client, "m", [tensor("at", [0, 1])], binary=binary)
        assert json.loads(json.dumps(answers_of(response), default=np.ndarray.tolist)) == answers

    @pytest.mark.parametrize("output", ["predict", "proba", "label_proba"])
    @pytest.mark.parametrize("count", [1, 3])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    async def test_their_datatype_is_the_one_in_the_metadata(self, output, count, dtype):
        fitted = LogisticRegression(max_iter=500).fit(X.astype(dtype), y.astype("int32"))
        async with over_asgi(Client(model(fitted, output=output, name="m")).transport) as client:
            about = (await client.get("/v2/models/m")).json()["outputs"]
            response = await posted(client, "m", [tensor("x", X[:count].astype(dtype))])
        assert [(each["name"], each["datatype"]) for each in response.json()["outputs"]] == [
            (each["name"], each["datatype"]) for each in about
        ]

    async def test_the_first_failing_row_is_the_error_of_the_request(self):
        async with over_asgi(Client(model(LINEAR, name="m")).transport) as client:
            response = await posted(client, "m", [tensor("x", np.array([[1.0] * 4, [np.nan] * 4]))])
            alone = await posted(client, "m", [tensor("x", np.array([[np.nan] * 4]))])
        assert response.status_code == alone.status_code == 422
        assert response.json()["error"].startswith("row 1: ")
        assert alone.json()["error"].startswith("row 0: ")

    async def test_rows_of_concurrent_requests_share_batches(self):
        sizes = []

        def counted(rows):
            sizes.append(len(rows))
            return [float(np.sum(each)) for each in rows]

        async with over_asgi(Client(step(counted, vectorized=True, name="m")).transport) as client:
            responses = await asyncio.gather(
                *(posted(client, "m", [tensor("x", np.full((1 + at % 2, 3), float(at)))]) for at in range(20))
            )
        assert [answers_of(each) for each in responses] == [[3.0 * at] * (1 + at % 2) for at in range(20)]
        assert len(sizes) < 20


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status", "text"),
        [
            ("GET", "/v2/nothing", 404, "POST /infer"),
            ("GET", "/v2/models/m/config", 404, "there is no model 'm/config'"),
            ("GET", "/v2/models/other", 404, "the models are 'm'"),
            ("POST", "/v2/models/m/versions/2/infer", 404, "the versions are '1'"),
            ("GET", "/v2/models/m/infer", 405, "this route takes POST"),
            ("POST", "/v2/health/live", 405, "GET, HEAD"),
        ],
    )
    async def test_they_have_the_form_of_the_protocol(self, method, path, status, text):
        body, _ = message([tensor("x", X[:1])])
        async with over_asgi(Client(model(LINEAR, name="m")).transport) as client:
            response = await client.request(method, path, content=body if method == "POST" else b"")
        assert response.status_code == status
        assert list(response.json()) == ["error"]
        assert text in response.json()["error"]

    async def test_tokens_limits_and_deadlines_hold(self):
        async with over_asgi(Echo(), tokens=["x"], max_rows=3, max_bytes=2000) as client:
            assert (await client.get("/v2/health/live")).status_code == 200
            assert (await client.get("/v2")).json()["error"].startswith("the request has no bearer token")
            client.headers["authorization"] = "Bearer x"
            assert (await posted(client, "echo", [tensor("x", X[:4])])).status_code == 413
            assert (await posted(client, "echo", [tensor("x", X)])).status_code == 413
            late = await client.post("/v2/models/echo/infer", headers={"x-stretto-timeout": "0"})
            assert late.status_code == 504

    @pytest.mark.parametrize("by_header", [False, True])
    async def test_a_deadline_ends_a_request(self, by_header):
        async def wait(row):
            await asyncio.Event().wait()

        parameters = {} if by_header else {"timeout": 50_000}
        body, _ = message([tensor("x", ["a"])], parameters=parameters)
        headers = {"x-stretto-timeout": "0.05"} if by_header else {}
        async with over_asgi(Client(step(wait, name="m")).transport) as client:
            response = await client.post("/v2/models/m/infer", content=body, headers=headers)
        assert response.status_code == 504
        assert "deadline exceeded" in response.json()["error"]

    async def test_what_fails_in_the_server_keeps_its_text_to_itself(self, caplog):
        async with over_asgi(Failing(RuntimeError("secret"))) as client:
            response = await posted(client, "echo", [tensor("x", X[:1])])
        assert response.status_code == 500
        assert "secret" not in response.text

    async def test_a_server_that_is_not_ready_says_so(self):
        echo = Echo()
        echo.is_ready = False
        async with over_asgi(echo) as client:
            for path in ("/v2/health/ready", "/v2/models/echo/ready"):
                response = await client.get(path)
                assert (response.status_code, response.json()["ready"]) == (503, False)


def changed(**members):
    about, content = tensor("x", np.array([[1.5, 2.5]]), binary="data" not in members)
    return {**about, **members}, content


def of_bytes(datatype, content, shape=(1,)):
    size = {"binary_data_size": len(content)}
    return {"name": "x", "shape": list(shape), "datatype": datatype, "parameters": size}, content


DEEP = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": json.loads("[" * 70 + "]" * 70)}]}
NO_INPUTS = [[], [1], {}, [{"name": "x"}]]
HOSTILE = {
    "a shape of other data": changed(shape=[2, 2]),
    "a negative side": changed(shape=[-1, 2]),
    "a huge shape": changed(shape=[2**62, 2**62]),
    "a huge shape of nothing": ({"name": "x", "shape": [0, 2**62], "datatype": "FP64", "data": []}, b""),
    "a shape without rows": changed(shape=[]),
    "many sides": changed(shape=[1] * 33 + [2]),
    "an unknown datatype": changed(datatype="BF16"),
    "a datatype of another size": changed(datatype="FP32"),
    "more bytes than there are": changed(parameters={"binary_data_size": 17}),
    "fewer bytes than there are": changed(parameters={"binary_data_size": 8}, shape=[1, 1]),
    "a negative size": changed(parameters={"binary_data_size": -8}),
    "a size that is no number": changed(parameters={"binary_data_size": "16"}),
    "data and bytes": changed(data=[1.0, 2.0], parameters={"binary_data_size": 16}),
    "no data": ({"name": "x", "shape": [1], "datatype": "FP64"}, b""),
    "shared memory": changed(parameters={"shared_memory_region": "r"}),
    "texts as numbers": changed(data=["1", "2"]),
    "floats as integers": changed(data=[1.5, 2.5], datatype="INT64"),
    "flags as integers": changed(data=[True, False], datatype="INT64"),
    "numbers out of range": changed(data=[256, 0], datatype="UINT8"),
    "floats out of range": changed(data=[1e300, 0], datatype="FP32"),
    "ragged rows": changed(data=[[1.0], [2.0, 3.0]], shape=[2, 1]),
    "rows nested otherwise": changed(data=[[1.0, 2.0]], shape=[2, 1]),
    "flags that are none": of_bytes("BOOL", b"\x02"),
    "texts that are cut": of_bytes("BYTES", struct.pack("<I", 9) + b"ab"),
    "a length that is cut": of_bytes("BYTES", struct.pack("<I", 1) + b"a" + b"\1\0\0", [2]),
    "texts that go on": of_bytes("BYTES", struct.pack("<I", 1) + b"abc"),
    "more texts than bytes": of_bytes("BYTES", struct.pack("<I", 1) + b"a", [2**40]),
    "texts that are no texts": of_bytes("BYTES", struct.pack("<I", 1) + b"\xff"),
}


class TestHostileRequests:
    @pytest.mark.parametrize("kind", HOSTILE)
    async def test_a_tensor_that_is_none_is_an_error_that_names_it(self, kind):
        body, headers = message([HOSTILE[kind]])
        length = headers.get("Inference-Header-Content-Length")
        with pytest.raises(InputError) as raised:
            decode_inference(body, length and int(length))
        assert re.search(r"'x'|inputs\[0\]|after the data", raised.value.message)
        async with over_asgi(Echo()) as client:
            response = await client.post("/v2/models/echo/infer", content=body, headers=headers)
        assert response.status_code in (413, 422)
        assert list(response.json()) == ["error"]

    @pytest.mark.parametrize("length", ["-1", "x", "9" * 30, "1000000", "0", "3", "", "1_0", "+1", "²"])
    async def test_a_length_that_lies(self, length):
        body, _ = message([tensor("x", X[:2], binary=True)])
        headers = {"Inference-Header-Content-Length": length.encode()}
        async with over_asgi(Echo()) as client:
            response = await client.post("/v2/models/echo/infer", content=body, headers=headers)
        assert response.status_code == 422
        assert response.json()["error"]

    @pytest.mark.parametrize(
        "body",
        [*("", "1", "[]", "{}", "[" * 100_000), *map(json.dumps, [DEEP, *({"inputs": each} for each in NO_INPUTS)])],
    )
    async def test_what_is_no_request(self, body):
        async with over_asgi(Echo()) as client:
            response = await client.post("/v2/models/echo/infer", content=body)
        assert response.status_code in (413, 422)
        assert list(response.json()) == ["error"]

    async def test_a_compressed_body_is_told_what_it_is(self):
        body, _ = message([tensor("x", X[:1])])
        async with over_asgi(Echo()) as client:
            response = await client.post(
                "/v2/models/echo/infer", content=gzip.compress(body), headers={"content-encoding": "gzip"}
            )
        assert response.status_code == 422
        assert "compressed (gzip)" in response.json()["error"]

    async def test_outputs_that_are_not_there_and_inputs_that_are_there_twice(self):
        row = tensor("x", X[:1])
        async with over_asgi(Echo()) as client:
            for tensors, outputs, text in (
                ([row], [{"name": "other"}], "the outputs are 'output'"),
                ([row], [{"name": "output", "parameters": {"classification": 3}}], "classification"),
                ([row, row], [], "two inputs are named 'x'"),
                ([row, tensor("z", [1.0, 2.0])], [], "columns of one length"),
            ):
                response = await posted(client, "echo", tensors, outputs=outputs)
                assert response.status_code == 422
                assert text in response.json()["error"]

    @given(st.binary(max_size=60), st.integers(0, 80) | st.none(), st.integers(0, 300), st.integers(0, 300))
    def test_bytes_of_any_kind_are_a_request_or_an_error_of_ours(self, junk, length, start, stop):
        whole, headers = message([tensor("x", X[:2], binary=True), tensor("t", ["a", "b"], binary=True)])
        body = whole[:start] + junk + whole[stop:]
        with contextlib.suppress(StrettoError):
            decode_inference(body, int(headers["Inference-Header-Content-Length"]) if length is None else length)
