"""The headline in each dtype: what tensor cores leave of the gain."""

from __future__ import annotations

from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from sepconv_bench.report.figures.headline import winners
from sepconv_bench.report.figures.palette import of_dtypes
from sepconv_bench.report.figures.points import interval_handles, panels_of_widths, points, promise_handle
from sepconv_bench.report.figures.style import legend_below, look_handles, styled, title


@styled
def dtypes(ratios: pd.DataFrame) -> Figure | None:
    """Measured against promised speedup of the fastest kernels in each dtype, a panel a D_K; nothing where there is but one."""
    best = ratios[ratios.best]
    looks = of_dtypes(best["dtype"])
    if len(looks) < 2:
        return None
    figure, panels = panels_of_widths(best)
    for axes, part in panels:
        points(axes, part, looks, by="dtype")
    title(figure, "Measured against promised speedup, one point a shape and dtype")
    won = {dtype: best[best["dtype"] == dtype] for dtype in looks}
    names = [f"{dtype} {winners(rows, 'standard')} over {winners(rows, 'separable')}" for dtype, rows in won.items()]
    whole = "; ".join(name.replace(" ", "\N{NO-BREAK SPACE}") for name in names)
    legend = legend_below(figure, [*look_handles("", looks), promise_handle(), *interval_handles(best)])
    legend.set_title(fill(f"fastest kernels, standard over separable: {whole}", 130, break_long_words=False))
    return figure
