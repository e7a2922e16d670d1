# pyright: basic
"""The codec: values come back as they were, and errors are the same errors on the other side."""

import collections
import contextlib
import datetime as dt
import enum
import json
import math
import uuid
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stretto import errors
from stretto.errors import InputError, StepError, StrettoError, TooLarge
from stretto.wire import (
    MAX_DEPTH,
    decode_json,
    decode_msgpack,
    decode_outcomes,
    encode_json,
    encode_msgpack,
    encode_outcomes,
    encode_outcomes_json,
    encode_row,
    encode_rows,
    from_problem,
    problem,
)

offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
text = st.text()
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.binary(),
    st.complex_numbers(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.datetimes(timezones=st.none() | offsets),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.builds(np.str_, text),
    st.builds(np.bytes_, st.binary()),
    hnp.arrays(hnp.scalar_dtypes(), ()).map(lambda array: array[()]),
)
arrays = hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=2), max_leaves=3)
values = st.recursive(
    scalars | arrays | hnp.arrays(object, hnp.array_shapes(min_side=0, max_side=3), elements=scalars),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(text, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3),
        st.sets(keys, max_size=3),
        st.frozensets(keys, max_size=3),
    ),
    max_leaves=12,
)


def form(value):
    """Return a text that two values share only if they are equal in every type, bit and nesting; sets in any order."""
    kind = type(value)
    match value:
        case np.ndarray():
            held = [form(each) for each in value.ravel()] if value.dtype == object else value.tobytes().hex()
            return f"{kind.__name__}({value.dtype}, {value.shape}, {held})"
        case np.generic():
            return f"{kind.__name__}({value.dtype}, {value.tobytes().hex()})"
        case dict():
            return f"{kind.__name__}({[(form(k), form(v)) for k, v in value.items()]})"
        case set() | frozenset():
            return f"{kind.__name__}({sorted(map(form, value))})"
        case list() | tuple():
            return f"{kind.__name__}({[form(each) for each in value]})"
        case _:
            return f"{kind.__name__}({value!r})"


