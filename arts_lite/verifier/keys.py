"""The ``arts.*`` keys of a file that holds a value head: written, and read with a word about whatever is wrong."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from arts_lite.errors import VerifierError
from arts_lite.verifier.head import Head

if TYPE_CHECKING:
    from arts_lite.engine.gguf import GGUFHeader


class Keys:
    """A header's keys below a prefix; whatever is wrong with one becomes a VerifierError that names it.

    Args:
        kind: what such a file is called, e.g. "verifier".
        remedy: what to do about a file that is none.
    """

    def __init__(self, header: GGUFHeader, prefix: str, kind: str, remedy: str) -> None:
        self.header = header
        self.prefix = prefix
        self._kind = kind
        self._remedy = remedy
        self._values = header.metadata

    def error(self, what: str) -> VerifierError:
        """Make the error of a file that cannot be used."""
        again = "Export it again, or copy it anew"
        return VerifierError(f"{self.header.path} is no usable {self._kind}: {what}. {again}")

    def check_version(self, known: int) -> None:
        """Refuse a file of another kind or version."""
        if not any(key.startswith(self.prefix) for key in self._values):
            raise VerifierError(f"{self.header.path} is no {self._kind}: it has no {self.prefix}* keys. {self._remedy}")
        version = self._values.get(self.prefix + "version")
        if type(version) is not int or version != known:
            raise VerifierError(
                f"{self.header.path} is a {self._kind} of the format version {version!r}, but this software reads "
                f"version {known}; update the older of the two"
            )

    def text(self, key: str, default: str | None = None) -> str:
        """Read a text."""
        value = self._values.get(self.prefix + key, default)
        if not isinstance(value, str):
            raise self.error(f"{self.prefix}{key} is {_shown(value)}, but must be a text")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Read a number; `default` if there is none."""
        if default is not None and self.prefix + key not in self._values:
            return default
        value = self.header.number(self.prefix + key)
        if value is None:
            raise self.error(
                f"{self.prefix}{key} is {_shown(self._values.get(self.prefix + key))}, but must be a number"
            )
        return float(value)

    def optional_integer(self, key: str) -> int | None:
        """Read a whole number; None: there is none."""
        value = self._values.get(self.prefix + key)
        if value is not None and type(value) is not int:
            raise self.error(f"{self.prefix}{key} is {_shown(value)}, but must be a whole number")
        return value

    def integer(self, key: str) -> int:
        """Read a whole number."""
        value = self.optional_integer(key)
        if value is None:
            raise self.error(f"{self.prefix}{key} is missing")
        return value

    def json(self, key: str) -> Mapping[str, Any]:
        """Read a JSON object."""
        value = json.loads(self.text(key))
        if not isinstance(value, dict):
            raise self.error(f"{self.prefix}{key} is {_shown(value)}, but must be a JSON object")
        return value

    def head(self) -> Head:
        """Read the head and check it against its own length and digest."""
        text, length, dim = self.text("head.data"), self.integer("head.length"), self.integer("head.n_embd")
        if len(text) != length:
            raise self.error(
                f"its head is damaged: {self.prefix}head.data has {len(text)} characters instead of {length}"
            )
        try:
            data = base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise self.error(f"its head is damaged: {self.prefix}head.data is no base64 ({error})") from error
        if hashlib.sha256(data).hexdigest() != self.text("head.sha256"):
            raise self.error(f"its head is damaged: its SHA-256 is not {self.prefix}head.sha256")
        if len(data) != 4 * (dim + 1):
            raise self.error(
                f"its head has {len(data)} bytes, but a weight of {dim} numbers and a bias take {4 * dim + 4}"
            )
        numbers = np.frombuffer(data, "<f4")
        return Head(numbers[:-1], float(numbers[-1]))


def head_keys(head: Head) -> dict[str, str | int]:
    """Write a head as keys, without their prefix."""
    text = base64.b64encode(head.data).decode("ascii")
    return {
        "head.n_embd": len(head.weight),
        "head.length": len(text),
        "head.sha256": hashlib.sha256(head.data).hexdigest(),
        "head.data": text,
    }


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
