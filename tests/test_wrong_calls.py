"""A hundred wrong calls of the command line and sixty of the library: one clear line each."""

import math
import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from advlatgan import (
    calibration,
    checkpoints,
    data,
    evaluate,
    features,
    logits,
    losses,
    metrics,
    mining,
    nets,
    refiners,
    sample,
    training,
)
from advlatgan.methods import acgan, advlatgan, gan, pacgan
from advlatgan.runs import cli

SPECS = {
    "toy": dict(arch="toy", z_dim=2, width=0.1),
    "digits": dict(arch="sngan", img_size=28, img_channels=1, z_dim=4, width=1 / 32),
    "classes": dict(
        arch="cgan", img_size=28, img_channels=1, z_dim=4, width=1 / 32, num_classes=10
    ),
}
ODD = {  # files that hold no images
    "junk.pt": b"junk",
    "junk.npz": b"PK junk",
    "void.safetensors": b"",
    "file.txt": b"words",
    "dict.pt": {"x": 1},
    "list.pt": [torch.zeros(2, 3, 4, 4)],
    "sparse.pt": torch.zeros(4, 3, 8, 8).to_sparse(),
    "meta.pt": torch.zeros(4, 3, 8, 8, device="meta"),
    "bool.pt": torch.zeros(4, 3, 8, 8, dtype=torch.bool),
    "zero.npy": np.zeros((4, 3, 0, 0), np.uint8),
    "none.npy": np.zeros((0, 3, 8, 8), np.uint8),
    "complex.npy": np.zeros((4, 3, 8, 8), complex),
    "int.npy": np.zeros((4, 3, 8, 8), np.int64),
    "nan.npy": np.full((4, 3, 8, 8), np.nan, np.float32),
    "big.npy": np.full((4, 3, 8, 8), 300, np.float32),
    "text.npy": np.array(["a", "b"]),
    "line.npy": np.zeros(3, np.uint8),
    "number.npy": np.uint8(3),
    "fields.npy": np.zeros(3, dtype=[("a", int)]),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    "Three checkpoints of untrained networks, two folders of pictures, and files that are neither."
    shelf, draw = tmp_path_factory.mktemp("shelf"), np.random.default_rng(0)
    torch.manual_seed(1)
    for name, spec in SPECS.items():
        state = dict(zip("GD", (net.state_dict() for net in nets.build(**spec))))
        checkpoints.save(shelf / name, 1, {"spec": spec}, state)
    for name, n in (("a", 12), ("b", 14)):
        (shelf / name).mkdir()
        for i in range(n):
            x = draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(x).save(shelf / name / f"{i}.png")
    for name, held in ODD.items():
        if isinstance(held, bytes):
            (shelf / name).write_bytes(held)
        elif name.endswith(".pt"):
            torch.save(held, shelf / name)
        else:
            np.save(shelf / name, held)
    np.save(shelf / "good.npy", draw.integers(0, 255, (20, 8, 8, 3), dtype=np.uint8))
    (shelf / "points").mkdir()
    (shelf / "points/sample.json").write_text("{}")
    Image.fromarray(x).save(shelf / "points/points.png")
    os.mkfifo(shelf / "pipe")
    for name in ("empty", "here"):
        (shelf / name).mkdir()
    return shelf


S, E = "sample {d}/toy --out {d}/new ", "evaluate {d}/a --data {d}/b --root {d} "
E, AS, OF = E + "--extractor mnistcnn ", "--data {d}/b --root {d}", "--extractor mnistcnn"
NEW = "--out {d}/new"
CALLS = f"""
sample -> CHECKPOINT
sample {{d}}/toy -> --out
{S} --n 0 -> n is 0: expected 1 to 1,000,000
{S} --n -5 -> n is -5
{S} --n 1.5 -> '--n'
{S} --n few -> '--n'
{S} --n 1000000000000 -> 1,000,000,000,000
{S} --seed -1 -> seed is -1
{S} --seed 9223372036854775808 -> seed is 9223372036854775808
{S} --seed x -> '--seed'
{S} --eps 1 -> add --refine
{S} --n-adv 3 -> add --refine
{S} --method dot -> add --refine
{S} --d-output probability -> add --refine
{S} --refine --eps inf -> eps is inf
{S} --refine --eps nan -> eps is nan
{S} --refine --eps -1 -> eps is -1
{S} --refine --eps 0 -> eps is 0
{S} --refine --n-adv -1 -> n_adv is -1
{S} --refine --n-adv 1000000000000 -> 1,000,000 at most
{S} --refine --n-adv 2.5 -> '--n-adv'
{S} --refine --method nope -> unknown method 'nope'
{S} --refine --d-output sigmoid -> unknown d_output 'sigmoid'
sample {{d}}/digits {NEW} --refine --d-output probability --seed 3 -> expected probabilities
{S} --refine --method advlatgan-m -> say --data
{S} --refine --method advlatgan-m --data nope -> unknown image set 'nope'
{S} --refine --method advlatgan-m --data {{d}}/a -> unknown image set
{S} --refine --method drs --eps 1 -> unknown option of drs 'eps'
{S} --batch-size 0 -> batch_size is 0
{S} --batch-size -3 -> batch_size is -3
{S} --device abacus -> no such device
{S} --device meta -> no such device
{S} --device cuda:99 -> no such device
{S} --device= -> no such device
{S} --bogus -> --bogus
{S} extra -> extra
sample {{d}}/toy --out= -> '--out': it is empty
sample {{d}}/toy --out /dev/null/new -> cannot be written
sample {{d}}/toy --out {{d}} -> is not empty
sample {{d}}/toy --out {{d}}/file.txt -> cannot be written
sample {{d}}/toy --out /proc/new -> cannot be written
sample {{d}}/nowhere {NEW} -> no checkpoint at
sample {{d}}/empty {NEW} -> no checkpoint at
sample {{d}}/void.safetensors {NEW} -> is empty
sample {{d}}/file.txt {NEW} -> no checkpoint at all
sample {{d}}/dict.pt {NEW} -> no checkpoint at all
sample /dev/null {NEW} -> no checkpoint at
sample {{d}}/a {NEW} -> no checkpoint at
evaluate -> IMAGES
evaluate {{d}}/a -> --data
evaluate {{d}}/nowhere {AS} {OF} -> is not there
evaluate {{d}}/empty {AS} {OF} -> holds no pictures
evaluate {{d}}/file.txt {AS} {OF} -> nor a whole .tar
evaluate {{d}}/points {AS} {OF} -> points/images
evaluate {{d}}/toy {AS} {OF} --n 5 -> images are of shape (5, 2)
evaluate {{d}}/digits {AS} {OF} --n 0 -> n is 0
evaluate {{d}}/digits {AS} {OF} --n 10000000000 -> n is 10,000,000,000
evaluate {{d}}/digits {AS} {OF} --n 5 --n-adv 3 -> add --refine
evaluate {{d}}/digits {AS} {OF} --n 5 --refine --method advlatgan-m -> with --data
{E} --n 5 -> for checkpoints
{E} --n-adv 3 -> add --refine
{E} --refine -> for checkpoints
{E} --protocols fid12 kid12 --bogus -> --bogus
{E} --protocols= -> unknown protocol ''
{E} --protocols fvd16 -> unknown protocol 'fvd16'
{E} --protocols fid12 kid12x -> unknown protocol 'kid12x'
{E} --protocols fid50k -> needs 50,000 generated images
{E} --protocols fid0 -> unknown protocol 'fid0'
{E} --protocols fid12_val -> no split 'val'
{E} --protocols pr3_k5 -> it takes 6 images or more
{E} --protocols is5 -> it takes 10 images or more
{E} --extractor nope -> unknown extractor 'nope'
{E} --split val -> no split 'val'
{E} --split= -> no split ''
{E} --img-size 0 -> img_size is 0
{E} --img-size -3 -> img_size is -3
{E} --batch-size 0 -> batch_size is 0
{E} --device gpu -> no such device
{E} --range 5 -> unknown range '5'
{E} --record {{d}}/nowhere/r.json -> cannot be written
{E} --record /proc/r.json -> cannot be written
{E} --record {{d}} -> it is a folder
{E} --record= -> '--record': it is empty
{E} --record {{d}}/a/0.png -> what is there is no record
{E} --record ~nouser/r.json -> ~nouser/r.json: there is no such home folder
{E} --root ~nouser -> ~nouser: there is no such home folder
evaluate ~nouser/a {AS} {OF} -> ~nouser/a: there is no such home folder
evaluate {{d}}/a --data ~nouser/b --root {{d}} {OF} -> ~nouser/b: there is no such home folder
evaluate {{d}}/a --data folder:~nouser/b --root {{d}} {OF} -> ~nouser/b: there is no such home
evaluate {{d}}/good.npy {AS} {OF} --img-size 16 -> 8 × 8, as the images of good.npy
evaluate {{d}}/digits {AS} {OF} --n 20 --img-size 16 -> 28 × 28, as the generator's images
sample ~nouser/toy {NEW} -> ~nouser/toy: there is no such home folder
sample {{d}}/toy --out ~nouser/new -> ~nouser/new: there is no such home folder
import ~nouser/a.pkl {NEW} -> ~nouser/a.pkl: there is no such home folder
explore ~nouser/toy -> ~nouser/toy: there is no such home folder
run fig09_toy --out ~nouser/runs -> ~nouser/runs: there is no such home folder
run train_images -p dataset=folder:~nouser/a -> ~nouser/a: there is no such home folder
run fig09_toy --seeds 1.5 -> 'seed' is '1.5'
run fig09_toy -- --cores 0 -> --cores is 0: expected 1 or more
run fig09_toy -- -j 0 -> --jobs is 0: expected 1 or more
run fig09_toy -- --set-resources nope -> --set-resources nope: not enough values
run fig09_toy -- --profile nowhere -> profile directory given (nowhere)
run fig09_toy --seeds -- --cores 2 -> '--seeds' requires an argument
run train_images -p img_size=100000 -> img_size is 100000: expected pixels, 1 to 4096
report --out {{d}}/file.txt -> file.txt is not a folder
publish fig09_toy --out {{d}}/nowhere -> nowhere is not a folder
evaluate {{d}}/digits --data {{d}}/b --root {{d}} {OF} --n 5 --batch-size 10000000 -> batch_size is
evaluate {{d}}/classes --data {{d}}/b --root {{d}} {OF} --n 12 --per-class -> leave --per-class out
{E} --record {{d}}/pipe -> what is there is no record
{E} --range= -> unknown range ''
{S} --data ring -> --data names the reals of advlatgan-m
{E} --per-class -> have no labels
{E} --seed -1 -> '--seed'
{E} --seed 9223372036854775808 -> '--seed'
evaluate {{d}}/a --data nope --root {{d}} {OF} -> unknown image set 'nope'
evaluate {{d}}/a --data= --root {{d}} {OF} -> '--data': it is empty
evaluate {{d}}/a --data folder: --root {{d}} {OF} -> names no folder
evaluate {{d}}/a --data {{d}}/empty --root {{d}} {OF} -> holds no pictures
evaluate {{d}}/a --data {{d}}/file.txt --root {{d}} {OF} -> nor a whole .tar
evaluate {{d}}/a --data mnist --root {{d}} {OF} -> mnist is not there
evaluate {{d}}/a --data {{d}}/b --root {{d}}/nowhere {OF} -> is not a folder
evaluate {{d}}/a --data {{d}}/b --root {{d}}/file.txt {OF} -> is not a folder
evaluate {{d}}/a --data {{d}}/b --root {{d}} --extractor inception --offline -> downloads are off
import -> PKL
import {{d}}/nowhere {NEW} -> No such file
import {{d}}/file.txt {NEW} -> cannot be read as a pickle
import {{d}}/dict.pt {NEW} -> a weights file of PyTorch
import {{d}}/a {NEW} -> Is a directory
import {{d}}/file.txt -> --out
import {{d}}/file.txt --out= -> '--out': it is empty
import {{d}}/file.txt {NEW} --psi inf -> psi is inf
import {{d}}/file.txt {NEW} --images 0 -> '--images'
claims extra -> extra
claims --bogus -> --bogus
list a b -> (b)
list --bogus -> --bogus
list nope -> unknown experiment 'nope'
report nope -> unknown experiment 'nope'
report --out= -> '--out'
publish -> NAME
publish fig9_toy -> did you mean 'fig09_toy'?
publish fig09_toy --preset nope -> no preset 'nope'
run -> NAME
run fig9_toy -> did you mean 'fig09_toy'?
run fig09_toy --preset smok -> did you mean 'smoke'?
run fig09_toy -p total_step=3 -> did you mean 'total_steps'?
run fig09_toy -p total_steps -> expected KEY=VALUE
run fig09_toy -p lr=inf -> 'lr' is 'inf'
run fig09_toy -p eps=inf -> 'eps' is 'inf'
run fig09_toy -p n_points=1000000000000 -> 'n_points' is '1000000000000'
run fig09_toy -p batch_size=1000000000000 -> 'batch_size' is '1000000000000'
run fig09_toy -p total_steps=10 early=11 -> early
run fig09_toy -p seed=3 -> use --seeds
run fig09_toy --seeds 9223372036854775808 -> 'seed' is '9223372036854775808'
run fig09_toy --out= -> '--out'
run train_images -p n_images=1000000000000 -> 'n_images' is '1000000000000'
run train_images -p width=inf -> 'width' is 'inf'
run train_images -p width=1000000 -> less than or equal to 64
run train_images -p device=meta -> no such device
run train_images -p real_split= -> no split ''
run fig09_toy -- --executr slurm -> --executr
explore -> 'checkpoint'
explore {{d}}/nowhere --no-browser -> no checkpoint at
explore {{d}}/empty -> no checkpoint at
explore {{d}}/toy --port 0 -> '--port'
explore {{d}}/toy --port 99999 -> '--port'
explore {{d}}/toy --data nope -> 'nope'
explore {{d}}/digits --label x -> '--label'
explore {{d}}/toy --bogus -> --bogus
import {{d}}/junk.pt {NEW} -> junk.pt is truncated
import {{d}}/list.pt {NEW} --psi nan -> psi is nan
import {{d}}/void.safetensors {NEW} -> is truncated
import {{d}}/file.txt {NEW} --images many -> '--images'
claims --out {{d}}/new -> --out
publish fig09_toy --out= -> '--out'
publish fig09_toy --preset= -> no preset ''
report fig09_toy nope -> unknown experiment 'nope'
run pgm_toy -p num_partitions=1 -> 'num_partitions' is '1'
run pgm_toy -p ids=eq6 -> did you mean 'eq5'?
run pgm_images -p guide_weight=-1 -> 'guide_weight' is '-1'
run pgm_images -p num_partitions=0 -> 'num_partitions' is '0'
run pgm_theorems -p seed=1 -> use --seeds
run ivgan_images -p method=ivgna -> 'method' is 'ivgna'
run ivgan_images -p n_curve=0 -> 'n_curve' is '0'
run ivgan_images -p lr_E=inf -> 'lr_E' is 'inf'
run mode_league -p methods=unrolld -> 'methods'
run mode_league -p dataset=rng -> 'dataset'
run mode_league -p unroll=-1 -> 'unroll' is '-1'
run stylegan2_ada -p augment=bcg -> 'augment' is 'bcg'
run stylegan2_ada -p ada_kimg=0 -> 'ada_kimg' is '0'
run stylegan2_ada -p mixing=2 -> 'mixing' is '2'
run beyond_z -p budgets=0 -> 'budgets'
run beyond_z -p method=obs -> did you mean 'obrs'?
run pgm_theorems -p img_size=9 -> 'img_size' is '9'
run beyond_z -p space=q -> no parameter 'space'
run fig09_toy --extend -> --extend
run train_images -p total_steps=40 --extend --out {{d}}/nowhere -> holds no finished run
fly -> fly
--bogus -> --bogus
"""
CALLS = [line.split(" -> ") for line in CALLS.strip().splitlines()]
CALLS += [
    [f"evaluate {{d}}/{name} {AS} {OF}", name if name in ("sparse.pt", "meta.pt") else "images"]
    for name in ODD
    if not name.endswith((".txt", ".safetensors"))
]


@pytest.fixture
def nothing_written(shelf, monkeypatch):
    "The folder at work in stays empty, and so does the one that was asked for."
    monkeypatch.chdir(shelf / "here")
    monkeypatch.setattr(cli, "carry_out", lambda *a: pytest.fail("it went on"))
    yield
    assert not os.listdir(".") and not (shelf / "new").exists()


@pytest.mark.parametrize("call, words", CALLS)
def test_a_wrong_call_is_one_line_and_status_2(nothing_written, capsys, shelf, call, words):
    assert cli.main(call.format(d=shelf).split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("advlatgan: ") and err.count("\n") == 1, err
    assert words in err, err


# ---- The library -----------------------------------------------------------------------------


class ToyD2(torch.nn.Module):
    "Two numbers a sample, as a classifier of real and fake has them."

    def __init__(self, said=lambda d: d):
        super().__init__()
        self.net, self.said = torch.nn.Linear(2, 2), said

    def forward(self, x):
        return self.said(self.net(x))


def trained(D=None, latents=None, phases=None, x=None, spec=None, both=None, **config):
    "A training that should not begin."
    G = nets.ToyG()
    config = training.TrainConfig(total_steps=1, batch_size=8, **dict(z_dim=2) | config)
    phases = phases or gan.gan()
    if latents:
        phases = gan.changed(phases, "D", latents=latents)
    both = both or {"G": G, "D": D or nets.ToyD()}
    x = data.toy_mixture("ring") if x is None else x
    training.train(both, x, phases, config, spec=spec)


def moved(D, z=None, **options):
    return refiners.refine(lambda z: z, D, Z if z is None else z, progress=False, **options)


def first(x):
    return x[:, 0]


Z, X, NAN = torch.zeros(4, 2), torch.randn(40, 3), float("nan")
LABELS = torch.zeros(4, dtype=torch.long)
PAIR = torch.randn(4, 2), torch.randn(4, 2), Z, Z + 1
SEEK = advlatgan.ModeSeeking
LIBRARY = {  # words of the one line: (call, exception)
    "unknown toy mixture 'rong': did you mean 'ring'?": partial(data.toy_mixture, "rong"),
    "unknown image set 'minst': did you mean 'mnist'?": partial(data.image_dataset, "minst"),
    "no split 'trian'": partial(data.image_dataset, "mnist5k", split="trian"),
    "img_size is 0": partial(data.image_dataset, "mnist5k", img_size=0),
    "folder: names no folder": partial(data.image_dataset, "folder:"),
    "unknown arch": partial(nets.build, "toi"),
    "n_adv is 2.5": partial(mining.ifgsm, first, Z, 2.5, 0.1),
    "n_adv is -1": partial(mining.ifgsm, first, Z, -1, 0.1),
    "n_adv is True": partial(mining.ifgsm, first, Z, True, 0.1),
    "eps is inf": partial(mining.ifgsm, first, Z, 1, math.inf),
    "eps is nan": partial(mining.pgd, first, Z, 1, NAN),
    "radius is -1": partial(mining.mifgsm, first, Z, 1, 0.1, -1),
    "is NaN": partial(mining.ifgsm, lambda z: first(z) * NAN, Z, 1, 0.1),
    "returned shape () for 4 latents": partial(mining.ifgsm, torch.sum, Z, 1, 0.1),
    "does not depend on z": partial(mining.ifgsm, lambda z: first(z).detach(), Z, 1, 0.1),
    "unknown form 'hinge'": partial(mining.quality_objective, first, first, form="hinge"),
    "unknown reduction 'mean'": partial(mining.pair_ratio, *PAIR, reduction="mean"),
    "offset is nan": partial(mining.pair_ratio, *PAIR, offset=NAN),
    "sigma and offset are 0": partial(mining.hard_pairs, first, Z, sigma=0),
    "unknown stats 'train'": partial(advlatgan.qua, gan.gan(), stats="train"),
    "D returned shape (16, 2) for 16 samples": partial(trained, ToyD2()),
    "D.latents is 7: expected 8, or a multiple": partial(trained, latents=lambda n, z, y: z[1:]),
    "data is <class 'torch.Tensor'>: expected a set": partial(trained, x=X),
    "nets is <class 'tuple'>: expected networks by name": partial(trained, both=(1, 2)),
    "D returned a tuple for 16 samples: expected logits": partial(trained, ToyD2(lambda d: (d, d))),
    "D returned a NoneType for 16 samples": partial(trained, ToyD2(lambda d: None)),
    "config is <class 'dict'>: expected a TrainConfig": lambda: training.train(
        {}, None, gan.gan(), dict(total_steps=1)
    ),
    "log_every is 1.5: expected a whole": lambda: training.train(
        {}, None, gan.gan(), training.TrainConfig(), log_every=1.5
    ),
    "labels are torch.float32: expected integers": partial(metrics.mode_metrics, X[0], 3),
    "real has 3 features per sample and fake has 1": lambda: metrics.nearest_labels(
        X, torch.zeros(40).long(), X[:, :1]
    ),
    "expected a list of Phase, as gan() makes it": partial(trained, phases=gan.gan),
    "z_dim is 3: expected 2, the size of G's latents": partial(trained, z_dim=3),
    "total_steps": partial(training.TrainConfig, total_steps=0),
    "ema": partial(training.TrainConfig, ema=1.5),
    "batch_size is 2.5": partial(training.TrainConfig, batch_size=2.5),
    "seed": partial(training.TrainConfig, seed=2**63),
    "lr is inf": partial(training.Adam, math.inf),
    "betas is (1, 0.5)": partial(training.Adam, 1.0, (1, 0.5)),
    "times is 0": partial(training.Phase, "D", "D", first, times=0),
    "draws is 'xw'": partial(training.Phase, "D", "D", first, draws="xw"),
    "phases is []": partial(training.train, {}, None, [], training.TrainConfig()),
    "unknown loss 'bec'": partial(losses.gan_loss, "bec"),
    "unknown loss 'hing'": partial(gan.gan, "hing"),
    "weight is -1": partial(acgan.acgan, -1.0),
    "weight is nan": partial(advlatgan.msgan, gan.gan(), weight=NAN),
    "m is 0: a pack has 1 sample": partial(pacgan.pacgan, 0),
    "unknown method 'dto'": partial(moved, first, method="dto"),
    "unknown option of dot 'radius'": partial(moved, first, method="dot", radius=1),
    "batch_size is 0": partial(moved, first, batch_size=0),
    "unknown d_output 'sigmoid'": partial(moved, first, d_output="sigmoid"),
    "D returned shape (2, 2) for 2 samples": partial(moved, lambda x: x),
    "D returned a tuple": partial(moved, lambda x: (x,)),
    "expected finite logits": partial(moved, lambda x: first(x) / 0),
    "a uniform prior ends at -1 and 1": partial(moved, first, Z + 2, prior="uniform"),
    "z is torch.int64": partial(moved, first, Z.long()),
    "NaN or infinite": partial(moved, first, Z * NAN),
    "trajectory has step 99": partial(moved, first, trajectory=[99]),
    "advlatgan-m needs d_real": partial(moved, first, method="advlatgan-m"),
    "expected 10 or more": partial(moved, first, method="advlatgan-m", d_real=Z[:, 0]),
    "expected probabilities": partial(logits.log_odds, Z - 1),
    "4 samples and 3 labels": partial(logits.sample_logits, first, Z, LABELS[:3]),
    "two samples or more": partial(calibration.calibrate, first, X[:1], X),
    "real has 3 features per sample and fake has 2": partial(metrics.frechet_distance, X, X[:, :2]),
    "kernel distance of 0 subsets": partial(metrics.kernel_distance, X, X, subsets=0),
    "not finite": partial(metrics.precision_recall, X * NAN, X),
    "fake has 0 samples": partial(metrics.density_coverage, X, X[:0]),
    "too few for k = 99": partial(metrics.precision_recall, X, X, 99),
    "labels run from 0 to 10": partial(metrics.mode_metrics, torch.arange(11), 10),
    "probabilities": partial(metrics.inception_score, X),
    "x has shape (40, 3)": partial(metrics.toy_metrics, X, data.toy_mixture("ring")),
    "k is 99": partial(metrics.bins, X, 99),
    "sigmas is -1": partial(metrics.toy_metrics, X[:, :2], data.toy_mixture("ring"), -1),
    "40 reals and 39 classes": partial(metrics.nearest_labels, X, torch.zeros(39).long(), X),
    "expected pairs": partial(mining.pair_ratio, X, X[:3], X, X[:3]),
    "width is inf": partial(nets.build, "toy", width=math.inf),
    "labels are torch.int64 (1,) from 10 to 10": partial(
        data.ImageData, "x", torch.zeros(1, 1, 8, 8).byte(), torch.tensor([10]), tuple("0123456789")
    ),
    "rows that are not finite": partial(metrics.nearest_labels, X, torch.zeros(40).long(), X * NAN),
    "unknown protocol 'fid'": partial(evaluate.evaluate, X, "mnist5k", None, ["fid"]),
    "unknown extractor 'inceptoin'": partial(features.load_extractor, "inceptoin"),
    "expected a tensor (B, C, H, W)": partial(features.to_bytes, X),
    "float images run from 0 to 300": partial(features.to_bytes, torch.tensor([[[[0.0, 300]]]])),
    "no checkpoint at": partial(checkpoints.load, "nowhere"),
    "seed is -1": partial(sample.load_sampler, "nowhere", -1),
    "n is 0": lambda: sample.Sampler(nets.ToyG(), nets.ToyD()).batches(0),
}


@pytest.mark.parametrize("words", LIBRARY)
def test_a_wrong_call_of_the_library_is_one_clear_exception(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FloatingPointError)) as refused, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LIBRARY[words]()
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert not os.listdir(tmp_path)
