"""`initialize_` called as it is under DDP and FSDP2: no rank goes its own way."""

import subprocess
import sys
from pathlib import Path


def test_all_ranks_end_with_the_bits_of_one_process_on_the_joined_batch(tmp_path: Path) -> None:
    """A transformer and a convolutional network on two gloo processes with batches of 7 and 5 rows."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.distributed.initialize_worker"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "rendezvous")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    try:
        outputs = [rank.communicate(timeout=400)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank in ranks:
        assert rank.returncode == 0, "\n".join(outputs)
