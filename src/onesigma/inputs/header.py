"""What a layer of statistics knows beside its numbers: names, axis, options, fingerprint."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from onesigma._errors import BatchError, ScalerFileError

__all__ = ["Header"]


@dataclass(frozen=True, slots=True)
class Header:
    """Names and options of a layer, kept in its `state_dict` as a uint8 tensor of JSON.

    A tensor, because formats such as safetensors hold nothing else, and of bytes, because no cast to half touches them.
    """

    names: tuple[str, ...] = ()
    axis: int = -1
    fingerprint: str = ""
    output_range: tuple[float, float] | None = None
    clip: tuple[float, float] | None = None

    def encode(self) -> torch.Tensor:
        """The header as a uint8 tensor."""
        text = json.dumps([self.names, self.axis, self.fingerprint, self.output_range, self.clip])
        return torch.tensor(list(text.encode()), dtype=torch.uint8)

    @classmethod
    def decode(cls, encoded: torch.Tensor) -> "Header":
        """Inverse of `encode`.

        Raises:
            ScalerFileError: The tensor holds no header.
        """
        try:
            names, axis, fingerprint, output_range, clip = json.loads(bytes(encoded.tolist()))
            header = cls(
                tuple(map(_text, names)),
                axis=int(axis),
                fingerprint=_text(fingerprint),
                output_range=_pair(output_range),
                clip=_pair(clip),
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise ScalerFileError(
                f"header: wanted names and options as JSON, got {error}; damaged state_dict."
            ) from None
        return header

    def check_names(self, names: Iterable[str], *, ordered: bool = False) -> None:
        """Refuse columns that are not exactly these, in any order unless `ordered`.

        Raises:
            BatchError: A column is missing, or one is not expected.
        """
        given = tuple(names)
        missing = [name for name in self.names if name not in given]
        extra = [name for name in given if name not in self.names]
        if missing or extra:
            raise BatchError(
                f"the columns differ from those that the statistics were fitted on: missing {_short(missing)}, "
                f"not expected {_short(extra)}."
            )
        if ordered and given != self.names:
            raise BatchError(f"the columns come in another order: wanted {_short(self.names)}, got {_short(given)}.")

    def summary(self) -> str:
        """The names, in short, and the fingerprint."""
        return f"{_short(self.names)}; fingerprint {self.fingerprint[:8] or 'none'}"


def _short(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:4])) + (f", … {len(listed) - 4} more" if len(listed) > 4 else "") or "none"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where a text was wanted")
    return value


def _pair(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError(f"{value!r} where two numbers were wanted")
    return float(value[0]), float(value[1])