class TestMsgpack:
    @settings(max_examples=300, deadline=None)
    @given(values)
    def test_values_come_back_exactly(self, value):
        assert form(decode_msgpack(encode_msgpack(value))) == form(value)

    @given(st.lists(st.dictionaries(text, st.floats()), max_size=40))
    def test_rows_packed_one_by_one_are_the_list_of_them(self, rows):
        assert form(decode_msgpack(encode_rows([encode_row(row) for row in rows]))) == form(rows)

    def test_many_rows_are_known_as_many(self):
        assert decode_msgpack(encode_rows([encode_row(i) for i in range(70_000)])) == list(range(70_000))

    def test_an_array_of_rows_is_one_buffer_and_can_be_written_to(self):
        rows = np.random.default_rng(0).normal(size=(1000, 4))
        packed = encode_row(rows)
        assert len(packed) < rows.nbytes + 64
        assert rows.tobytes() in packed
        assert decode_msgpack(packed).flags.writeable

    def test_subclasses_of_builtins_travel_as_what_they_equal(self):
        color = enum.StrEnum("Color", "red")
        point = collections.namedtuple("Point", "x y")
        value = [color.red, point(1, 2), collections.OrderedDict(a=1), enum.IntEnum("Size", "s").s]
        assert form(decode_msgpack(encode_msgpack(value))) == form(["red", (1, 2), {"a": 1}, 1])

    def test_a_value_that_does_not_travel_is_named(self):
        with pytest.raises(StepError) as caught:
            encode_msgpack({"a": [object()]})
        assert caught.value.kind == "object"
        with pytest.raises(InputError, match="type Thread"):
            encode_row({"a": __import__("threading").Thread()})
        for other in (np.ma.masked_array([1], [True]), "\ud800", np.array(["a"], "T")):
            with pytest.raises(InputError, match="cannot be sent"):
                encode_row(other)

    def test_a_value_that_holds_itself_is_refused(self):
        loop = []
        loop.append(loop)
        with pytest.raises(InputError, match="nested too deeply"):
            encode_row(loop)

    @settings(max_examples=300)
    @given(st.binary())
    def test_any_bytes_give_a_value_or_an_input_error(self, body):
        with contextlib.suppress(InputError):
            decode_msgpack(body)

    @settings(max_examples=300)
    @given(values, st.data())
    def test_a_damaged_message_gives_a_value_or_an_input_error(self, value, data):
        body = bytearray(encode_msgpack(value))
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
        with contextlib.suppress(InputError):
            decode_msgpack(bytes(body))

    def test_depth_is_bounded(self):
        def nested(depth):
            value = 1
            for _ in range(depth):
                value = [value]
            return value

        assert decode_msgpack(encode_row(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
        for depth in (MAX_DEPTH + 1, 500, 100_000):
            with pytest.raises(TooLarge):
                decode_msgpack(b"\x91" * depth + b"\x00")


class TestJson:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | text | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner) | st.dictionaries(text, inner),
        )
    )
    def test_json_is_read_and_written_as_the_standard_library_does(self, value):
        assert decode_json(json.dumps(value).encode()) == value
        assert json.loads(encode_json(value)) == value

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (np.float32(0.5), 0.5),
            (np.longdouble(0.5), 0.5),
            (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
            (np.array(["a", "b"]), ["a", "b"]),
            (np.array([1.0, np.nan]), [1.0, None]),
            ({"p": math.nan, "q": -math.inf}, {"p": None, "q": None}),
            (np.str_("setosa"), "setosa"),
            (np.bool_(True), True),
            ((1, {2}, frozenset([3])), [1, [2], [3]]),
            ({np.int64(0): 0.5, None: 1, True: 2, 3: 4}, {"0": 0.5, "null": 1, "true": 2, "3": 4}),
            ({"a": {np.bool_(False): np.int8(1)}}, {"a": {"false": 1}}),
            (b"ab", "YWI="),
            (dt.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
            (np.array(["2026-01-02", "NaT"], "M8[ns]"), ["2026-01-02T00:00:00", None]),
            (np.datetime64("2026-01-02T00:00:00.5", "ns"), "2026-01-02T00:00:00.500000"),
            (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (Decimal("1.10"), "1.10"),
            (range(3), [0, 1, 2]),
            (enum.StrEnum("Color", "red").red, "red"),
            (10**30, 10**30),
        ],
    )
    def test_an_answer_is_told_in_json(self, answer, said):
        assert json.loads(encode_json(answer)) == said

    @pytest.mark.parametrize(
        ("answer", "kind"), [(object(), "object"), ([{"a": 1j}], "complex"), ({(1, 2): 3}, "tuple"), ("\ud800", "str")]
    )
    def test_an_answer_that_json_cannot_tell_is_a_step_error_naming_its_type(self, answer, kind):
        with pytest.raises(StepError) as caught:
            encode_json(answer)
        assert (caught.value.step, caught.value.kind) == ("answer", kind)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"", "empty"),
            (b"nonsense", "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b'"\xff"', "not JSON"),
            (b'{"a": 1', "not JSON"),
            (b'{"a": 1} x', "not JSON"),
            (b'{"a": NaN}', "send null"),
            (b"[-Infinity]", "send null"),
            (b"a=1&b=2", "json="),
            (b"1e999", "not JSON"),
        ],
    )
    def test_what_is_not_json_is_an_input_error_that_says_so(self, body, says):
        with pytest.raises(InputError, match=says) as caught:
            decode_json(body)
        assert caught.value.expected == "JSON"

    @pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 100_000])
    def test_depth_is_bounded(self, depth):
        assert decode_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
        with pytest.raises(TooLarge, match=str(MAX_DEPTH)):
            decode_json(b'{"a":[' * (depth // 2) + b"[]" + b"]}" * (depth // 2))

    def test_many_brackets_are_not_depth(self):
        rows = [{"a": "[[[[{{{{"}] * 100
        assert decode_json(json.dumps(rows).encode()) == rows

    @given(st.binary())
    def test_any_bytes_give_a_value_or_an_input_error(self, body):
        with contextlib.suppress(InputError):
            decode_json(body)


every_error = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, StrettoError) and cls is not errors.BadRows
]


