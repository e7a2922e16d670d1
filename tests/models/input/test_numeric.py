"""Rows as an array, and what bad ones get: every form of a row means the same, alone and beside others."""

from collections import OrderedDict
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.errors import BadRows, InputError
from stretto.models.input.numeric import NumericInput, is_finite
from stretto.models.input.row import RowFormat

NAMES = ("length", "width", "height")


def reader(*args, **options):
    return NumericInput(RowFormat("flower", *args, **options))


schema = reader(NAMES, 3)
good = {"length": 1.0, "width": 2.0, "height": 3.0}


def refused(row, by=schema) -> InputError:
    """Return the error of one row, which has to be the same when it stands among good ones."""
    with pytest.raises(BadRows) as alone:
        by.read([row])
    rows = [[1, 2, 3], row, [4, 5, 6]]
    with pytest.raises(BadRows) as among:
        by.read(rows)
    assert list(among.value.errors) == [1]
    assert among.value.errors[1].args == alone.value.errors[0].args
    error = alone.value.errors[0]
    assert isinstance(error, InputError)
    assert "model 'flower'" in error.message
    return error


@pytest.mark.parametrize(
    "row",
    [
        good,
        {"height": 3, "length": 1, "width": 2},
        OrderedDict(good),
        [1, 2, 3],
        (1.0, 2, 3),
        np.array([1, 2, 3]),
        np.array([1, 2, 3], dtype=object),
        [np.float32(1), np.int64(2), Decimal(3)],
        [True, 2, 3],
        range(1, 4),
    ],
    ids=repr,
)
def test_every_form_of_a_row_is_the_same_numbers(row):
    alone = schema.table([row])
    assert alone.dtype == np.float64
    assert alone.tolist() == [[1, 2, 3]]
    assert schema.table([row, [4, 5, 6], good]).tolist() == [[1, 2, 3], [4, 5, 6], [1, 2, 3]]


def test_a_table_of_floats_is_taken_as_it_is():
    table = np.arange(6.0).reshape(2, 3)
    assert schema.table(table) is table


def test_a_table_of_integers_becomes_floats_as_its_rows_do():
    assert schema.table(np.ones((2, 3), dtype=int)).dtype == np.float64


def test_a_dict_of_columns_is_read_by_name():
    columns = {"height": np.array([3.0, 6.0]), "width": np.array([2, 5]), "length": [1.0, 4.0]}
    assert schema.table(columns).tolist() == [[1, 2, 3], [4, 5, 6]]
    arrays = {name: np.asarray(each) for name, each in columns.items()}
    assert schema.table(arrays).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_one_feature_is_a_column_too():
    assert reader(("length",), 1).table([{"length": 1}, {"length": 2.5}]).tolist() == [[1], [2.5]]


def test_no_rows_are_an_empty_table():
    assert schema.table([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        ({"length": 1, "width": 2}, "height", "lacks 'height'"),
        ({**good, "heigth": 3}, "heigth", "unknown feature 'heigth'"),
        ({"length": 1, "width": 2, "heigth": 3}, "heigth", "did you mean 'height'?"),
        ({**good, 7: 1}, "7", "unknown feature '7'"),
        ({**good, "width": "2.0"}, "width", "feature 'width' is '2.0', which is a str and no number; write it without"),
        ({**good, "width": "wide"}, "width", "is 'wide', which is a str"),
        ({**good, "width": None}, "width", "missing"),
        ({**good, "width": float("nan")}, "width", "missing"),
        ({**good, "width": float("inf")}, "width", "infinite"),
        ({**good, "width": 10**400}, "width", "too large"),
        ({**good, "width": 1j}, "width", "a complex"),
        ({**good, "width": [2]}, "width", "a list"),
        ([1, "2", 3], "width", "write it without quotes"),
        ([1, 2], "", "the row has 2 values, it takes 3: 'length', 'width', 'height'"),
        ([], "", "the row has 0 values"),
        ([1, 2, [3]], "", "the row holds rows or lists"),
        ([[1, 2, 3]], "", "many rows go to predict_many()"),
        (np.ones((2, 3)), "", "an array of shape (2, 3) is not a row"),
        (np.array(["1", "2", "3"]), "length", "is '1'"),
        (np.ma.masked_array([1, 2, 3], [False, True, False]), "width", "missing"),
        (5.1, "", "5.1 (a float) is not a row"),
        ("1,2,3", "", "'1,2,3' (a str) is not a row"),
        (None, "", "None is not a row"),
        ({1, 2, 3}, "", "(a set) is not a row"),
    ],
    ids=repr,
)
def test_a_bad_row_is_told_what_where_and_what_to_do(row, field, says):
    error = refused(row)
    assert error.field == field
    assert says in error.message
    assert error.expected


def test_all_culprits_are_named_at_once():
    with pytest.raises(BadRows) as caught:
        schema.table([[1, 2, 3], "x", good, [1, None, 3], [1, 2, float("inf")]])
    assert list(caught.value.errors) == [1, 3, 4]


