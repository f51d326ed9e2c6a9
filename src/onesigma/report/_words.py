"""How numbers, shapes and names are written, alike in every form of a report."""

import math
import unicodedata

__all__ = ["arrow", "clean", "decimal", "number", "percent", "shape"]

# Controls, format characters (U+202E turns text around), surrogates (UTF-8 has none), line and paragraph separators.
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def number(value: float | None) -> str:
    """Three significant digits: "0.0312", "1.00", "1780", "1.2e-5"; "–" for None.

    Example:
        >>> [number(value) for value in (0.03124, 1.0, 1783.0, 1.23e-5, 0.0, None, float("nan"))]
        ['0.0312', '1.00', '1783', '1.2e-5', '0', '–', 'nan']
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(float(value))
    size = abs(value)
    if size == 0:
        return "0"
    if not 9.995e-4 <= size < 99_999.5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if size >= 99.95:
        return f"{value:.0f}"
    # Digits after rounding: 0.99996 is 1.00, not 0.9999.
    digits = 2 - math.floor(math.log10(float(f"{size:.2e}")))
    return f"{value:.{digits}f}"


def decimal(value: float | None) -> str:
    """Two decimals, for numbers between −1 and 1; "–" for None."""
    # Adding 0.0 turns the −0.0 that rounding may leave into 0.0.
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}"


def percent(share: float | None) -> str:
    """A share as per cent: "0 %", "0.4 %", "37 %", "100 %"; never rounded up to all or down to none."""
    if share is None:
        return "–"
    if not math.isfinite(share):
        return "nan"
    value = 100 * share
    if 0 < value < 1:
        return "<0.1 %" if value < 0.05 else f"{min(value, 0.9):.1f} %"
    if 99 < value < 100:
        return ">99 %"
    return f"{value:.0f} %"


def shape(sizes: tuple[int, ...]) -> str:
    """`64×10`; "scalar" for none."""
    return "×".join(map(str, sizes)) or "scalar"


def arrow(before: str, after: str) -> str:
    """`before → after`, or one of them where they read alike."""
    return after if before == after else f"{before} → {after}"


def clean(text: str) -> str:
    """`text` on one line, with nothing that could steer a terminal: control and format characters become "�".

    Example:
        >>> clean("fc\\x1b[31m\\nout")
        'fc�[31m�out'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("�" if unicodedata.category(char) in UNSAFE or char in "\ufffe\uffff" else char for char in text)
