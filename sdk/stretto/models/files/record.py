"""What a file holds beside the estimator: labels, names of features, the signature, probes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stretto.errors import ModelError
from stretto.models.files.probes import Probes
from stretto.models.signature import Signature

KEY: Final = "stretto"
"""Its name in the metadata of an ``.onnx`` file; in a ``.skops`` file it is `MEMBER`."""
MEMBER: Final = "stretto.json"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file holds beside the estimator; each is None where nobody gave it."""

    labels: tuple[Any, ...] | None = None
    features: tuple[str, ...] | None = None
    signature: Signature | None = None
    probes: Probes | None = None

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, text: bytes | str) -> Record:
        """Return the record that `encode` wrote.

        Raises:
            ModelError: it is none.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"what it holds beside the estimator is damaged: {error}") from error

    @property
    def content(self) -> dict[str, Any]:
        """It as the entries of a pickled dict: of an older Stretto's too, where there are labels and names alone."""
        older = {"labels": self.labels, "features": self.features}
        rest = Record(signature=self.signature, probes=self.probes)
        return older if rest == Record() else {**older, KEY: rest.encode()}

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> Record:
        """Return the record of the entries of a pickled dict."""
        rest = cls.decode(content.get(KEY, b"{}"))
        labels, features = content.get("labels"), content.get("features")
        return cls(labels and tuple(labels), features and tuple(features), rest.signature, rest.probes)
