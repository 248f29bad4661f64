"""The registry of figures: each is there once, is said in words, and is drawn from what a page gives."""

from __future__ import annotations

from collections import Counter

import pytest

from sepconv_bench.report import drawn
from sepconv_bench.report.figures.registry import ENTRIES, Entry
from sepconv_bench.results.tables import TABLES

# Of each section what its page gives beside the tables.
GIVEN = {"sweep": {"run"}, "network": set(), "history": {"history", "labels", "newest"}, "machines": {"machines"}}


def test_every_figure_is_registered_once_with_what_it_shows():
    assert max(Counter((entry.section, entry.stem) for entry in ENTRIES).values()) == 1
    for entry in ENTRIES:
        assert len(entry.caption) > 40
        assert set(entry.needs) <= GIVEN[entry.section] | {*TABLES}


def test_a_figure_with_nothing_to_show_leaves_no_file_of_an_earlier_report(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.png").write_bytes(b"old")
    monkeypatch.setattr(drawn, "ENTRIES", (Entry("sweep", "mine", "Mine", "Mine", "nothing", lambda table: None, ("ratios",)),))
    assert drawn.drawn("sweep", {"ratios": None}, tmp_path) == []
    assert [*tmp_path.iterdir()] == []
