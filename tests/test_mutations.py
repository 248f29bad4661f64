"""The list of planted faults is alive: each still has its text in the sources, and the tests that should see it are there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_spec = importlib.util.spec_from_file_location("mutations", ROOT / "experiments" / "mutations.py")
mutations = sys.modules["mutations"] = importlib.util.module_from_spec(_spec)  # dataclasses look their module up
_spec.loader.exec_module(mutations)


@pytest.mark.parametrize("fault", mutations.FAULTS, ids=lambda fault: fault.what)
def test_a_fault_can_be_planted_and_its_tests_are_there(fault):
    text = (ROOT / "sepconv_bench" / fault.file).read_text(encoding="utf-8")
    assert text.count(fault.there) == 1
    compile(text.replace(fault.there, fault.planted), fault.file, "exec")
    assert fault.tests
    for test in fault.tests:
        name, _, function = test.partition("::")
        tests = (ROOT / "tests" / name).read_text(encoding="utf-8")
        assert f"def {function.partition('[')[0]}(" in tests or not function


def test_the_faults_are_many_and_in_every_room():
    assert len(mutations.FAULTS) >= 34
    assert len({fault.what for fault in mutations.FAULTS}) == len(mutations.FAULTS)
    rooms = {path.stem for path in (ROOT / "sepconv_bench").iterdir() if not path.stem.startswith("_")} - {"py", "errors"}
    assert {fault.room for fault in mutations.FAULTS} == rooms
