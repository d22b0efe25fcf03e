"""StyleGAN2 against numbers of the official code, and its pickles, which are never executed."""

import json
import os
import pickle
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import ROOT
from killed import kill, same_state
from PIL import Image
from safetensors import safe_open

from advlatgan import checkpoints, importing, nets, refiners, sample
from advlatgan.augment import AugmentPipe
from advlatgan.data import ImageData
from advlatgan.files import read_json
from advlatgan.methods import stylegan2
from advlatgan.nets_stylegan2 import InW, StyleD, StyleG, hold_batch_std, load_official, pair
from advlatgan.nets_stylegan2.official import OF_D, OF_G, SHARED, official_state, options
from advlatgan.training import TrainConfig, train

ORACLES = Path(os.environ.get("ADVLATGAN_ORACLES", ROOT.parent / "shared/oracles")) / "stylegan2ada"
NAMES = ("base", "cifar", "grey_skip")
needs_oracles = pytest.mark.skipif(
    not ORACLES.is_dir(),
    reason=f"no oracles at {ORACLES}: set ADVLATGAN_ORACLES to the folder that holds stylegan2ada",
)


def oracle(name):
    "Tensors and constructors' arguments."
    with safe_open(ORACLES / f"{name}.safetensors", "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        return tensors, json.loads((file.metadata() or {}).get("config", "{}"))


def networks(name):
    "G and D with the oracle's weights, which must have exactly our names."
    tensors, config = oracle(name)
    G = StyleG(**options(config["G"], SHARED | OF_G))
    D = StyleD(**options(config["D"], SHARED | OF_D))
    for net, prefix in ((G, "G."), (D, "D.")):
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        assert official_state(net).keys() == own.keys()
        net.load_state_dict(own)
    return G.eval(), D.eval(), tensors


def off(ours, theirs):
    "The largest difference, relative to the largest value."
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@needs_oracles
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_of_the_oracles(name, fused):
    G, D, t = networks(name)
    z, y = t["z"].requires_grad_(), t.get("y")
    x = G(z, y, noise="const", fused=fused)
    d = D(x, y)
    (grad,) = torch.autograd.grad(d.sum(), z)
    with torch.no_grad():
        found = dict(
            ws=G.ws(z, y),
            x_const=x,
            x_none=G(z, y, noise="none", fused=fused),
            d_const=d,
            grad_z_of_d=grad,
        )
        found["ws_psi0.7_cut3"] = G.ws(z, y, psi=0.7, cutoff=3)
        found["x_psi0.5_const"] = G(z, y, psi=0.5, noise="const", fused=fused)
    given = {k for k in t if not k.startswith(("G.", "D."))} - {"z", "y"}
    assert found.keys() == given
    assert {
        k: off(v.detach(), t[k]) for k, v in found.items() if off(v.detach(), t[k]) > 1e-4
    } == {}


@needs_oracles
@pytest.mark.parametrize("name", NAMES)
def test_the_pickles_load_and_their_trap_does_not_spring(name):
    found = load_official(ORACLES / f"{name}.pkl")
    G, D, t = networks(name)
    assert found.keys() == {"G", "D", "G_ema"}
    for net, reference in ((found["G"], G), (found["G_ema"], G), (found["D"], D)):
        ours, theirs = net.state_dict(), reference.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    with torch.no_grad():
        x = found["G_ema"](t["z"], t.get("y"))
        assert off(x, t["x_const"]) < 1e-4
        assert off(found["D"](x, t.get("y")), t["d_const"]) < 1e-4


@needs_oracles
def test_an_imported_pickle_is_sampled_and_refined(tmp_path):
    path = importing.import_official(ORACLES / "cifar.pkl", tmp_path / "run", psi=0.9)
    found = checkpoints.load(path)
    assert found.about["source"] == "cifar.pkl" and found.settings["spec"]["arch"] == "stylegan2"
    x = sample.load_sampler(path)[0](6)
    better = sample.load_sampler(path, refine=dict(n_adv=3, eps=0.1))[0](6)
    assert x.shape == (6, 3, 16, 16) and not torch.equal(x, better)
    G, D = found.networks()
    z, y = torch.randn(6, 16), torch.arange(6) % 3
    truncated = load_official(ORACLES / "cifar.pkl")["G_ema"](z, y, psi=0.9)
    assert torch.allclose(G(z, y), truncated, atol=1e-5)
    assert torch.allclose(D(x := G(z, y), y)[:1], D(x[:1], y[:1]), atol=1e-4)


@needs_oracles
def test_the_command_imports_and_what_it_made_is_sampled(advlatgan, tmp_path):
    done = advlatgan("import", ORACLES / "grey_skip.pkl", "--out", tmp_path / "run", "--psi", 0.7)
    assert done.returncode == 0 and "step-00000000.safetensors" in done.stdout, done.stderr
    call = ("--out", tmp_path / "pictures", "--n", 5, "--refine", "--n-adv", 2, "--device", "cpu")
    done = advlatgan("sample", tmp_path / "run", *call)
    assert done.returncode == 0 and (tmp_path / "pictures/grid.png").exists(), done.stderr


@needs_oracles
def test_what_was_imported_is_measured_in_z_and_in_w(command, tmp_path):
    "Mined in W, and by the walk that needs reals: those that it is measured against."
    importing.import_official(ORACLES / "grey_skip.pkl", tmp_path / "run")
    asked = "--n 20 --data mnist5k --extractor mnistcnn --protocols fid20 --device cpu".split()
    asked = ["evaluate", tmp_path / "run", *asked, "--img-size", 8, "--root", tmp_path]
    mined, found = ("--refine", "--n-adv", 2, "--eps", 0.1, "--d-output", "logit"), {}
    matched = (*mined, "--method", "advlatgan-m")
    for space, more in (("z", ()), ("w", ()), ("z", mined), ("w", mined), ("w", matched)):
        status, out, err = command(*asked, "--space", space, *more)
        assert status == 0 and "fd_mnistcnn_20" in out, err
        record = read_json(tmp_path / "run.evaluation.json")
        assert record["generator"].get("space", "z") == space
        found[space, more] = record["metrics"]["fd_mnistcnn_20_train"]
    assert found["z", ()] == pytest.approx(found["w", ()], rel=1e-3)
    bare, walked = found["w", ()], [found[space, mined] for space in "zw"]
    assert len({round(v, 3) for v in (bare, *walked)}) == 3, found
    assert record["generator"]["refine"]["d_real"].startswith("5,000 of mnist5k train")
    status, _, err = command(*asked, "--space", "v")
    assert status == 2 and "unknown space 'v'" in err and err.count("\n") == 1


@pytest.fixture
def own(tmp_path):
    "Somebody's pickles in a home of his, colour pictures beside it, and a call's environment."
    (tmp_path / "home").mkdir()
    for name in ("base", "cifar", "grey_skip"):
        shutil.copy(ORACLES / f"{name}.pkl", tmp_path / "home")
    noise = torch.randint(256, (24, 16, 16, 3), generator=torch.Generator().manual_seed(0))
    (tmp_path / "pictures").mkdir()
    for i, x in enumerate(noise.to(torch.uint8).numpy()):
        Image.fromarray(x).save(tmp_path / f"pictures/{i}.png")
    return dict(HOME=str(tmp_path / "home"), ADVLATGAN_DATA=str(tmp_path))


@needs_oracles
def test_the_papers_figures_of_ones_own_network(advlatgan, preloaded, tmp_path, own):
    "A relative path, one from home, a folder that was imported; with classes and without; Z and W."
    where = dict(cwd=tmp_path / "pictures", env=own | preloaded)
    coloured = "label=1 dataset=folder:. img_size=16 n_drawn=40 n_walks=2 n_steps=3 n_shown=1"
    importing.import_official(ORACLES / "grey_skip.pkl", tmp_path / "home/grey")
    calls = [
        ["fig03_walk", "network=../home/cifar.pkl", "space=z,w", *coloured.split()],
        ["fig10_defects", "network=~/cifar.pkl", "space=w", "dataset=folder:.", "img_size=16"],
        ["fig10_defects", "network=~/grey", "space=z", "img_size=8"],
    ]
    for name, *given in calls:
        given = ["n_adv=1", "n_real=20", "device=cpu", *given]
        done = advlatgan("run", name, "-p", *given, "--out", tmp_path / "out", **where)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "network" not in done.stderr and ".md" in done.stdout
    records = [read_json(f) for f in (tmp_path / "out").glob("*/*/record.json")]
    assert sorted(r["experiment"] for r in records) == ["fig03_walk"] * 2 + ["fig10_defects"] * 2
    assert all(r["needs"] == {} and r["params"]["network"][0] == "/" for r in records)
    assert all("label" not in r["params"] or r["params"]["label"] == 1 for r in records)


@needs_oracles
def test_a_network_of_ones_own_that_does_not_fit_is_one_line(command, tmp_path, own, monkeypatch):
    "Before anything starts."
    monkeypatch.chdir(tmp_path / "pictures")
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "home/other.pkl").write_bytes(pickle.dumps([1, 2]))
    coloured = ["dataset=folder:.", "img_size=16"]
    wrong = {
        "label is -1: cifar.pkl has classes 0 to 2": ["network=~/cifar.pkl", *coloured],
        "label is 3: cifar.pkl has classes 0 to 2": ["network=~/cifar.pkl", *coloured, "label=3"],
        "base.pkl has no classes": ["network=~/base.pkl", *coloured, "img_size=32", "label=0"],
        "16 pixels, the reals have 32": ["network=~/cifar.pkl", *coloured, "img_size=32"],
        "mnist5k is grey": ["network=~/cifar.pkl", "img_size=16", "label=0"],
        "nothing.pkl": ["network=~/nothing.pkl"],
        "another program": ["network=../home/other.pkl"],
        "no checkpoint": ["network=."],
    }
    for words, given in wrong.items():
        given = dict(pair.split("=") for pair in given)
        asked = [f"{k}={v}" for k, v in given.items()]
        status, _, said = command("run", "fig03_walk", "-p", *asked, "--out", tmp_path / "out")
        assert status == 2 and words in said and said.count("\n") == 1, (words, said)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_in_one_line(advlatgan, tmp_path):
    (tmp_path / "network.pkl").write_bytes(pickle.dumps({"weights": [1, 2]}))
    done = advlatgan("import", tmp_path / "network.pkl", "--out", tmp_path / "run")
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    (line,) = done.stderr.splitlines()
    assert "another program" in line


