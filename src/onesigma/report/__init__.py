"""Room: report. A `Report` in, bytes out; the same report, the same bytes."""

from onesigma.report.compare import Comparison, compare
from onesigma.report.report import Report
from onesigma.report.summary import Meta, Summary

__all__ = ["Comparison", "Meta", "Report", "Summary", "compare"]
