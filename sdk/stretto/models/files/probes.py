"""Rows with the estimator's answers to them, kept in its file: proof that it still answers as it did."""

from __future__ import annotations

import base64
import datetime
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from importlib import import_module
from typing import Any, Final, Literal, cast

import msgspec
import numpy as np

from stretto.batch.frames import is_frame, is_series
from stretto.errors import Disagreement, ModelError
from stretto.models.estimator import PREDICTS, has_method
from stretto.models.signature import Signature, as_pandas

TOLERANCE: Final = 1e-6
TOLERANCE_OF_FLOAT32: Final = 1e-5
"""How far numbers may differ from those kept, as a fraction of the largest one, or of 1 where that is larger."""
SHOWN_ROWS: Final = 5
_RAW: Final = "biufcmM"
_DATES: Final = (datetime.datetime, datetime.date, datetime.time)


class Values(msgspec.Struct, frozen=True, omit_defaults=True):
    """An array: the bytes of numbers and dates as they are, or a list of texts and other objects."""

    dtype: str
    shape: tuple[int, ...]
    raw: bytes = b""
    items: list[Any] | None = None

    @classmethod
    def of(cls, array: np.ndarray) -> Values:
        """Return an array packed.

        Raises:
            ModelError: it holds objects that no file of ours can.
        """
        if array.dtype.kind in _RAW:
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            return cls(array.dtype.str, array.shape, array.tobytes())
        kind = array.dtype.str if array.dtype.kind in "US" else "|O"
        return cls(kind, array.shape, items=[_packed(each) for each in array.ravel().tolist()])

    def array(self) -> np.ndarray:
        """Return the array."""
        if self.items is None:
            return np.frombuffer(self.raw, self.dtype).reshape(self.shape).copy()
        objects = np.empty(len(self.items), dtype=object)
        objects[:] = [_unpacked(each) for each in self.items]
        return objects.astype(self.dtype).reshape(self.shape)


class KeptColumn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A column of a frame: its values, or codes of `categories`; `mask` is where nullable types miss a value."""

    values: Values
    categories: Values | None = None
    mask: Values | None = None


class Probes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows, and an array of answers for each method that was asked."""

    signature: Signature
    form: Literal["frame", "array", "list", "series"]
    columns: tuple[KeptColumn, ...]
    answers: dict[str, Values]

    @classmethod
    def of(cls, estimator: Any, rows: Any) -> Probes:
        """Return rows as they are given, with the estimator's answers.

        Raises:
            ModelError: they are no rows, are of a type that a file can't hold, or the estimator does not take them.
        """
        if hasattr(rows, "toarray"):
            raise ModelError("probes= takes no sparse rows: pass probes=X.toarray(), where the model takes dense ones")
        if is_frame(rows):
            rows, form = as_pandas(rows), "frame"
        elif is_series(rows):
            form = "series"
        elif isinstance(rows, list) and np.ndim(cast("Any", rows)) == 1:
            form = "list"
        else:
            rows, form = np.asarray(rows), "array"
        if not len(rows):
            raise ModelError("probes= has no rows: pass some that the model was, or could have been, fitted on")
        if form == "frame":
            frame: Any = rows
            columns = tuple(_column(frame.iloc[:, at]) for at in range(frame.shape[1]))
        elif form == "series":
            columns = (_column(rows),)
        else:
            columns = (KeptColumn(Values.of(np.asarray(rows, dtype=object if form == "list" else None))),)
        try:
            answers = _all_answers(estimator, rows)
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise ModelError(f"{type(estimator).__name__} does not take the rows of probes= ({reason})") from error
        return cls(Signature.of(rows), form, columns, {name: Values.of(each) for name, each in answers.items()})

    def __len__(self) -> int:
        return self.columns[0].values.shape[0]

    def rows(self) -> Any:
        """Return the rows, of the types that they were given in."""
        first = self.columns[0].values
        if self.form in ("array", "list"):
            array = first.array()
            return array.tolist() if self.form == "list" else array
        pandas: Any = import_module("pandas")
        pairs = zip(self.signature.columns, self.columns, strict=True)
        series = [_series(pandas, kept, known.dtype, known.category_dtype, known.ordered) for known, kept in pairs]
        if self.form == "series":
            return series[0]
        frame = pandas.concat(series, axis=1)
        names = [each.name for each in self.signature.columns]
        tuples = bool(names) and all(isinstance(each, tuple) for each in names)
        frame.columns = pandas.MultiIndex.from_tuples(names) if tuples else pandas.Index(names)
        return frame

    def check(self, estimator: Any, *, single: bool = False) -> None:
        """Check that an estimator still gives these answers: labels equal, numbers within rounding (of float32).

        Raises:
            Disagreement: it does not; the message says for which rows, and by how much.
            ModelError: it does not take the rows any more.
        """
        try:
            answers = _answers(estimator, self.rows(), self.answers)
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise ModelError(f"it does not take the rows that were saved with it any more ({reason})") from error
        wrong = dict[int, str]()
        for name, kept in self.answers.items():
            expected = kept.array()
            for row, how in _differing(expected, answers.get(name), len(self), single).items():
                wrong.setdefault(row, f"row {row}: {name} {how}")
        if wrong:
            lines = [wrong[row] for row in sorted(wrong)]
            more = f"; and {len(lines) - SHOWN_ROWS} more" if len(lines) > SHOWN_ROWS else ""
            raise Disagreement(
                f"its answers to {len(lines)} of the {len(self)} rows that were saved with it are others: "
                f"{'; '.join(lines[:SHOWN_ROWS])}{more}",
                "\n".join(lines),
            )


