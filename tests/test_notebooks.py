"""Every notebook runs top to bottom in a process of its own, in the folder where a reader opens it.

The process is forked from one that has imported the large libraries and nothing of ours: as
strict as a fresh kernel, and four seconds sooner.
"""

import multiprocessing

import pytest
from cells import run_cells
from conftest import ROOT

LIBRARY = sorted((ROOT / "nbs").glob("*.ipynb"))
LARGE = ["torch", "torchvision", "matplotlib.figure", "pandas", "sklearn.cluster", "IPython"]


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
