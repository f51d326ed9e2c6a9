"""Room: report. A `Report` in, bytes out; the same report, the same bytes."""

from onesigma.report.report import Report
from onesigma.report.summary import Meta, Summary

__all__ = ["Meta", "Report", "Summary"]
