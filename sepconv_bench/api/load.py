"""load: a folder of results as tables, figures and predictions."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sepconv_bench.errors import ResultsError
from sepconv_bench.predict.layers import shapes_of
from sepconv_bench.predict.prediction import Model
from sepconv_bench.results import store, tables
from sepconv_bench.results.rows import of_first_dtype
from sepconv_bench.run import folders

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Loaded:
    """The results in a folder. `ratios`, `timings` and `layers` are tidy tables, whose columns docs/tables.md describes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with store.open_results(folder) as results:
            self._cells, self._runs = results.cells(), results.runs()
            self._tables = {name: tables.table(results, name) for name in ("ratios", "timings", "layers")}

    @property
    def ratios(self) -> pd.DataFrame:
        """A row a pair of kernels and shape: T_separable / T_standard, and what was promised. `best`: the fastest of each."""
        return self._tables["ratios"].copy()

    @property
    def timings(self) -> pd.DataFrame:
        """A row a kernel and shape: seconds a launch with their interval, rate, share of the peak."""
        return self._tables["timings"].copy()

    @property
    def layers(self) -> pd.DataFrame:
        """A row a part of MobileNet-V1, where `sepconv-bench mobilenet` has timed it."""
        return self._tables["layers"].copy()

    @property
    def plot(self) -> Plots:
        """Figures, on axes of your own or on new ones."""
        return Plots(self)

    def predict(self, layers: pd.DataFrame, device: str = "cpu") -> pd.DataFrame:
        """Times and speedup of layers that were not measured, with 90 % intervals, beside what else the table says of them.

        `layers`: columns D_K, M, N, D_G and, where they are not 1, stride and batch; or kernel_size, in_channels, out_channels,
        output_size, batch_size. InputError where they are not there, ResultsError where the folder holds too few shapes.
        """
        predicted = self._model(device).predict(shapes_of(layers)).set_index(layers.index)
        return pd.concat([layers[[name for name in layers if name not in predicted]], predicted], axis=1)

    def _model(self, device: str) -> Model:
        if device not in self._models:
            self._models[device] = Model(self._cells, device)
        return self._models[device]

    @cached_property
    def _models(self) -> dict[str, Model]:
        return {}

    def __repr__(self) -> str:
        if not self._runs:
            return f"results in {self.folder}: none yet"
        best = self._tables["ratios"].query("best")
        told = f"results in {self.folder}: {len(best)} shapes on {self._runs[-1].machine.machine}"
        if len(best):
            medians = best.speedup.median(), best.theory_speedup.median()
            told += "; separable is {:.2f}x as fast in the median, {:.2f}x promised".format(*medians)
        return told

    def _repr_html_(self) -> str:
        best = self._tables["ratios"].query("best")
        shown = best[
            ["D_K", "M", "N", "D_G", "stride", "batch", "speedup", "speedup_lo", "speedup_hi", "theory_speedup", "grade"]
        ]
        return f"<p>{escape(repr(self))}</p>{shown.round(2).to_html(index=False, max_rows=12)}"


class Plots:
    """Figures of results; each takes matplotlib axes, or makes some, and gives them back."""

    def __init__(self, results: Loaded) -> None:
        self._results = results

    def speedup(self, ax: Axes | None = None) -> Axes:
        """Measured over promised speedup of the fastest kernels, a point a shape; the line is the formula."""
        import matplotlib.pyplot as plt

        from sepconv_bench.report.figures.headline import headline_alone
        from sepconv_bench.report.figures.style import STYLE

        best = of_first_dtype(self._results.ratios.query("best"))
        self._refuse_empty(best)
        with plt.style.context(["default", STYLE]):
            ax = ax or plt.subplots(figsize=(7.2, 6.0))[1]
            headline_alone(ax, best)
        return ax

    def roofline(self, ax: Axes | None = None) -> Axes:
        """Each kernel's share of the machine's peak over its arithmetic intensity, under the machine's roofs."""
        import matplotlib.pyplot as plt

        from sepconv_bench.report.figures.roofline import roofline_on, timed
        from sepconv_bench.report.figures.style import STYLE

        rows = timed(self._results.timings)
        self._refuse_empty(rows)
        with plt.style.context(["default", STYLE]):
            ax = ax or plt.subplots(figsize=(8.2, 5.6))[1]
            handles = roofline_on(ax, rows, self._results._runs[-1])
            ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
        return ax

    def _refuse_empty(self, rows: pd.DataFrame) -> None:
        if rows.empty:
            raise ResultsError(f"{self._results.folder} holds nothing to draw")


def load(folder: str | Path | None = None, device: str = "cpu") -> Loaded:
    """The results in a folder, by default the latest of this machine; ResultsError where there are none.

    >>> results = load("reports/intel-xeon-2-threads")
    >>> float(results.ratios.query("best").speedup.median().round(1))
    7.2
    """
    return Loaded(folders.to_read(None if folder is None else Path(folder), device))
