"""The page."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onesigma.report.report import Report
__all__ = ["render"]


def render(report: "Report") -> str:
    """The page."""
    return ""
