"""The scheme `analytic`: every weight scaled by the predicted std of its output; no value of a pass is looked at."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from onesigma._errors import CaptureError
from onesigma.init.targets import Owners
from onesigma.init.unit import UnitScale
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.capture import Site, recording
from onesigma.model.edits import Edit
from onesigma.model.graph import Graph
from onesigma.model.prediction.feed import Feed, feed_of
from onesigma.model.prediction.propagation import Propagation
from onesigma.model.prediction.signal import Signal, spread
from onesigma.model.state import preserved

__all__ = ["AnalyticScale", "analytic_pass"]


class AnalyticScale(UnitScale):
    """Draws each weight as `unit` does, and divides it by the std that is predicted of what comes out.

    The prediction knows the weights that were just drawn, so what is left is what a layer's inputs do that their
    means, variances and correlations do not tell. Where something on the way is not known, the draw N(0,
    gain²/fan_in) stays, and the edit says why.
    """

    def __init__(
        self,
        owners: Owners,
        *,
        seed: int,
        skip: Collection[str] = (),
        forgotten: Collection[str] = (),
        tied: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(owners, seed=seed, skip=skip, forgotten=forgotten, tied=tied)
        self.propagation = Propagation({})

    def follow(self, feed: Feed) -> None:
        """Start from the inputs of this feed."""
        self.propagation = Propagation(feed.data)

    def before(self, site: Site) -> None:
        """Draw the weight of a layer that is met for the first time."""
        self.propagation.recorder = self.recorder
        self.propagation.before(site)
        super().before(site)

    def after(self, site: Site, output: Any) -> Any:
        """Predict what came out, and rescale the weight by that."""
        self.propagation.after(site, output)
        if site.call.index not in self._drawn:
            return output
        target, call, draw = self._drawn.pop(site.call.index)
        found = self.propagation.found[call.index]
        if not isinstance(found, Signal):
            reason = f"{draw.how}; only that, since its input is not known: {found}"
            self.edits.append(Edit(layer=call.name, action="draw weight", reason=reason))
            return output
        std = _std(found)
        factor = draw.goal / std if std else math.inf
        if not math.isfinite(factor) or not factor:
            reason = f"{draw.how}; only that, since its predicted std is {std:g}"
            self.edits.append(Edit(layer=call.name, action="draw weight", before=std, after=std, reason=reason))
            return output
        try:
            target.scale(factor)
        except ValueError as error:
            reason = f"{draw.how}; {error}"
            self.edits.append(Edit(layer=call.name, action="draw weight", before=std, after=std, reason=reason))
            return output
        made = output * factor
        self.propagation.replace(call, next(tensors_in(made)), found.scaled(factor))
        edit = Edit(
            layer=call.name,
            action="draw and scale weight",
            before=std,
            after=draw.goal,
            reason=f"{draw.how}; predicted",
        )
        self.edits.append(edit)
        return made


def analytic_pass(
    model: nn.Module,
    batch: Batch,
    *,
    seed: int,
    skip: Collection[str],
    forgotten: Collection[str],
    tied: Mapping[str, str],
) -> tuple[AnalyticScale, Graph]:
    """Run the model on a few samples (on zeros, if they hold no values) with the scheme beside it; see `initialize_`.

    Raises:
        CaptureError: The model raised, also on the whole batch; it is then as it was.
    """

    def run(feed: Feed) -> tuple[AnalyticScale, Graph]:
        scheme = AnalyticScale(Owners.of(model), seed=seed, skip=skip, forgotten=forgotten, tied=tied)
        scheme.follow(feed)
        with preserved(model, parameters=False), torch.no_grad():
            try:
                with recording(model, listeners=[scheme]) as recorder:
                    scheme.recorder = recorder
                    recorder.run(feed.batch)
            except BaseException:
                for parameter, value in reversed(scheme.saved.items()):
                    parameter.copy_(value)
                raise
        return scheme, recorder.graph

    try:
        return run(feed_of(batch))
    except CaptureError:
        return run(feed_of(batch, few=False))


def _std(signal: Signal) -> float:
    mean, second, _ = spread(signal)
    return math.sqrt(max(second - mean**2, 0.0))
