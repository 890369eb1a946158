"""What a notebook shows: figures without a word more, tables with counts as counts."""

from __future__ import annotations

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

CELLS = (
    'import atomsim\nfound = atomsim.relax(["Li", "LiCoO2"], "lj-test", max_steps=3, device="cpu", progress=False)',
    "found.plot()",
    "found",
    "from matplotlib import pyplot as plt\nfigure, axes = plt.subplots()\nfound.plot(axes);",
)


def test_a_figure_is_shown_once_and_a_table_as_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # nobody's own settings
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    outputs = [[set(output.get("data", {})) for output in cell["outputs"]] for cell in notebook.cells]
    assert outputs[0] == []
    assert sum("image/png" in kinds for kinds in outputs[1]) == 1
    assert sum("image/png" in kinds for kinds in outputs[3]) == 1
    table = notebook.cells[2]["outputs"][0]["data"]["text/html"]
    assert "<td>3</td>" in table
    assert "3.0000" not in table