@st.composite
def stretto_errors(draw):
    cls = draw(st.sampled_from(every_error))
    kinds = {"retry_after": st.floats(0, 1e6), "seconds": st.none() | st.floats(-1e6, 1e6)}
    error = cls(*(draw(kinds.get(name, text)) for name in cls.fields))
    return error if (row := draw(st.none() | st.integers(0, 10**6))) is None else error.at(row)


def same(one, other):
    return type(one) is type(other) and one.args == other.args and one.row == other.row and str(one) == str(other)


class TestErrors:
    @given(stretto_errors())
    def test_an_error_survives_being_told_as_a_problem(self, error):
        assert same(from_problem(decode_json(encode_json(problem(error)))), error)

    @given(stretto_errors())
    def test_an_error_survives_in_msgpack(self, error):
        assert same(decode_outcomes(encode_msgpack([error]))[0], error)

    @pytest.mark.parametrize("cls", every_error)
    def test_a_problem_has_what_rfc_9457_asks_for(self, cls):
        told = problem(cls(*("x" for _ in cls.fields)))
        assert told["type"].startswith("urn:stretto:error:")
        assert (told["title"], told["status"]) == (cls.title, cls.status)
        assert "x" in told["detail"]

    def test_a_foreign_error_tells_nothing_of_itself(self):
        assert "secret" not in str(problem(RuntimeError("secret")))

    def test_a_users_subclass_is_told_as_the_class_it_extends(self):
        class Moody(InputError):
            pass

        assert same(from_problem(problem(Moody("no", "a", "b"))), InputError("no", "a", "b"))

    def test_a_message_that_is_no_text_is_told_all_the_same(self):
        assert "udc80" in encode_json(problem(StrettoError("\udc80"))).decode()

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ({}, "the server reported an error"),
            ({"type": "about:blank", "title": "Gone", "status": 410}, "Gone"),
            ({"type": "urn:stretto:error:step-error", "detail": "half of it"}, "half of it"),
            ({"type": ["x"], "detail": "odd"}, "odd"),
        ],
    )
    def test_a_problem_that_is_not_ours_is_a_stretto_error(self, members, message):
        assert same(from_problem(members), StrettoError(message))


class TestOutcomes:
    @given(st.lists(st.one_of(scalars, stretto_errors())))
    def test_outcomes_come_back_in_order(self, outcomes):
        back = decode_outcomes(encode_outcomes(outcomes))
        assert len(back) == len(outcomes)
        for one, other in zip(back, outcomes, strict=True):
            assert same(one, other) if isinstance(other, StrettoError) else form(one) == form(other)

    def test_in_json_each_outcome_is_an_answer_or_an_error(self):
        told = json.loads(encode_outcomes_json(["setosa", InputError("no", "a", "b").at(1), None]))["outcomes"]
        assert [told[0], told[2]] == [{"answer": "setosa"}, {"answer": None}]
        assert same(from_problem(told[1]["error"]), InputError("no", "a", "b").at(1))

    def test_an_answer_that_cannot_be_sent_fails_its_own_row_only(self):
        back = decode_outcomes(encode_outcomes(["a", object(), "c"]))
        assert [back[0], back[2]] == ["a", "c"]
        assert isinstance(back[1], StepError)
        told = json.loads(encode_outcomes_json(["a", object(), "c"]))["outcomes"]
        assert [told[0], told[2]] == [{"answer": "a"}, {"answer": "c"}]
        assert told[1]["error"]["kind"] == "object"

    def test_what_is_no_list_holds_no_outcomes(self):
        with pytest.raises(InputError):
            decode_outcomes(encode_msgpack({"a": 1}))
