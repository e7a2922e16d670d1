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
    def of(cls, path: str, error: Exception) -> Self:
        """Return the failure of the step at `path`, caused by what it raised.

        >>> StepError.of("svm", ValueError("no such kernel"))
        StepError('svm', 'ValueError', 'no such kernel')
        """
        failure = cls(path, type(error).__name__, str(error))
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
