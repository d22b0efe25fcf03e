"""The how-to pages: what they show runs, as a reader would run it, and warns of nothing."""

import re
import warnings
from pathlib import Path

import pytest
import torch

BOOK = Path(__file__).resolve().parents[1] / "book"


def blocks(page):
    "The page's Python, block by block."
    return re.findall(r"```python\n(.*?)```", (BOOK / page).read_text(), re.DOTALL)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    "What a page's blocks leave behind, run one after the other in an empty folder."
    monkeypatch.chdir(tmp_path)

    def run(page):
        names = {}
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            for block in blocks(page):
                exec(compile(block, page, "exec"), names)
        return names

    return run


def test_a_gan_of_ones_own(shown):
    names = shown("use_your_gan.md")
    measure, G, z, x_fake = (names[k] for k in ("measure", "G", "z", "x_fake"))
    before, after = measure(G(z).detach()), measure(x_fake)
    assert after["fd_mnistcnn"] < before["fd_mnistcnn"] < 1000
    assert names["kept"].kept.float().mean() > 0.5


def test_a_gan_for_the_trainer(shown):
    names = shown("add_a_gan.md")
    assert [(p.name, p.times) for p in names["phases"]] == [("D", 2), ("G", 1)]
    assert "E" in names["networks"]
