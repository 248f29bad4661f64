"""What commands print, and where: examples that work, JSON where there is a table, a word where a table is empty."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click
import made
import pandas as pd
import pytest
from msgspec.structs import replace

from sepconv_bench.cli.program import cli
from sepconv_bench.measure.machine import default_threads
from sepconv_bench.model.shapes import ConvShape
from sepconv_bench.results import columns, store, tables


def examples(command: click.Command) -> list[str]:
    """The lines of its help that show the command, without what they say of it."""
    lines = [line.strip() for line in str(command.help).partition("Examples:\n")[2].splitlines()]
    return [line.partition("   ")[0] for line in lines if line.startswith("sepconv-bench ")]


@pytest.mark.parametrize("name", cli.commands)
def test_every_command_shows_examples_that_are_understood(name):
    command = cli.commands[name]
    shown = examples(command)
    assert 1 <= len(shown) <= 6
    for example in shown:
        program, word, *arguments = shlex.split(example)
        assert (program, word) == ("sepconv-bench", name)
        command.make_context(name, arguments)  # raises where a word is not understood


@pytest.mark.parametrize("name", cli.commands)
def test_in_the_list_of_commands_each_is_said_whole(name):
    assert not cli.commands[name].get_short_help_str(limit=68).endswith("...")


def test_what_writes_or_prints_a_table_says_where_and_how_in_the_same_words():
    takes = {name: {word for option in command.params for word in option.opts} for name, command in cli.commands.items()}
    assert {name for name in takes if "--json" not in takes[name]} == {"run", "mobilenet", "report", "explain"}, (
        "they write reports, or words"
    )
    assert {name for name in takes if "--output" not in takes[name]} == {"check", "list", "machine", "explain"}, (
        "they only print"
    )
    assert not any(word in takes[name] for name in takes for word in ("--out", "--dir", "--file"))


# ---------------------------------------------------------------------------------------------- JSON


def test_list_as_json(door):
    found = json.loads(door("list", "--json").stdout)
    assert found["kernels"]["cpu.standard.loops"]
    assert found["grids"]["smoke"]["cells"] == 3


def test_check_as_json(door, tmp_path):
    plugin = tmp_path / "wrong.py"
    plugin.write_text(
        "from sepconv_bench import kernel\n\n"
        "@kernel('cpu.pointwise.zero')\n"
        "def zero(problem):\n    return lambda: problem.G.fill(0)\n"
    )
    done = door("check", "--plugin", plugin, "--kernels", "cpu.pointwise.numpy,cpu.pointwise.zero", "--json")
    assert done.returncode == 1
    wrong, right = sorted(json.loads(done.stdout), key=lambda one: one["right"])
    assert (wrong["kernel"], wrong["right"], wrong["worst_error"]) == ("cpu.pointwise.zero", 0, None)
    assert len(wrong["wrong"]) == wrong["shapes"] - 2 > 0, "two shapes say more than it takes"
    assert (right["right"], right["wrong"]) == (right["shapes"], {})
    assert 0 <= right["worst_error"] <= 1


def test_predict_as_json_is_its_table(committed, door, tmp_path):
    words = ("predict", committed, "--network", "vgg16", "--output", tmp_path / "table.csv")
    found = json.loads(door(*words, "--json").stdout)
    frame = pd.read_csv(tmp_path / "table.csv")
    assert [row["speedup"] for row in found["shapes"]] == pytest.approx(list(frame.speedup))
    assert found["total"]["speedup_lo"] < found["total"]["speedup"] < found["total"]["speedup_hi"]
    assert found["accuracy"]["cells"] >= 30


def test_ladder_as_json_and_in_a_file(committed, door, tmp_path):
    printed = door("ladder", committed).stdout
    door("ladder", committed, "--output", tmp_path / "ladder.md")
    assert (tmp_path / "ladder.md").read_text() == printed
    found = json.loads(door("ladder", committed, "--json").stdout)
    (fused,) = (one for one in found["rungs"] if one["kernel"] == "cpu.separable.fused")
    assert f"| {fused['gflops']:.0f} | {100 * fused['eta']:.0f} ({100 * fused['eta_highest']:.0f}) |" in " ".join(
        printed.split()
    )
    assert fused["vs"]["torch"]["least"] < fused["vs"]["torch"]["geomean"] < fused["vs"]["torch"]["most"]
    done = door("ladder", committed, "--json", "--output", tmp_path / "both")
    assert (done.returncode, done.stderr) == (
        2,
        "sepconv-bench: ladder takes one of --output, --into and --json; several came\n",
    )


def test_export_takes_json_as_every_command_does(swept, door):
    assert door("export", swept, "--json").stdout == door("export", swept, "--format", "json").stdout != ""


def test_machine_as_json(door):
    found = json.loads(door("machine", "--threads", "1", "--json").stdout)
    assert (found["fingerprint"]["threads"], found["ceilings"]["threads"]) == (1, 1)
    assert found["ceilings"]["peak"][0] > 1e8
    assert default_threads() <= found["fingerprint"]["logical_cpus"]


# ---------------------------------------------------------------------------------------------- empty tables


@pytest.mark.parametrize("name", columns.TABLES)
def test_an_empty_table_says_why(name, door, tmp_path):
    with store.create(tmp_path):
        pass
    done = door("export", tmp_path, "--table", name)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1, "its heading"
    assert done.stderr.startswith(f"sepconv-bench: the table {name} of {tmp_path / store.FILE_NAME} is empty: ")
    assert done.stderr.count("\n") == 1


def test_a_table_with_rows_says_nothing(swept, door):
    assert door("export", swept, "--table", "peers").stderr == ""
    assert door("export", swept, "--table", "layers").stderr.endswith("is empty: `mobilenet` measures it\n")


# ---------------------------------------------------------------------------------------------- a report elsewhere


def test_the_report_of_one_folder_goes_where_it_is_asked_to(swept, door, tmp_path):
    done = door("report", swept, "--output", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, f"report: {tmp_path / 'out' / 'index.html'}\n")
    assert (tmp_path / "out" / "index.html").stat().st_size > 10_000
    assert not (tmp_path / "out" / store.FILE_NAME).exists()


# ---------------------------------------------------------------------------------------------- compare


@pytest.fixture
def two_machines(tmp_path: Path) -> tuple[Path, Path]:
    """The same kernel on two CPUs, and twice as slow on the second; both have peaks that differ as much."""
    kernel, shape = made.declared("cpu.standard.loops"), ConvShape(3, 8, 8, 7)
    folders = tmp_path / "here", tmp_path / "there"
    for folder, cpu, seconds in zip(folders, ("one CPU", "another CPU"), (1e-3, 2e-3), strict=True):
        folder.mkdir()
        with store.create(folder) as results:
            machine = replace(made.MACHINE, cpu=cpu)
            run = results.add_run(machine, made.settings([kernel.name]), made.CEILINGS)
            results.add_cell(run, made.measured(shape, {kernel: seconds}, blocks=12))
    return folders


def test_different_cpus_are_compared_only_when_asked_for(two_machines, door):
    here, there = two_machines
    done = door("compare", here, there)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{here} was measured on one CPU, {there} on another CPU" in done.stderr
    assert "--across-machines" in done.stderr
    done = door("compare", here, there, "--across-machines")
    assert done.returncode == 1
    how, first, *_ = done.stdout.splitlines()
    assert 'times as they are, "slower" means that the second machine takes longer' in how
    assert first.split()[0] == "slower"
    assert "+100.0%" in first


def test_compare_says_how_to_read_it_and_prints_json(two_machines, door):
    here, _ = two_machines
    done = door("compare", here, here)
    assert done.returncode == 0
    assert "relative to the multiply-add peak of the same rounds" in done.stdout.splitlines()[0]
    (verdict,) = json.loads(door("compare", here, here, "--json").stdout)["verdicts"]
    assert (verdict["word"], verdict["name"].split()[0]) == ("same", "cpu.standard.loops")
    assert verdict["ratio"][0] == pytest.approx(1)


def test_the_table_names_are_those_of_the_tables():
    (option,) = (one for one in cli.commands["export"].params if one.name == "table")
    assert [*option.type.choices] == [*tables.TABLES]
