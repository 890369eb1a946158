"""Report of a run: a page that opens offline, figures and tables."""

from atomsim.report.write import write_report

__all__ = ["write_report"]
