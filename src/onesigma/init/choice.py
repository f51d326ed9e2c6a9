"""Which weights are meant: by pattern of names, by type of layer, by role."""

from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from glob import escape

import torch
from torch import nn

from onesigma._errors import ConfigError
from onesigma.init.parts import ROLES, Parts
from onesigma.model.graph import Graph
from onesigma.model.names import module_names, parameter_names

__all__ = ["left_out"]


def left_out(
    model: nn.Module, *, where: Collection[str], skip: Collection[str], graph: Callable[[], Graph]
) -> tuple[str, ...]:
    """Patterns of all that `where` does not mean or `skip` does, as names of layers and parameters alone.

    Args:
        model: Whose weights.
        where: Patterns of names, class names of layers, or roles; empty means everything.
        skip: The same, of what is left alone.
        graph: Captures the graph; called only where a role is named.

    Raises:
        ConfigError: `where` means nothing in this model.
    """
    chosen = _Choice(model, graph)
    if isinstance(where, str) or isinstance(skip, str):
        raise ConfigError('where= and skip= take a list of names, types or roles, such as skip=["head"].')
    skipped = tuple(each for entry in skip for each in (entry, *map(escape, chosen.named(entry))))
    if not where:
        return skipped
    wanted = {name for entry in where for name in chosen.meant(entry)}
    if not wanted:
        raise ConfigError(
            f"where={list(where)!r} means no weight of this model; it takes patterns of names, class names of layers "
            f"and the roles {', '.join(ROLES)}."
        )
    return (*skipped, *(escape(name) for name in chosen.parameters if name not in wanted))


class _Choice:
    """What the entries of `where` and `skip` mean in one model."""

    def __init__(self, model: nn.Module, graph: Callable[[], Graph]) -> None:
        self.parameters: Mapping[str, torch.Tensor] = parameter_names(model)
        self._types = {name: type(module).__name__ for module, name in module_names(model).items()}
        self._graph = graph
        self._parts: Parts | None = None

    def meant(self, entry: str) -> list[str]:
        """The parameters that a pattern, a type or a role means."""
        by_name = [
            name
            for name in self.parameters
            if fnmatchcase(name, entry)
            or fnmatchcase(name.rpartition(".")[0], entry)
            or (entry and name.startswith(f"{entry}."))
        ]
        return by_name + self.named(entry)

    def named(self, entry: str) -> list[str]:
        """The parameters that a type or a role means."""
        if entry in ROLES:
            self._parts = self._parts or Parts(self._graph())
            return [name for name in self.parameters if entry in self._parts.of(name)]
        return [name for name in self.parameters if self._types.get(name.rpartition(".")[0]) == entry]
