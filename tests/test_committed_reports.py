"""The tables of the committed results are those that they were: compared with what revision 7d67839 made of the same files, and
of eta and of all that rooflines say with what they are since eta is taken within the rounds and a launch is no bandwidth.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sepconv_bench.results import store
from sepconv_bench.results.tables import TABLES, table

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("reports/*/results.sqlite"), *ROOT.glob("experiments/*/results.sqlite")])
STORED = Path(__file__).parent / "data" / "committed_tables.zip"
# What is called otherwise since, by its name then.
RENAMED = {"doubts": "flags", "told": "explanation"}
# Rows, and the sum of their seconds: too many to be stored.
SAMPLES = {
    "again": (25703, 24.41153348941817),
    "amd-epyc-2-threads": (30623, 52.27503493823083),
    "amd-epyc-avx512-2-threads": (19841, 32.38221776330223),
    "held-out": (18973, 4.911469455516533),
    "held-out-later": (49330, 16.25366988444022),
    "intel-xeon-2-threads": (151933, 97.83495274076893),
    "known": (31210, 21.4377734462171),
    "mobilenet-v1-amd-epyc-2-threads": (0, 0.0),
    "mobilenet-v1-intel-xeon-2-threads": (0, 0.0),
    "nvidia-h100-80gb-hbm3": (2376, 0.2271317343328976),
    "vgg-and-inception-amd-epyc-2-threads": (31648, 21.792610780584926),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_a_committed_file_has_the_numbers_that_it_had(path):
    with store.open_results(path.parent) as results, zipfile.ZipFile(STORED) as stored:
        for name in TABLES:
            found = table(results, name)
            if name == "samples":
                count, total = SAMPLES[path.parent.name]
                assert len(found) == count
                assert found.time_s.sum() == pytest.approx(total, rel=1e-12)
                continue
            compare(found, stored.read(f"{path.parent.name}-{name}.csv"))


def compare(found: pd.DataFrame, written: bytes) -> None:
    """Columns that are new are nobody's business here; every one that there was is there, with its values and in its order."""
    if not written.strip():
        assert found.empty
        return
    before = pd.read_csv(io.BytesIO(written)).rename(columns=RENAMED)
    if "flags" in before:
        before["flags"] = before["flags"].str.replace("humps", "bimodal")
    after = pd.read_csv(io.BytesIO(found.to_csv(index=False).encode()))
    assert [column for column in after if column in before] == list(before)
    assert len(after) == len(before)
    for column in before:
        if pd.api.types.is_numeric_dtype(before[column]):
            # The last digits of a least-squares fit depend on the CPU's vectors.
            np.testing.assert_allclose(after[column].astype(float), before[column].astype(float), rtol=1e-6, err_msg=column)
        else:
            pd.testing.assert_series_equal(after[column], before[column])
