"""Laws are tried on the same examples every time, and no test leaves torch otherwise than it found it.

`--hypothesis-profile=explore` looks for new examples.
"""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

settings.register_profile("same", derandomize=True)
settings.register_profile("explore")
settings.load_profile("same")


def state_of_torch() -> dict[str, object]:
    """What every test in the process shares."""
    hooks = ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_hooks")
    return {
        "function modes": _get_current_function_mode_stack(),
        "dispatch modes": _get_current_dispatch_mode_stack(),
        "global hooks": [list(getattr(torch_module, name)) for name in hooks],
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.fixture(autouse=True)
def torch_is_left_as_it_was() -> Iterator[None]:
    before = state_of_torch()
    yield
    assert state_of_torch() == before
