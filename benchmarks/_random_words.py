"""Raw 32-bit words of the streams, without end, for batteries that read them from a pipe.

    python -m benchmarks._random_words interleaved | dieharder -a -g 200

`interleaved` takes one block of each of 256 keys in turn, those of 256 parameter names, so that neighbors in the
pipe are neighbors in name; `seeds` likewise those of 256 seeds; `one` is a single stream.
"""

import sys

import numpy as np

from onesigma.numbers.keys import key_of
from onesigma.numbers.random_compiled import _philox

__all__ = ["main"]

BLOCKS = 1 << 12


def main(mode: str = "interleaved") -> None:
    keys = {
        "one": [key_of(0, "weight")],
        "interleaved": [key_of(0, f"blocks.{number}.weight") for number in range(256)],
        "seeds": [key_of(seed, "weight") for seed in range(256)],
    }[mode]
    words = np.empty((len(keys), BLOCKS, 2), np.uint64)
    first = 0
    while True:
        for place, key in enumerate(keys):
            room = words[place].reshape(-1)
            _philox(room, np.uint64(first), BLOCKS, np.uint64(key), room.view(np.float32))
        try:
            sys.stdout.buffer.write(words.transpose(1, 0, 2).tobytes())
        except BrokenPipeError:
            return
        first += BLOCKS


if __name__ == "__main__":
    main(*sys.argv[1:])