def _all_answers(estimator: Any, rows: Any) -> dict[str, np.ndarray]:
    first = next((name for name in PREDICTS if has_method(estimator, name)), "__call__")
    answers = _answers(estimator, rows, [first])
    for name in ("predict_proba", "decision_function", "transform"):
        # What it can't do is no part of what it must go on doing.
        with suppress(Exception):
            answers |= _answers(estimator, rows, [name])
    return answers


def _answers(estimator: Any, rows: Any, names: Iterable[str]) -> dict[str, np.ndarray]:
    answers = dict[str, np.ndarray]()
    for name in names:
        if not has_method(estimator, name):
            continue  # a graph has no decision_function
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer: Any = getattr(estimator, name)(rows)
        if hasattr(answer, "toarray"):
            answer = answer.toarray()
        answer = answer.to_numpy() if hasattr(answer, "to_numpy") else answer
        if isinstance(answer, list) and answer and isinstance(answer[0], np.ndarray):
            # An estimator with several outputs returns the probabilities of each as an array.
            answer = np.concatenate(cast("list[np.ndarray]", answer), axis=1)
        answers[name] = np.asarray(answer)
        if answers[name].shape[:1] != (len(rows),):
            raise ValueError(f"{name} gives an array of shape {answers[name].shape} for {len(rows)} rows")
    return answers


def _differing(expected: np.ndarray, answer: np.ndarray | None, count: int, single: bool) -> dict[int, str]:
    """Return the rows whose answer is another, and how."""
    if answer is None:
        return {}
    if answer.shape != expected.shape:
        return dict.fromkeys(range(count), f"is of shape {answer.shape}, and was of shape {expected.shape}")
    if expected.dtype.kind in "fc" and answer.dtype.kind in "biufc":
        tolerance = TOLERANCE_OF_FLOAT32 if single or expected.dtype.itemsize == 4 else TOLERANCE
        finite = np.abs(expected[np.isfinite(expected)])
        near = np.isclose(answer, expected, rtol=0, atol=tolerance * max(1.0, finite.max(initial=0)), equal_nan=True)
    else:
        near = np.asarray(answer == expected) | ((answer != answer) & (expected != expected))
    rows = np.flatnonzero(~near.reshape(count, -1).all(axis=1)).tolist()
    return {row: _how(answer[row], expected[row]) for row in rows}


