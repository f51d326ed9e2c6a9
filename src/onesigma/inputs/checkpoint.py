"""What a pass had counted when it was last saved: one small file, replaced atomically, bound to its source."""

import base64
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from onesigma._errors import SourceError
from onesigma.inputs.sources.source import BLOCK_BYTES, WIDE_BYTES, WIDE_ROWS, FileState, Source

__all__ = ["Checkpoint", "Position", "Saved"]

_SCHEMA = "onesigma/scan/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place between two blocks: `blocks` blocks of shard number `shard` are counted, `rows` rows in all."""

    shard: int = 0
    blocks: int = 0
    rows: int = 0


class Saved(NamedTuple):
    """The position of a checkpoint and the statistic's bytes there."""

    position: Position
    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Saves and loads the state of one pass.

    Attributes:
        path: Where it is kept.
        files: State of every file when the pass began.
        task: Digest of all else that must not change: columns, types, cut into shards and blocks, statistic.
    """

    path: Path
    files: tuple[FileState, ...]
    task: str

    @classmethod
    def of(cls, source: Source, statistic: str, *, path: str | Path) -> Self:
        """Bind a checkpoint to a source and a statistic.

        Raises:
            SourceError: The source is no file, so nothing tells whether it is still the same.
        """
        if not source.states:
            raise SourceError(f"{source.description}: only a pass over files can be resumed; leave out checkpoint=.")
        cut = [[shard.name, shard.num_rows] for shard in source.shards]
        sizes = (BLOCK_BYTES, WIDE_ROWS, WIDE_BYTES)
        task = [_SCHEMA, statistic, source.names, [str(kind) for kind in source.types], cut, sizes]
        digest = hashlib.sha256(json.dumps(task).encode()).hexdigest()
        return cls(path=Path(path), files=source.states, task=digest)

    def load(self) -> Saved | None:
        """Return what was saved; None if there is nothing, or nothing whole.

        Raises:
            SourceError: It is of other files, of files that have changed, or of another task.
        """
        record = self._read()
        if record is None:
            return None
        self._refuse_other_files([FileState(**state) for state in record["files"]])
        if record["task"] != self.task:
            raise SourceError(
                f"{self.path}: an interrupted pass with other columns or settings; repeat its command, or delete it."
            )
        return Saved(Position(**record["position"]), base64.b64decode(record["state"]))

    def _read(self) -> dict[str, Any] | None:
        try:
            seal, _, body = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if seal.decode(errors="replace") != hashlib.sha256(body).hexdigest():
            return None  # Not whole, or not ours: counting anew is always right.
        record: dict[str, Any] = json.loads(body)
        return record

    def _refuse_other_files(self, before: list[FileState]) -> None:
        was = {state.path: state for state in before}
        now = {state.path: state for state in self.files}
        changed = [path for path in now if now[path] != was.get(path)] + [path for path in was if path not in now]
        if changed:
            more = f" and {len(changed) - 1} more" if changed[1:] else ""
            raise SourceError(
                f"{self.path}: {changed[0]!r}{more} changed since the interrupted pass began; "
                f"delete the checkpoint to count anew."
            )

    def save(self, position: Position, state: bytes) -> None:
        """Replace the file by this position and state, whole or not at all."""
        record = {
            "task": self.task,
            "position": asdict(position),
            "state": base64.b64encode(state).decode(),
            "files": [asdict(file) for file in self.files],
        }
        body = json.dumps(record).encode()
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        os.replace(part, self.path)

    def remove(self) -> None:
        """Remove the file: the pass is over."""
        self.path.unlink(missing_ok=True)
