"""Keys of random streams: from a seed and a parameter's canonical name."""

import operator
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

from onesigma._errors import ConfigError

__all__ = ["TRANSPARENT", "canonical_name", "key_of", "keys_of", "without_parametrization"]

# What torch.compile, FSDP and activation checkpointing call the module that they wrap.
TRANSPARENT = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def canonical_name(name: str) -> str:
    """A parameter's name without what data parallelism, compilation, sharding and parametrization add to it.

    Example:
        >>> canonical_name("module._orig_mod.fc.parametrizations.weight.original0")
        'fc.weight'
    """
    kept = [part for part in without_parametrization(name).split(".") if part not in TRANSPARENT]
    # Further in, "module" is a name like any other.
    while len(kept) > 1 and kept[0] == "module":
        kept = kept[1:]
    return ".".join(kept)


def without_parametrization(name: str) -> str:
    """The name of the weight that a parametrization computes, for the first of the tensors it is computed from.

    Example:
        >>> [without_parametrization(f"fc.parametrizations.weight.original{i}") for i in ("", "0", "1")]
        ['fc.weight', 'fc.weight', 'fc.weight.original1']
    """
    parts = name.split(".")
    if "parametrizations" not in parts:
        return name
    if parts[-1] in ("original", "original0"):
        parts = parts[:-1]
    return ".".join(part for part in parts if part != "parametrizations")


def key_of(seed: int, name: str) -> int:
    """The 64-bit key of a parameter: BLAKE2b of "seed/canonical name", personalized by "onesigma", little-endian.

    Args:
        seed: Any integer.
        name: The parameter's name, canonical or not; see `canonical_name`.

    Raises:
        TypeError: The seed is no integer.

    Example:
        >>> key_of(0, "module.fc.weight") == key_of(0, "fc.weight") != key_of(1, "fc.weight")
        True
    """
    return _key(seed, canonical_name(name))


def keys_of(seed: int, names: Iterable[str]) -> dict[str, int]:
    """The key of each parameter of one model, by its name as given; no two are alike.

    Names that would be alike once canonical keep all of themselves, so a model with both "fc.weight" and
    "module.fc.weight" does not draw the same values twice.

    Raises:
        ConfigError: A name is given twice.

    Example:
        >>> keys_of(0, ["fc.weight", "fc.bias"])["fc.bias"] == key_of(0, "fc.bias")
        True
    """
    counts = Counter(names)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise ConfigError(
            f"the name {repeated[0]!r} is given {counts[repeated[0]]} times, and equal names draw equal values; "
            "give each tensor a name of its own, and draw a shared one once."
        )
    alike = Counter(canonical_name(name) for name in counts)
    return {name: _key(seed, name) if alike[canonical_name(name)] > 1 else key_of(seed, name) for name in counts}


def _key(seed: int, name: str) -> int:
    text = f"{operator.index(seed)}/{name}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8, person=b"onesigma").digest(), "little")
