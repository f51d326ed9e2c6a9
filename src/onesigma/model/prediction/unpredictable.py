"""The one way a rule says that it does not know."""

__all__ = ["Unpredictable"]


class Unpredictable(Exception):  # noqa: N818 - no error: it never leaves the package
    """Raised by a rule; its text is the reason that the record gives, and predictions stop there."""