def narrow():
    "G and D that differ from latent to latent, with D judging each image by itself."
    torch.manual_seed(0)
    G, D = (net.eval() for net in pair(16, z_dim=8, width=1 / 32))
    hold_batch_std(G, D, 16)
    return G, D


@pytest.mark.parametrize("space", ["z", "w", "w truncated"])
@pytest.mark.parametrize("method", list(refiners.METHODS))
def test_every_refiner_runs_in_z_and_in_w(method, space):
    "Noise is held fixed, so a latent's logit is one number; the walk that stops is among them."
    G, D = narrow()
    G = {"z": G, "w": InW(G), "w truncated": InW(G, psi=0.7)}[space]
    z = sample.Sampler(G, D).latents(5)
    assert torch.equal(D(G(z)), D(G(z)))
    more = dict(burn_in=32) if "burn_in" in refiners.METHODS[method].defaults else {}
    if "d_real" in refiners.METHODS[method].defaults:
        more |= dict(d_real=D(torch.rand(16, 3, 16, 16) * 2 - 1).detach())
    found = refiners.refine(G, D, z, method, n_adv=3, **more)
    assert found.z.shape == z.shape and found.z.isfinite().all()
    moved = not torch.equal(found.z, z) or found.x is not None
    assert moved or not refiners.METHODS[method].defaults["n_adv"] or method in ("drs", "obrs")


