"""Room: report. A `Report` in, bytes out; the same report, the same bytes."""

from typing import TYPE_CHECKING

from onesigma._lazy import import_when_asked

if TYPE_CHECKING:
    from onesigma.report.compare import Comparison, compare
    from onesigma.report.report import Report
    from onesigma.report.summary import Meta, Summary

__all__ = ["Comparison", "Meta", "Report", "Summary", "compare"]

# rich draws from Python's random numbers while it is imported, and the caller's are to stay as they are.
import_when_asked(
    __name__,
    {
        "Comparison": "onesigma.report.compare",
        "Meta": "onesigma.report.summary",
        "Report": "onesigma.report.report",
        "Summary": "onesigma.report.summary",
        "compare": "onesigma.report.compare",
    },
)
