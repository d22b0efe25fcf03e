"""Every notebook runs top to bottom in a process of its own, in the folder where a reader opens it.

The process is forked from one that has imported the large libraries and nothing of ours: as
strict as a fresh kernel, and four seconds sooner.
"""

import json
import multiprocessing
import os
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LIBRARY = sorted((ROOT / "nbs").glob("*.ipynb"))
LARGE = ["torch", "torchvision", "matplotlib.figure", "pandas", "sklearn.cluster", "IPython"]


def run_cells(path, out):
    "Run a notebook's code cells one after the other; what stopped it goes to the file `out`."
    from IPython.core.interactiveshell import InteractiveShell

    assert not any(name.split(".")[0] == "advlatgan" for name in sys.modules)
    os.chdir(Path(path).parent)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    shell = InteractiveShell.instance()
    cells = [c for c in json.loads(Path(path).read_text())["cells"] if c["cell_type"] == "code"]
    for i, cell in enumerate(cells):
        source = "".join(cell["source"])
        result = shell.run_cell(source)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            said = f"cell {i}: {type(error).__name__}: {error}\n{source}"
            Path(out).write_text(said)
            sys.exit(1)


@pytest.fixture(scope="session")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LARGE)
    return context


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.stem)
def test_notebook_runs_top_to_bottom(path, forks, tmp_path):
    out = tmp_path / "error"
    process = forks.Process(target=run_cells, args=(str(path), str(out)))
    process.start()
    process.join(600)
    if process.is_alive():
        process.kill()
        pytest.fail("still running after ten minutes")
    assert process.exitcode == 0, out.read_text() if out.exists() else f"exit {process.exitcode}"
