"""Gates of RNN, LSTM and GRU: one logical block per gate, orthogonal over time, the LSTM's forget gate open."""

import math
from collections.abc import Mapping

import torch

from onesigma.init.fillers import normal_
from onesigma.init.orthogonal import orthogonal_

__all__ = ["draw_recurrent_"]

_GATES = {"lstm": 4, "gru": 3}


def draw_recurrent_(weights: Mapping[str, torch.Tensor], *, op: str, names: Mapping[str, str], seed: int) -> str:
    """Draw all weights of a recurrent call in place, and say how in words.

    Input weights are N(0, 1/fan_in), so that a standardized input gives pre-activations of std 1; hidden weights are
    orthogonal per gate, so that the state keeps its norm over time; biases are 0, but for the LSTM's forget gate,
    whose sum of both biases is 1 (Jozefowicz et al. 2015, https://proceedings.mlr.press/v37/jozefowicz15.html).
    """
    gates = _GATES.get(op.split("_")[0], 1)
    for role, weight in weights.items():
        blocks = weight.chunk(gates if not role.startswith("weight_hr") else 1)
        for number, block in enumerate(blocks):
            key = (seed, f"{names[role]}[{number}]")
            if role.startswith(("weight_hh", "w_hh")):
                orthogonal_(block, key=key)
            elif block.dim() > 1:
                normal_(block, std=1 / math.sqrt(block.shape[1]), key=key)
            else:
                # torch orders the LSTM's gates input, forget, cell, output.
                forget = gates == 4 and number == 1 and role.startswith(("bias_ih", "b_ih"))
                block.fill_(1.0 if forget else 0.0)
    return f"input weights 1/√fan_in, hidden weights orthogonal per gate ({gates}), " + (
        "biases 0, forget gate 1" if gates == 4 else "biases 0"
    )
