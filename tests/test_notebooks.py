"""Every notebook runs top to bottom in a process of its own, in the folder where a reader opens it.

The process is forked from one that has imported the large libraries and nothing of ours: as
strict as a fresh kernel, and four seconds sooner.
"""

import multiprocessing

import pytest
from cells import run_cells
from conftest import LARGE, ROOT

LIBRARY = sorted((ROOT / "nbs").glob("*.ipynb"))
CONVOLVED = {  # those that run convolutions in the precision that the hardware suggests
    *("12_image_nets", "40_training", "44_sample", "45_features", "47_watch", "52_advlatgan"),
    *("53_acgan", "48_evaluate", "58_stylegan2_training", "59_backbones", "66_refiners_compared"),
}


@pytest.fixture(scope="session")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LARGE)
    return context


def run(forks, out, *given):
    process = forks.Process(target=run_cells, args=given)
    process.start()
    process.join(600)
    if process.is_alive():
        process.kill()
        pytest.fail("still running after ten minutes")
    assert process.exitcode == 0, out.read_text() if out.exists() else f"exit {process.exitcode}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: p.stem)
def test_notebook_runs_top_to_bottom(path, forks, tmp_path):
    run(forks, tmp_path / "error", str(path), str(tmp_path / "error"))


@pytest.mark.parametrize("path", [p for p in LIBRARY if p.stem in CONVOLVED], ids=lambda p: p.stem)
def test_notebook_runs_on_the_other_sort_of_processor(path, forks, tmp_path):
    "Where bf16 is multiplied in hardware as if it were not, and the other way round."
    run(forks, tmp_path / "error", str(path), str(tmp_path / "error"), True)
