"""Real architectures, one call each: every linear at unit scale or refused with a reason, all else as it was."""

import pytest
import torch

from . import own, text, vision
from .exam import examine

MODELS = {**text.MODELS, **vision.MODELS, **own.MODELS}

# What transformers and torch say of small configs, of older spellings and of compiling is none of our business.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", MODELS)
def test_every_linear_is_at_unit_scale_or_says_why_not(name: str) -> None:
    build, batch = MODELS[name]
    torch.manual_seed(0)
    found = examine(build(), batch(4))
    assert found.stds
    assert found.off == {}
    assert found.unexplained == ()
    assert all(found.exceptions.values())
    assert found.untouched
