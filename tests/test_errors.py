"""Errors keep their arguments, in whatever way they travel, and write their own sentences."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from stretto import errors
from stretto.errors import BadRows, DeadlineExceeded, StepError, StrettoError

EVERY = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, StrettoError)]
VALUES: dict[str, Any] = {"retry_after": 2.5, "seconds": 0.2, "errors": {3: ValueError("odd")}}


def built(cls: type[StrettoError]) -> StrettoError:
    """Return an error with a different argument for each field."""
    return cls(*(VALUES.get(name, f"the {name}") for name in cls.fields))


@pytest.mark.parametrize("cls", EVERY)
def test_an_error_survives_pickling_with_its_row(cls: type[StrettoError]) -> None:
    error = built(cls).at(7)
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.row, str(back)) == (cls, 7, str(error))
    if cls is not BadRows:  # exceptions compare by identity
        assert back.args == error.args


@pytest.mark.parametrize("cls", EVERY)
def test_each_field_is_an_attribute_and_the_message_is_the_text(cls: type[StrettoError]) -> None:
    error = built(cls)
    assert tuple(getattr(error, name) for name in cls.fields) == error.args
    assert str(error).startswith(error.message)
    assert str(error.at(7)) == f"row 7: {error}"


@pytest.mark.parametrize("cls", EVERY)
def test_a_copy_is_another_object_with_the_same_cause_and_row(cls: type[StrettoError]) -> None:
    error = built(cls).at(7)
    error.__cause__ = ValueError("why")
    twin = error.copy()
    assert twin is not error
    assert (type(twin), twin.args, twin.row, twin.__cause__) == (cls, error.args, 7, error.__cause__)


def test_a_copy_with_other_arguments_has_their_attributes() -> None:
    error = StepError("svm", "ValueError", "no").at(2).under("vote")
    assert (error.step, error.kind, error.args, error.row) == (
        "vote/svm",
        "ValueError",
        ("vote/svm", *error.args[1:]),
        2,
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DeadlineExceeded(), "deadline exceeded: allow more with timeout="),
        (DeadlineExceeded("step 'svm'"), "deadline exceeded in step 'svm': allow more with timeout="),
        (DeadlineExceeded(seconds=2.0), "deadline exceeded (2.0 s): allow more with timeout="),
        (DeadlineExceeded("step 'svm'", 0.2), "deadline exceeded in step 'svm' (0.2 s): allow more with timeout="),
    ],
)
def test_a_deadline_says_where_it_was_exceeded_and_how_long_it_was(error: DeadlineExceeded, text: str) -> None:
    assert str(error) == text