def test_samples_in_w_are_those_of_z():
    "A sampler of `InW` draws normal latents and maps them; labels in turn."
    G, D = (net.eval() for net in pair(16, z_dim=8, width=1 / 32, num_classes=3))
    hold_batch_std(G, D, 16)
    in_z, in_w = (sample.Sampler(net, D, seed=3) for net in (G, sample.in_space(G, "w")))
    with torch.no_grad():
        w = G.mapping(in_z.latents(140), in_z.labels(140))
    assert in_w.latents(140).shape == (140, G.w_dim) and torch.allclose(in_w.latents(140), w)
    assert (in_w(5).int() - in_z(5).int()).abs().max() <= 1
    with pytest.raises(ValueError, match="has no styles"):
        sample.in_space(torch.nn.Linear(2, 2), "w")
    with pytest.raises(ValueError, match="unknown space 'v'"):
        sample.in_space(G, "v")


def test_refining_is_the_same_one_by_one():
    torch.manual_seed(0)
    G, D = (net.eval() for net in pair(16, z_dim=8, width=1 / 32))
    hold_batch_std(G, D, 16)
    z = torch.randn(6, 8)
    for net, latents in ((G, z), (InW(G), InW(G).draw(z))):
        for method in ("advlatgan-z", "collaborative", "dgflow"):
            made = dict(n_adv=3, method=method)
            together = refiners.refine(net, D, latents, **made)
            alone = refiners.refine(net, D, latents, batch_size=1, **made)
            assert torch.allclose(together.z, alone.z, atol=1e-4), method


# Pickles of other hands


class Sealed:
    "Pickles as a call of module.name, with no such module in reach of whoever reads it."

    def __init__(self, module, name, *args):
        self.call = (module, name, args)

    def __reduce__(self):
        module, name, args = self.call
        function = getattr(sys.modules[module], name)
        return function, args