def test_a_table_of_another_width_fails_every_row():
    with pytest.raises(BadRows) as caught:
        schema.table(np.ones((2, 4)))
    assert [each.message for each in caught.value.errors.values()] == [refused([1, 2, 3, 4]).message] * 2


def test_numbers_that_are_not_finite_are_found_in_a_table():
    table = np.ones((4, 3))
    table[1, 2], table[3, 0] = np.nan, np.inf
    with pytest.raises(BadRows) as caught:
        schema.read(table)
    assert [(i, each.field) for i, each in caught.value.errors.items()] == [(1, "height"), (3, "length")]


def test_masked_values_of_a_table_are_missing():
    masked = np.ma.masked_array(np.ones((1, 3)), [[False, True, False]])
    assert np.isnan(schema.table(masked)).tolist() == [[False, True, False]]


def test_missing_values_and_infinity_pass_where_the_model_decides():
    tolerant = reader(NAMES, 3, missing=True)
    for rows in ([{**good, "width": None}], [[1, None, 3]], [[1, float("nan"), 3], good]):
        table = tolerant.read(rows).data
        assert np.isnan(table[0]).tolist() == [False, True, False]
        assert tolerant.read([[1, None, float("inf")]]).data[0, 2] == np.inf
    assert refused([1, None, float("inf")], by=reader(NAMES, 3)).field == "width"


def test_without_names_a_dict_is_told_to_give_them():
    assert "pass features=[...] to model()" in refused(good, by=reader(None, 3)).message


def test_without_names_the_field_is_the_position():
    assert refused([1, 2, "x"], by=reader(None, 3)).field == "2"


@pytest.mark.parametrize("extra", [frozenset({"weight"}), None])
def test_features_of_other_models_are_tolerated(extra):
    shared = reader(NAMES, 3, extra=extra)
    assert shared.table([{**good, "weight": 9}, good]).tolist() == [[1, 2, 3], [1, 2, 3]]
    assert shared.table({name: np.ones(1) for name in (*NAMES, "weight")}).tolist() == [[1, 1, 1]]


def test_only_those_features_are_tolerated():
    error = refused({**good, "colour": 9}, by=reader(NAMES, 3, extra=frozenset({"weight"})))
    assert error.field == "colour"


def test_a_misspelt_feature_is_recognised_where_any_other_is_tolerated():
    error = refused({"length": 1, "width": 2, "heigth": 3}, by=reader(NAMES, 3, extra=None))
    assert "lacks 'height' (it has 'heigth')" in error.message


def test_a_model_that_says_nothing_of_its_width_takes_even_rows():
    assert reader().table([[1, 2], (3, 4)]).tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="inhomogeneous"):  # the evaluator halves the column: each row counts alone
        reader().table([[1, 2], [3]])


numbers = st.sampled_from([0, 1, True, 2.5, -1e300, np.float32(0.5), np.int64(7), Decimal("1.5"), 2**70])
odd = st.sampled_from([None, float("nan"), float("inf"), "5.1", "x", 1j, [1], np.array([1.0]), 10**400])
values = st.one_of(numbers, numbers, numbers, odd)
lists = st.lists(values, min_size=2, max_size=4)
dicts = st.dictionaries(st.sampled_from([*NAMES, "weight", "heigth"]), values, min_size=2)
named = st.fixed_dictionaries(dict.fromkeys(NAMES, values))
rows = st.one_of(lists, lists.map(tuple), dicts, named, st.lists(numbers, min_size=3, max_size=3).map(np.array))


def read(rows, by):
    """Return each row's numbers, or the arguments of its error."""
    try:
        table = by.read(rows).data
    except BadRows as bad:
        rest = [row for i, row in enumerate(rows) if i not in bad.errors]
        others = iter(read(rest, by) if rest else [])
        return [bad.errors[i].args if i in bad.errors else next(others) for i in range(len(rows))]
    return [repr(row) for row in table.tolist()]


@pytest.mark.filterwarnings("ignore:overflow encountered in dot")  # of 1e300, as it is seen not to fit in float32
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("extra", [frozenset(), frozenset({"weight"}), None], ids=str)
@given(rows=st.lists(rows, min_size=1, max_size=5))
def test_a_row_means_alone_what_it_means_among_others(rows, missing, extra):
    by = reader(NAMES, 3, extra=extra, missing=missing)
    assert read(rows, by) == [each for row in rows for each in read([row], by)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [1.0, 1e20, 3e38, 1e39, 1e300, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("count", [4, 20_000])
def test_whether_all_are_finite_in_float32_is_found_without_a_warning(dtype: type, number: float, count: int) -> None:
    with np.errstate(over="ignore"):
        table = np.array([number, *[1.0] * (count - 1)]).astype(dtype).reshape(-1, 4)
        expected = bool(np.isfinite(table.astype(np.float32)).all())
    assert is_finite(table) == expected
