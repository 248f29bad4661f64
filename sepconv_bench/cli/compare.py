"""compare: two results files."""

from __future__ import annotations

from pathlib import Path

import click

from sepconv_bench.cli.messages import say
from sepconv_bench.cli.options import Folder, json_option, threshold_option, verdicts_option
from sepconv_bench.cli.verdicts import end_with_verdicts
from sepconv_bench.errors import InputError


@click.command()
@click.argument("old", metavar="DIR_A", type=Folder())
@click.argument("new", metavar="DIR_B", type=Folder())
@click.option("--across-machines", is_flag=True, help="Compare results of different CPUs, too.")
@threshold_option
@verdicts_option
@json_option
def compare(old: Path, new: Path, across_machines: bool, threshold: float, output: Path | None, as_json: bool) -> None:
    """Compare two results files.

    Is B slower or faster than A? On one machine a time counts relative to the multiply-add peak of its own rounds, so that a
    machine which was faster on one of the days does not pass for a faster kernel. Results of different CPUs are refused,
    unless --across-machines asks for them: then times count as they are, and "slower" means that the machine of B takes
    longer. Verdicts and exit codes are those of `ab`.

    \b
    Examples:
      sepconv-bench compare results/before results/after
      sepconv-bench compare results/before results/after --threshold 0.1 --output verdicts.md
      sepconv-bench compare reports/intel-xeon-2-threads reports/amd-epyc-2-threads --across-machines
    """
    from sepconv_bench.results import store
    from sepconv_bench.results.comparison import compare_files

    with store.open_results(old) as before, store.open_results(new) as after:
        found = compare_files(before, after)
    cpus = next(((then, now) for what, then, now in found.differs if what == "cpu"), None)
    if cpus and not across_machines:
        raise InputError(
            f"{old} was measured on {cpus[0]}, {new} on {cpus[1]}: a difference would be the machine's, not the code's;"
            " --across-machines compares them all the same, `report DIR_A DIR_B` shows what each machine gains"
        )
    for what, then, now in found.differs:
        say(f"not the same {what}: {then} and {now}")
    if not as_json:
        click.echo(f"Change of time from {old} to {new}, {_how(cpus is not None, found.relative)}.")
    end_with_verdicts(found.verdicts, found.left_out, (str(old), str(new)), threshold, output, as_json)


def _how(machines: bool, relative: bool) -> str:
    """How to read the changes."""
    if machines:
        return 'between two machines: times as they are, "slower" means that the second machine takes longer'
    if not relative:
        return "with other numbers of threads: times as they are"
    return "relative to the multiply-add peak of the same rounds: the machine's own drift is taken out"
