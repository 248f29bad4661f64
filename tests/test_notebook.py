"""The notebook that goes from a model to a decision: a fresh kernel runs it, and what is committed of it says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorials" / "which-layers.ipynb"
# A cell behind the last one: what the decision should say, from the table and the measured ratios alone.
FACTS = """
import json
yes = found.table[found.table.worth_replacing == "yes"]
now = found.table.now_s.sum()
print(json.dumps({
    "predicted": [
        f"Replace {len(yes)} of {len(found.table)} convolutions", *yes.layer, f"They take {yes.share.sum():.0%} of the time.",
        f"{now * 1e3:.2f} ms now", f"{now / (now - (yes.now_s - yes.separable_s).sum()):.1f} times as fast",
        f"Checked on {name}: {found.table.set_index('layer').gain[name]:.1f} times predicted",
    ],
    "measured": f"{results.ratios.query('best').speedup.item():.1f} times measured here",
}))
"""


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook as a kernel of its own has just run it, with the cell of facts."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code(notebook):
        cell.outputs, cell.execution_count = [], None
    notebook.cells.append(nbformat.v4.new_code_cell(FACTS, id="facts"))
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    sockets = tmp_path_factory.mktemp("kernel")  # files, of this user only, in the place of ports
    config = Config({"KernelManager": {"transport": "ipc", "ip": str(sockets / "kernel")}})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path_factory.mktemp("jupyter")))
        patched.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
        patched.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patched.delenv("MPLBACKEND", raising=False)  # the kernel chooses the one that shows figures in cells
        NotebookClient(notebook, timeout=240, resources=where, config=config).execute()
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: nbformat.NotebookNode, name: str) -> list[nbformat.NotebookNode]:
    (cell,) = [cell for cell in notebook.cells if cell.id == name]
    return cell.outputs


def printed(notebook: nbformat.NotebookNode, name: str) -> str:
    return "".join(output.text for output in outputs(notebook, name) if output.output_type == "stream")


@pytest.mark.parametrize("which", ["committed", "executed"])
def test_each_cell_ran_in_order_without_a_complaint(which, request):
    cells = code(request.getfixturevalue(which))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error", output
        assert output.get("name") != "stderr", output.text
    (figure,) = outputs(request.getfixturevalue(which), "figure")
    assert "image/png" in figure.data


def test_the_decision_is_what_the_table_and_the_check_say(executed):
    facts, decision = json.loads(printed(executed, "facts")), printed(executed, "decision")
    for fact in (*facts["predicted"], facts["measured"]):
        assert fact in decision


def test_the_committed_decision_is_todays(committed, executed):
    for fact in json.loads(printed(executed, "facts"))["predicted"]:
        assert fact in printed(committed, "decision")


def test_what_is_committed_names_no_folder_of_a_machine(committed):
    texts = [output.get("text", "") for cell in code(committed) for output in cell.outputs]
    texts += [
        output.data[kind] for name in ("model", "scan", "check") for output in outputs(committed, name) for kind in output.data
    ]
    assert any("stage2.conv2" in text for text in texts)
    absolute = re.compile(r"""(?:^|[\s'"(=:])/\w|[A-Z]:\\|site-packages""")
    assert absolute.search("measured in /somewhere/else")
    found = [text for text in texts if not text.startswith("iVBOR") and absolute.search(text)]  # a picture's letters are none
    assert not found
