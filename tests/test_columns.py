"""The columns of the tables are defined once: tables, files and the documentation go by it, also where a table is empty."""

from __future__ import annotations

import io
from pathlib import Path

import made
import numpy as np
import pandas as pd
import pytest

from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.report.view import view
from sepconv_bench.results import columns, store, tables

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"


def test_the_documentation_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == columns.documented(), "python -m sepconv_bench.results.columns > docs/tables.md"


def test_every_table_is_defined_and_every_column_says_what_it_means():
    assert [*columns.TABLES] == [*tables.TABLES]
    for table in columns.TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert all(column.meaning for column in table.columns)
        assert all(column.unit == "s" for column in table.columns if column.name.endswith("_s"))


@pytest.mark.parametrize("name", tables.TABLES)
def test_an_empty_table_has_its_columns_and_types(name, tmp_path):
    with store.create(tmp_path) as results:
        frame = tables.table(results, name)
    assert frame.empty
    assert [*frame] == [column.name for column in columns.TABLES[name].columns]
    assert [*frame.dtypes] == [pd.Series(dtype=column.dtype).dtype for column in columns.TABLES[name].columns]
    assert tables.written(frame, "csv").decode() == ",".join(frame) + "\n"
    assert tables.written(frame, "json").decode().split() == ["[", "]"]
    again = pd.read_parquet(io.BytesIO(tables.written(frame, "parquet")))
    assert [*again.dtypes] == [*frame.dtypes]


def test_types_do_not_depend_on_what_is_missing(tmp_path):
    """No kernel here has a compile time, and one was never timed."""
    shape, kernels = ConvShape(3, 4, 4, 5), [made.declared(f"cpu.standard.{name}") for name in ("loops", "tiled")]
    with store.create(tmp_path) as results:
        run = results.add_run(made.MACHINE, made.settings([kernel.name for kernel in kernels]), made.CEILINGS)
        results.add_cell(run, made.measured(shape, {kernels[0]: 1e-3}, failed=kernels[1:]))
        frame = tables.timings(results)
    assert frame.compile_s.dtype == np.float64
    assert frame.compile_s.isna().all()
    assert frame.status.tolist() == ["ok", "failed"]
    assert np.isnan(frame.time_s[1])


def test_a_row_of_other_columns_is_refused():
    with pytest.raises(AssertionError, match="are not the columns"):
        columns.PEERS.frame([{"operator": "standard"}])


def test_counts_beyond_64_bits_are_numbers_still():
    table = columns.Table("a row", (columns.integer("multiplications", "many"),))
    assert table.frame([{"multiplications": 2**80}]).multiplications.tolist() == [float(2**80)]


def test_people_read_values_as_their_column_says():
    frame = pd.DataFrame({"time_s": [1.5e-3, np.nan], "time_lo_s": 1e-3, "time_hi_s": 2e-3, "eta": 0.256, "kernel": "x"})
    shown = view(columns.TIMINGS, frame, ("kernel", "time_s", ("time_lo_s", "time_hi_s"), "eta"))
    assert shown.headings == ["kernel", "time (µs)", "95% interval", "η"]
    assert shown.rows == [["x", "1,500.0", "1,000.0 to 2,000.0", "25.6%"], ["x", "", "1,000.0 to 2,000.0", "25.6%"]]
