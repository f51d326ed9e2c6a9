"""A batch norm takes its statistics from a handful of values.

## What it measures

Values per channel (samples × positions) of every batch norm that normalizes by the batch. Limits: info below 32,
warning below 16, error below 3: with two values the output is ±1 whatever the data, with one there is nothing to
divide by. Source: Group Normalization, where error grows below 16 images per device; torch's own variance for the
running statistics is larger by n/(n − 1).

## Why it matters

The noise of the statistics is 1/√n of the signal and differs from eval mode, where it is absent: 18 % at 16 values.

## When it is fine

As a regularizer, with the statistics calibrated afterwards; a small batch that was taken only to look at the model.

## What to do

Larger batches, statistics over all devices, or a norm that does not look at the batch.

## Example

    onesigma.norm.SyncBatchNorm(64)
    nn.GroupNorm(32, 64)

## References

Wu & He 2018 (Group Normalization), https://arxiv.org/abs/1803.08494; Wu & Johnson 2021,
https://arxiv.org/abs/2105.07576.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge how many values each channel's statistics rest on."""
    for norm in trace.of_kind("batch_norm"):
        if len(norm.shape) < 2 or not norm.attributes.get("training", norm.training):
            continue
        values = math.prod(norm.shape) // max(norm.shape[1], 1)
        yield from RULE.found(
            norm,
            float(values),
            limits=limits,
            message=f"{norm.name} normalizes each channel by {values} value{'s' * (values != 1)} of the batch.",
            expected="32 values per channel or more",
            confidence="exact",
            fix="nn.GroupNorm(num_groups, num_channels)  # or larger batches",
        )


RULE = Rule(
    code="NRM604",
    name="small-normalization-batch",
    check=check,
    page=__doc__,
    levels=Levels(info=32.0, warning=16.0, error=3.0, below=True),
)
