"""A scanned model as one HTML page that needs nothing beside it: the model drawn layer by layer, the verdict and the table."""

from __future__ import annotations

from sepconv_bench.report.drawn import drawn
from sepconv_bench.report.scanned import Scan, convolutions, heading, how_to_read, shown, uncovered, verdict
from sepconv_bench.report.templates import rendered


def scan_page(scan: Scan) -> str:
    """The page, with its figure in it."""
    return rendered(
        "scan.html.j2",
        source=scan.source,
        heading=heading(scan),
        machine=scan.machine,
        verdict=verdict(scan.table, scan.total),
        figures=drawn("scan", {"scanned": scan.layers, "source": f"times of {scan.machine}"}),
        layers=shown(scan.table),
        chosen=(convolutions(scan.table).worth_replacing == "yes").tolist(),
        how_to_read=how_to_read(scan),
        uncovered=uncovered(scan.table),
    )
