"""What somebody with networks, files and settings of his own comes upon, and more of its kind."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from advlatgan import checkpoints, data, nets, training
from advlatgan.methods.gan import gan

RING = data.toy_mixture("ring")


def train(both=None, phases=None, total_steps=2, spec=None, about=None, checkpoint=None, **config):
    "A small training, its networks made anew unless they are given."
    torch.manual_seed(0)
    both = both or dict(zip("GD", nets.build("toy", z_dim=2, width=0.1)))
    config = dict(total_steps=total_steps, batch_size=8, z_dim=2, lr_decay=False) | config
    kept = dict(checkpoint=checkpoint, spec=spec, about=about)
    return training.train(both, RING, phases or gan(), training.TrainConfig(**config), **kept)


# ---- Networks --------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", ["Q", "DQ"])
def test_what_networks_share_learns_with_either(trained):
    "A head Q on D's trunk, which its phase trains; D's own head rests, though Q's phase sees it."
    trunk, d, q = nn.Linear(2, 4), nn.Linear(4, 1), nn.Linear(4, 1)
    both = {"D": nn.Sequential(trunk, d), "Q": nn.Sequential(trunk, q)}
    loss = lambda nets, batch: (nets.Q(batch.x) + nets.D(batch.x)).square().mean()
    before = {net: net.weight.clone() for net in (trunk, d, q)}
    train(both, [training.Phase(trained, tuple(trained), loss)])
    moved = [not torch.equal(net.weight, w) for net, w in before.items()]
    assert moved == [True, trained == "DQ", True]


@pytest.mark.parametrize("name", ["losses", "history", "rng_z", "rng_torch", "opt_G"])
def test_names_that_the_trainer_needs_are_refused(name):
    both = dict(zip("GD", nets.build("toy", z_dim=2, width=0.1))) | {name: nn.Linear(2, 1)}
    with pytest.raises(ValueError, match=rf"^nets is \['{name}'\]: expected other names"):
        train(both)


# ---- Settings that are numbers of NumPy, or tensors ------------------------------------------


class Penalty:
    "A plain object; its `of` is a method."

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, D, x_real, x_fake, y):
        return float(self.weight) * D(x_real).square().mean()

    of = __call__


def closed(weight):
    return lambda D, x_real, x_fake, y: float(weight) * D(x_real).square().mean()


def held(weight):
    return closed(SimpleNamespace(weight=weight).weight)


@pytest.mark.parametrize("number", [float, np.float32, np.array, torch.tensor])
@pytest.mark.parametrize("penalty", [Penalty, lambda w: Penalty(w).of, closed, held])
def test_another_weight_is_another_run(tmp_path, penalty, number):
    def go(weight, total_steps):
        return train(None, gan(penalty=penalty(number(weight))), total_steps, checkpoint=tmp_path)

    go(1.0, 2)
    with pytest.raises(checkpoints.CheckpointError, match=r"weight: 1\.0 -> 2\.0"):
        go(2.0, 4)
    assert go(1.0, 4)[-1]["step"] == 4


def of(name):
    return lambda nets, batch: nets.D(batch.x if name == "D" else nets.G(batch.z)).square().mean()


def test_numbers_of_numpy_are_kept_and_odd_things_refused_at_once(tmp_path):
    spec = dict(arch="toy", z_dim=np.int64(2), width=np.float64(0.1))
    about = dict(mean=np.float32(0.5), of=np.arange(3))
    opt = training.Adam(np.float32(0.001), np.array([0.5, 0.9]), np.float32(0))
    phases = [training.Phase(name, name, of(name), opt) for name in "DG"]
    for total_steps in (2, 4):
        train(None, phases, total_steps, spec, about, tmp_path / "run")
    found = checkpoints.load(tmp_path / "run")
    assert found.step == 4 and found.about["mean"] == 0.5 and found.about["of"] == [0, 1, 2]
    with pytest.raises(checkpoints.CheckpointError, match="about cannot be kept .*'Penalty'"):
        train(about=dict(penalty=Penalty(1.0)), checkpoint=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match=r"seed is np.int64\(3\): expected an int"):
        train(seed=np.int64(3))
