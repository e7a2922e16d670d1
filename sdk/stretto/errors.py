"""Every error a user of Stretto can meet.

* StrettoError
    * PipelineError (also ValueError): a composition that is built wrong
        * ModelError: an estimator or a model file that cannot be a step
            * Disagreement: a compiled model that answers otherwise than the estimator
    * InputError (also ValueError): the request's value is not what the pipeline takes; HTTP 422
        * TooLarge: the request is over a bound the server sets; HTTP 413
    * StepError: a step failed on a row; HTTP 502
    * DeadlineExceeded (also TimeoutError): the deadline of the request, or of a part of it, passed; HTTP 504
    * Overloaded: the queue in front of the models is full; HTTP 503
    * Unauthorized (also PermissionError): no token, or a wrong one; HTTP 401
    * NotFound (also LookupError): no such route, application or step; HTTP 404
    * ConnectionFailed (also ConnectionError): the server is not there, or is not a Stretto server
    * DeployError (also RuntimeError): Ray Serve could not bring the application up

Each keeps every constructor argument in ``args``, so it survives pickling, and travels over HTTP as an
RFC 9457 problem that is read back into the same class with the same arguments.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


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
        twin = type(self)(*(args or self.args))
        twin.__dict__.update(self.__dict__)
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
    """A compiled model answers otherwise than the estimator it was made from.

    `rows` are the first of the rows at fault, a line each: the row, what the compiled model gives, what is expected.
    """

    title = "Compiled model disagrees"
    fields = ("message", "rows")

    def __init__(self, message: str, rows: str = "") -> None:
        Exception.__init__(self, message, rows)

    @property
    def rows(self) -> str:
        """The rows at fault, a line each."""
        return self.args[1]

    def _text(self) -> str:
        return f"{self.message}\n{self.rows}" if self.rows else self.message


class InputError(StrettoError, ValueError):
    """The request's value is not what the pipeline takes.

    `field` is the feature or position at fault and `expected` what belongs there; both may be empty.
    """

    status = 422
    title = "Input refused"
    fields = ("message", "field", "expected")

    def __init__(self, message: str, field: str = "", expected: str = "") -> None:
        Exception.__init__(self, message, field, expected)

    @property
    def field(self) -> str:
        """The feature or position at fault."""
        return self.args[1]

    @property
    def expected(self) -> str:
        """What belongs there."""
        return self.args[2]


class TooLarge(InputError):
    """The request is over a bound the server sets: bytes, rows or depth."""

    status = 413
    title = "Request too large"


class StepError(StrettoError):
    """A step failed on a row: `step` is its path, `kind` the class of the cause, `detail` its message."""

    status = 502
    title = "Step failed"
    fields = ("step", "kind", "detail")

    def __init__(self, step: str, kind: str, detail: str) -> None:
        Exception.__init__(self, step, kind, detail)

    @classmethod
    def of(cls, path: str, error: Exception) -> Self:
        """Return the failure of the step at `path`, caused by what it raised.

        >>> StepError.of("svm", ValueError("no such kernel"))
        StepError('svm', 'ValueError', 'no such kernel')
        """
        failure = cls(path, type(error).__name__, str(error))
        failure.__cause__ = error
        return failure

    @property
    def step(self) -> str:
        """The path of the step, outermost composer first, parted by slashes."""
        return self.args[0]

    @property
    def kind(self) -> str:
        """The class name of what the step raised."""
        return self.args[1]

    @property
    def detail(self) -> str:
        """The message of what the step raised."""
        return self.args[2]

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

    @property
    def where(self) -> str:
        """What was running or waiting when the deadline passed, or the empty string."""
        return self.args[0]

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds, or None."""
        return self.args[1]

    @property
    def message(self) -> str:
        """Where the deadline was exceeded, and what to do."""
        where = f" in {self.where}" if self.where else ""
        limit = "" if self.seconds is None else f" ({self.seconds} s)"
        return f"deadline exceeded{where}{limit}: allow more with timeout="


class Overloaded(StrettoError):
    """The queue in front of the models is full: try again after `retry_after` seconds."""

    status = 503
    title = "Overloaded"
    fields = ("message", "retry_after")

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        Exception.__init__(self, message, retry_after)

    @property
    def retry_after(self) -> float:
        """Seconds after which a retry has a fair chance."""
        return self.args[1]


class Unauthorized(StrettoError, PermissionError):
    """The server asks for a bearer token, and the request had none or a wrong one."""

    status = 401
    title = "Unauthorized"


class NotFound(StrettoError, LookupError):
    """There is no such route, application or step."""

    status = 404
    title = "Not found"


class ConnectionFailed(StrettoError, ConnectionError):
    """The server is not there, or what answers is not a Stretto server."""

    status = 503
    title = "Connection failed"


class DeployError(StrettoError, RuntimeError):
    """Ray Serve could not bring the application up: the message holds what it reported."""

    title = "Deployment failed"


class BadRows(StrettoError):
    """A vectorised step names the rows at fault; the others are run again without them.

    ``raise BadRows({3: InputError("..."), 7: ValueError("...")})`` from a ``vectorized=True`` function fails rows
    3 and 7 of the column it was given, and spares Stretto the search for them. It never leaves the evaluator.
    """

    fields = ("errors",)

    def __init__(self, errors: dict[int, Exception]) -> None:
        Exception.__init__(self, errors)

    @property
    def errors(self) -> dict[int, Exception]:
        """The error of each row at fault, by its position in the column."""
        return self.args[0]

    @property
    def message(self) -> str:
        """How many rows are at fault."""
        return f"{len(self.errors)} rows at fault"
