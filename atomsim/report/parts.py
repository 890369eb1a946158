"""Part that one step adds to a report."""

from __future__ import annotations

from dataclasses import dataclass

from atomsim.report.blocks import Notice, Number, Section


@dataclass(frozen=True)
class Part:
    """Headlines and notices go to the top of the page, sections follow in the order of the steps."""

    headlines: tuple[Number, ...] = ()
    notices: tuple[Notice, ...] = ()
    sections: tuple[Section, ...] = ()