def network(class_name, **state):
    "An object of the official code, source text and all."
    source = "raise SystemExit('source code embedded in the pickle was executed')"
    meta = dict(type="class", version=6, module_src=source, class_name=class_name, state=state)
    return Sealed("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    "The line with which load_official refuses what it is given: bytes, or something to pickle."

    def call(content):
        path = tmp_path / "network.pkl"
        if not isinstance(content, bytes):
            name = "_reconstruct_persistent_obj"
            made = ModuleType("torch_utils.persistence")
            setattr(made, name, function := lambda meta: None)
            function.__module__, function.__qualname__ = made.__name__, name
            with monkeypatch.context() as patched:
                patched.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
                patched.setitem(sys.modules, "torch_utils.persistence", made)
                content = pickle.dumps(content)
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            load_official(path)
        line = str(caught.value)
        assert line.startswith(str(path)) and "\n" not in line
        return line

    return call


def test_a_reduce_that_would_write_a_file(refusal, tmp_path):
    owned = tmp_path / "owned"
    command = Sealed(os.system.__module__, "system", f"touch {owned}")
    assert f"{os.system.__module__}.system" in refusal(dict(G=command))
    opened = Sealed("builtins", "open", str(owned), "w")
    assert "io.open" in refusal(dict(G_ema=opened)) and not owned.exists()
    assert "builtins.eval" in refusal(dict(G=Sealed("builtins", "eval", f"open('{owned}', 'w')")))
    assert not owned.exists()


def test_the_state_of_a_function_cannot_be_set(refusal):
    "The instruction BUILD on a global that is allowed."
    made = b"ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00makeK\x01sb."
    assert "sets the state of a function" in refusal(made)


def test_classes_that_are_not_known(refusal):
    assert "Wavelet" in refusal(dict(G=network("Wavelet")))
    inner = dict(mapping=network("Mapper"))
    assert "did you mean 'MappingNetwork'" in refusal(dict(G=network("Generator", _modules=inner)))
    assert "colour" in refusal(dict(D=network("Discriminator", _init_kwargs=dict(colour=1))))
    assert "relu" in refusal(
        dict(D=network("Discriminator", _init_kwargs=dict(block_kwargs=dict(activation="relu"))))
    )


def test_pickles_of_other_programs(refusal):
    assert "another program" in refusal(dict(weights=[1, 2]))
    assert "another program" in refusal([1, 2])
    assert "TensorFlow" in refusal(b"cdnnlib.tflib.network\nNetwork\n.")
    entry = dict(input=network("SynthesisInput"))
    synthesis = dict(synthesis=network("SynthesisNetwork", _modules=entry))
    assert "StyleGAN3" in refusal(dict(G_ema=network("Generator", _modules=synthesis)))


def test_damaged_files(refusal, tmp_path):
    whole = pickle.dumps(dict(G=list(range(1000))))
    assert "truncated" in refusal(whole[:100]) and "truncated" in refusal(b"")
    assert "cannot be read" in refusal(b"not a pickle at all")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    assert "load_weights" in refusal((tmp_path / "weights.pt").read_bytes())
    size = dict(c_dim=0, img_resolution=24, img_channels=3)
    assert "24" in refusal(dict(D=network("Discriminator", _init_kwargs=size)))
    size["img_resolution"] = 8
    assert "Missing key" in refusal(dict(D=network("Discriminator", _init_kwargs=size)))


@needs_oracles
def test_a_truncated_official_pickle(refusal):
    whole = (ORACLES / "base.pkl").read_bytes()
    for share in (0.1, 0.5, 0.99):
        assert "truncated" in refusal(whole[: int(share * len(whole))])


def test_bad_calls_are_one_clear_line():
    G, D = pair(16, z_dim=8, width=1 / 32, num_classes=3)
    with pytest.raises(ValueError, match="3 classes: call it with labels y"):
        G(torch.randn(2, 8))
    with pytest.raises(ValueError, match="3 classes: call it with labels y"):
        D(torch.randn(2, 3, 16, 16))
    with pytest.raises(ValueError, match="no classes"):
        pair(16, z_dim=8, width=1 / 32)[0](torch.randn(2, 8), torch.zeros(2, dtype=torch.int64))
    for size in (24, 4, 0):
        with pytest.raises(ValueError, match=f"img_size is {size}"):
            pair(size)
    with pytest.raises(ValueError, match="unknown architecture 'skipp'"):
        pair(16, width=1 / 32, D=dict(architecture="skipp"))
    with pytest.raises(ValueError, match="unknown noise 'constant'"):
        G(torch.randn(2, 8), torch.tensor([0, 1]), noise="constant")
    with pytest.raises(ValueError, match="unknown augmentation 'colour'"):
        AugmentPipe("colour")
    with pytest.raises(ValueError, match="p is 2"):
        AugmentPipe("bgc", p=2)


# Augmentations


@needs_oracles
@pytest.mark.parametrize("group", ["blit", "geom", "color", "filter", "bgc"])
def test_augmentations_at_fixed_quantiles(group):
    t, _ = oracle("augment")
    pipe = AugmentPipe(group, p=1)
    quantiles = [float(k.split("@")[1]) for k in t if k.startswith(f"{group}@")]
    assert len(quantiles) == 4
    found = {q: off(pipe(t["x"], quantile=q), t[f"{group}@{q}"]) for q in quantiles}
    assert {q: e for q, e in found.items() if e > 1e-4} == {}


# Training


def trained(folder, steps=8, stop=None, gamma=1.0, tell=False):
    "A narrow conditional pair for some steps; `stop`: the step after which it fails."
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = dict(arch="stylegan2", img_size=8, z_dim=4, width=1 / 64, num_classes=2)
    networks = stylegan2.networks(*nets.build(**spec))
    images = torch.randint(256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images = ImageData("noise", images.to(torch.uint8), torch.arange(40) % 2, ["even", "odd"])
    ada = stylegan2.Ada(p=0.3, every=2, ada_kimg=0.1)
    lazy = dict(r1_every=3, path_every=2, half_life=20, gamma=gamma)
    phases = stylegan2.phases(8, 4, ada=ada, **lazy)
    config = TrainConfig(total_steps=steps, batch_size=4, z_dim=4, lr_decay=False)

    def progress(step, total, losses):
        if tell:
            print(step, flush=True)
            time.sleep(0.02)
        if step == stop:
            raise KeyboardInterrupt

    kept = dict(checkpoint=folder, checkpoint_every=2, log_every=1, progress=progress)
    try:
        history = train(networks, images, phases, config, precision="fp32", spec=spec, **kept)
    except KeyboardInterrupt:
        history = None
    return history, networks, ada


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_broken_training_goes_on_bit_for_bit(tmp_path, stop):
    "Between two of R1's steps or of the path length's; p, the mean length and the average as well."
    history, _, ada = trained(tmp_path / "calm")
    assert trained(tmp_path / "broken", stop=stop)[0] is None
    assert checkpoints.load(tmp_path / "broken").step < stop
    again, _, resumed = trained(tmp_path / "broken")
    assert again == history and torch.equal(resumed.pipe.p, ada.pipe.p) and ada.pipe.p != 0.3
    _, calm = same_state(tmp_path / "calm", tmp_path / "broken")
    assert any(k.endswith("ada.pipe.p") for k in calm) and "/path.loss/mean" in calm


def test_a_killed_training_goes_on_bit_for_bit(tmp_path):
    "SIGKILL, at whatever point of a step: p of ADA, the mean length, the average, all of it."
    history, _, ada = trained(tmp_path / "calm", steps=30)
    code = (
        f"from test_stylegan2 import trained; trained({str(tmp_path / 'killed')!r}, 30, tell=True)"
    )
    kill(code, 9)
    assert 8 <= checkpoints.load(tmp_path / "killed").step < 30
    again, _, resumed = trained(tmp_path / "killed", steps=30)
    assert again == history and torch.equal(resumed.pipe.p, ada.pipe.p) and ada.pipe.p != 0.3
    same_state(tmp_path / "calm", tmp_path / "killed")


def test_lazy_phases_run_when_they_are_due(tmp_path):
    history, networks, _ = trained(tmp_path)
    new = lambda name: [i + 2 for i in range(7) if history[i][name] != history[i + 1][name]]
    assert new("loss_R1") == [4, 7] and new("loss_path") == [3, 5, 7]
    assert all(
        not torch.equal(a, b)
        for a, b in zip(*(list(networks[k].parameters()) for k in ("G", "G_ema")))
    )
    G, D = checkpoints.load(tmp_path).networks()
    y = torch.arange(5) % 2
    assert D(G(torch.randn(5, 4), y), y).shape == (5,)  # D holds its statistic: any number goes


def test_a_resumed_training_keeps_its_settings(tmp_path):
    trained(tmp_path, stop=3)
    with pytest.raises(checkpoints.CheckpointError, match="gamma: 1.0 -> 2.0"):
        trained(tmp_path, gamma=2.0)
