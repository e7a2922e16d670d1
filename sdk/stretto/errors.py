"""Every error a user of Stretto can meet.

* StrettoError
    * PipelineError (also ValueError): a composition that is built wrong
        * ModelError: an estimator or a model file that cannot be a step
            * Disagreement: a compiled model that differs from its estimator
    * InputError (also ValueError): the request's value is not what the pipeline takes; HTTP 422
        * TooLarge: the request is over a limit of the server; HTTP 413
    * StepError: a step failed on a row; HTTP 502
    * DeadlineExceeded (also TimeoutError): the deadline of the request, or of a part of it, passed; HTTP 504
    * Overloaded: the queue in front of the models is full; HTTP 503
    * Unauthorized (also PermissionError): no token, or a wrong one; HTTP 401
    * NotFound (also LookupError): no such route, application or step; HTTP 404
    * ConnectionFailed (also ConnectionError): the server can't be reached, or is not a Stretto server
    * DeployError (also RuntimeError): Ray Serve could not start the application

Each keeps every constructor argument in ``args``, so it survives pickling, and travels over HTTP as an
RFC 9457 problem that is read back into the same class with the same arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

TEXT_LENGTH: Final = 4000
"""The characters of a foreign error's text that are kept: what quotes a row can be as large as the row."""


class StrettoError(Exception):
    """The root of every error Stretto raises."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    fields: ClassVar[tuple[str, ...]] = ("message",)

    row: int | None = None
    """The row's position in the request, where the request had many rows."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """The first argument: what went wrong, where, and what to do."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        text = self._text()
        return text if self.row is None else f"row {self.row}: {text}"

    def _text(self) -> str:
        return self.message

    def copy(self, *args: Any) -> Self:
        """Return a new error with the same row and cause, and these arguments if there are any in place of its own.

        An exception that is raised at several callers collects the tracebacks of all of them: each gets a copy.

        >>> InputError("a number is missing", "age").at(3).copy()
        InputError('a number is missing', 'age', '')
        """
        cls = type(self)
        # Without arguments the constructor is left out: that of a user's subclass may well take others than its `args`.
        twin = cls(*args) if args else cls.__new__(cls, *self.args)
        twin.args = args or self.args  # OSError.__new__ leaves them to its own constructor
        twin.__dict__ = {**self.__dict__, **twin.__dict__}
        twin.__cause__ = self.__cause__
        return twin

    def at(self, row: int) -> Self:
        """Return a copy that names the row of the request it is about."""
        twin = self.copy()
        twin.row = row
        return twin

    def under(self, name: str) -> Self:
        """Return the error as seen from outside the composer `name`."""
        return self


class PipelineError(StrettoError, ValueError):
    """A composition that is built wrong: the message names the part and says what to do."""

    title = "Pipeline built wrong"


class ModelError(PipelineError):
    """An estimator or a model file that cannot be a step."""

    title = "Model cannot be a step"


class Disagreement(ModelError):
    """The answers of a compiled model differ from those of its estimator.

    `rows` has a line for each of the first rows where they do: the row, the compiled model's answer, the estimator's.
    """

    title = "Compiled model disagrees"
    fields = ("message", "rows")

    def __init__(self, message: str, rows: str = "") -> None:
        Exception.__init__(self, message, rows)
        self.rows = rows

    def _text(self) -> str:
        return f"{self.message}\n{self.rows}" if self.rows else self.message


class InputError(StrettoError, ValueError):
    """The request's value is not what the pipeline takes.

    `field` is the invalid feature or position, and `expected` says what is valid there; both may be empty.
    """

    status = 422
    title = "Invalid input"
    fields = ("message", "field", "expected")

    def __init__(self, message: str, field: str = "", expected: str = "") -> None:
        Exception.__init__(self, message, field, expected)
        self.field = field
        self.expected = expected

    @classmethod
    def of(cls, error: InputError) -> InputError:
        """Return an error that a step raised as it can be sent anywhere: of Stretto's own class, its texts cut.

        >>> InputError.of(InputError("a number is missing", "age"))
        InputError('a number is missing', 'age', '')
        """
        texts = error.args
        if type(error) in (InputError, TooLarge) and all(
            type(each) is str and len(each) <= TEXT_LENGTH for each in texts
        ):
            return error
        field, expected = (text_of(Exception(getattr(error, name, ""))) for name in ("field", "expected"))
        twin = InputError(text_of(error), field, expected)
        twin.__cause__ = error
        return twin


class TooLarge(InputError):
    """The request is over a limit of the server: on bytes, rows or depth."""

    status = 413
    title = "Request too large"