def _how(answer: Any, expected: Any) -> str:
    shown = [repr(each.tolist() if isinstance(each, np.ndarray | np.generic) else each) for each in (answer, expected)]
    text = f"{shown[0]}, and was {shown[1]}"
    if np.asarray(expected).dtype.kind in "fc":
        text += f" (by {float(np.max(np.abs(np.asarray(answer) - expected))):.3g})"
    return text


def _column(series: Any) -> KeptColumn:
    dtype = series.dtype
    if hasattr(dtype, "categories"):
        categories = np.asarray(dtype.categories)
        return KeptColumn(Values.of(np.asarray(series.cat.codes)), Values.of(categories))
    if isinstance(dtype, np.dtype):
        return KeptColumn(Values.of(series.to_numpy()))
    if hasattr(dtype, "tz"):
        return KeptColumn(Values.of(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()))
    if hasattr(dtype, "na_value") and hasattr(dtype, "numpy_dtype"):
        mask = series.isna().to_numpy()
        return KeptColumn(Values.of(series.to_numpy(dtype=dtype.numpy_dtype, na_value=0)), mask=Values.of(mask))
    if type(dtype).__name__ == "StringDtype":
        items = [None if missing else each for each, missing in zip(series.tolist(), series.isna(), strict=True)]
        return KeptColumn(Values.of(np.asarray(items, dtype=object)))
    raise ModelError(f"probes= has the column {series.name!r} of type {dtype}, which no file can hold: leave it out")


def _series(pandas: Any, kept: KeptColumn, dtype: str, category_dtype: str, ordered: bool) -> Any:
    values = kept.values.array()
    if kept.categories is not None:
        categories = pandas.Index(kept.categories.array(), dtype=category_dtype)
        return pandas.Series(pandas.Categorical.from_codes(values, categories, ordered=ordered))
    if kept.mask is not None:
        return pandas.Series(values).astype(dtype).mask(kept.mask.array())
    if dtype.startswith("datetime64[") and "," in dtype:
        zone = dtype.partition(",")[2].strip(" ]")
        return pandas.Series(values).dt.tz_localize("UTC").dt.tz_convert(zone)
    return pandas.Series(values, dtype=dtype)


def _packed(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else ["int", str(value)]
    if isinstance(value, float):
        return value if np.isfinite(value) else ["float", repr(value)]
    kind = type(value).__name__
    if isinstance(value, bytes):
        return ["bytes", base64.b64encode(value).decode()]
    if isinstance(value, Decimal):
        return ["Decimal", str(value)]
    if kind in ("NAType", "NaTType"):
        return [kind, ""]
    if isinstance(value, _DATES):
        zone = getattr(value.tzinfo, "key", None) if isinstance(value, datetime.datetime) else None
        return [kind, value.isoformat(), *([zone] if zone else [])]
    if isinstance(value, np.generic):
        return ["numpy", value.dtype.str, base64.b64encode(value.tobytes()).decode()]
    raise ModelError(f"probes= has a value of type {kind}, which no file can hold: leave it out")


def _unpacked(item: Any) -> Any:
    match item:
        case ["int", text]:
            return int(text)
        case ["float", text]:
            return float(text)
        case ["bytes", text]:
            return base64.b64decode(text)
        case ["Decimal", text]:
            return Decimal(text)
        case ["numpy", dtype, text]:
            return np.frombuffer(base64.b64decode(text), dtype)[0]
        case ["NAType" | "NaTType" | "Timestamp" as kind, *rest]:
            return _of_pandas(kind, *rest)
        case ["datetime" | "date" | "time" as kind, text, *zone]:
            found = cast("Mapping[str, Any]", vars(datetime))[kind].fromisoformat(text)
            return found.replace(tzinfo=import_module("zoneinfo").ZoneInfo(zone[0])) if zone else found
        case list():
            raise ModelError(f"this is no value of probes: {item}")
        case _:
            return item


def _of_pandas(kind: str, text: str, zone: str | None = None) -> Any:
    pandas: Any = import_module("pandas")
    if kind == "Timestamp":
        found = pandas.Timestamp(text)
        return found.tz_convert(zone) if zone else found
    return pandas.NA if kind == "NAType" else pandas.NaT