class StepError(StrettoError):
    """A step failed on a row.

    `step` is the path of the step, outermost composer first, separated by slashes. `kind` is the class name of the
    exception it raised, and `detail` the message.
    """

    status = 502
    title = "Step failed"
    fields = ("step", "kind", "detail")

    def __init__(self, step: str, kind: str, detail: str) -> None:
        Exception.__init__(self, step, kind, detail)
        self.step = step
        self.kind = kind
        self.detail = detail

    @classmethod
    def of(cls, path: str, error: BaseException, hint: str = "") -> Self:
        """Return the failure of the step at `path`, caused by what it raised.

        `hint` says what to do, after the error's own text, of which `text_of` keeps what can be sent.

        >>> StepError.of("svm", ValueError("no such kernel"))
        StepError('svm', 'ValueError', 'no such kernel')
        """
        detail = "; ".join(filter(None, [text_of(error), hint]))
        failure = cls(path, type(error).__name__[:100], detail)
        failure.__cause__ = error
        return failure

    @property
    def message(self) -> str:
        """The step's path with what it raised."""
        return f"step {self.step!r} failed: {self.kind}: {self.detail}"

    def under(self, name: str) -> Self:
        """Return a copy with `name` in front of the step's path."""
        return self.copy(f"{name}/{self.step}" if self.step else name, self.kind, self.detail)


class DeadlineExceeded(StrettoError, TimeoutError):
    """The deadline of the request, or of a part of it, passed.

    `where` is what was running or waiting then, such as ``"step 'svm'"``, and `seconds` is the time limit; either may
    be unknown.

    >>> print(DeadlineExceeded("step 'svm'", 0.2))
    deadline exceeded in step 'svm' (0.2 s): allow more with timeout=
    """

    status = 504
    title = "Deadline exceeded"
    fields = ("where", "seconds")

    def __init__(self, where: str = "", seconds: float | None = None) -> None:
        Exception.__init__(self, where, seconds)
        self.where = where
        self.seconds = seconds

    @property
    def message(self) -> str:
        """Where the deadline was exceeded, and what to do."""
        where = f" in {self.where}" if self.where else ""
        limit = "" if self.seconds is None else f" ({self.seconds} s)"
        return f"deadline exceeded{where}{limit}: allow more with timeout="


class Overloaded(StrettoError):
    """The queue in front of the models is full: a retry after `retry_after` seconds may succeed."""

    status = 503
    title = "Overloaded"
    fields = ("message", "retry_after")

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        Exception.__init__(self, message, retry_after)
        self.retry_after = retry_after


class Unauthorized(StrettoError, PermissionError):
    """The server requires a bearer token, and the request had none or a wrong one."""

    status = 401
    title = "Unauthorized"


class NotFound(StrettoError, LookupError):
    """There is no such route, application or step."""

    status = 404
    title = "Not found"


class ConnectionFailed(StrettoError, ConnectionError):
    """The server can't be reached, or what responds is not a Stretto server."""

    status = 503
    title = "Connection failed"


class DeployError(StrettoError, RuntimeError):
    """Ray Serve could not start the application: the message holds what it reported."""

    title = "Deployment failed"


class BadRows(StrettoError):
    """Raised by a vectorised step to name its failing rows: the others are run again without them.

    ``raise BadRows({3: InputError("..."), 7: ValueError("...")})`` from a ``vectorized=True`` function fails rows 3 and
    7 of its input, and spares Stretto the search for them. Callers never see it.
    """

    fields = ("errors",)

    def __init__(self, errors: dict[int, Exception]) -> None:
        Exception.__init__(self, errors)
        self.errors = errors

    @property
    def message(self) -> str:
        """How many rows failed."""
        return f"{len(self.errors)} rows failed"


def text_of(error: BaseException) -> str:
    """Return the text of a foreign error, whatever its class does: cut to `TEXT_LENGTH`, and of valid characters.

    >>> text_of(ValueError("x" * 5000))[3990:]
    'xxxxxxxxxx... (5,000 characters)'
    """
    return _text_by(str, error)


def cut(text: str, most: int) -> str:
    """Return a text, or its beginning with how long it was.

    >>> cut("a" * 50, 10)
    'aaaaaaaaaa... (50 characters)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def quoted(value: object) -> str:
    """Return the `repr` of a value for a message, in the same way."""
    return _text_by(repr, value)


def _text_by(write: Callable[[object], str], value: object) -> str:
    try:
        text = cut(str.__getitem__(write(value), slice(None)), TEXT_LENGTH)  # a plain string also of a subclass
    except BaseException as why:  # the code of a user's class, of which nothing is known
        return f"({write.__name__}() of it raised {type(why).__name__})"
    # A lone surrogate can't be sent.
    return text.encode("utf-8", "backslashreplace").decode()
