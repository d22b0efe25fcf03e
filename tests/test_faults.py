"""Faults that users met, each with its right answer, and one more of its kind."""

import copy
import json
import resource
import subprocess
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import test_longer
import torch
from conftest import write_notebook

from advlatgan import (
    calibration,
    checkpoints,
    data,
    evaluate,
    metrics,
    mining,
    nets,
    refiners,
    runs,
    sample,
    training,
)
from advlatgan.files import lock, read_json, write_json
from advlatgan.methods.gan import gan
from advlatgan.runs import cli, records, report

SPEC = dict(arch="toy", z_dim=2, width=0.1)


def go(folder, total_steps=4, every=2, **config):
    "A small training, taken up where there is one."
    torch.manual_seed(0)
    both = dict(zip("GD", nets.build(**SPEC)))
    config = training.TrainConfig(total_steps=total_steps, batch_size=8, z_dim=2, **config)
    kept = dict(checkpoint=folder, checkpoint_every=every, spec=SPEC)
    return training.train(both, data.toy_mixture("ring"), gan(), config, **kept)


# ---- A D that ends in a sigmoid, or says (B, 1) ----------------------------------------------


def first(z):
    return z[:, 0]


def likely(x):
    return torch.sigmoid(x[:, :1] - 0.5)  # of N(0, 1) against N(1, 1); (B, 1)


@pytest.mark.parametrize(
    "method, options",
    [
        ("mhgan", dict(n_adv=100)),
        ("drs", dict(n_adv=100, percentile=None, burn_in=1000)),
        ("obrs", dict(n_adv=100, burn_in=1000)),
        ("ddls", dict(n_adv=200, eps=0.03)),
    ],
)
def test_a_sigmoid_is_doubted_and_said_it_gives_the_law(method, options):
    z = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    asked = dict(method=method, progress=False, batch_size=1000, **options)
    with pytest.warns(UserWarning, match=r"all of D's values lie in \[0, 1\].*d_output"):
        refiners.refine(lambda z: z, likely, z, **asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_p = refiners.refine(lambda z: z, likely, z, d_output="probability", **asked).z
        of_d = refiners.refine(lambda z: z, lambda x: first(x) - 0.5, z, **asked).z
    assert (of_p - of_d).abs().max() < 1e-3
    if method != "obrs":  # which accepts a quarter, not all that it should
        assert abs(of_p.mean().item() - 1) < 0.15


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 1, 1, 1)])
def test_one_logit_a_sample_in_any_shape(shape):
    "For refiners, for mining, and in training."

    class D(nets.ToyD):
        def forward(self, x):
            return super().forward(x).reshape(shape)

    z, found = torch.randn(5, 2, generator=torch.Generator().manual_seed(1)), []
    for make in (nets.ToyD, D):
        torch.manual_seed(0)
        both = {"G": nets.ToyG(), "D": make()}
        config = training.TrainConfig(total_steps=2, batch_size=5, z_dim=2)
        training.train(both, data.toy_mixture("ring"), gan("wasserstein"), config)
        moved = refiners.refine(*both.values(), z, batch_size=4, progress=False).z  # 4, then 1
        mined = mining.ifgsm(mining.quality_objective(*both.values()), z, 3, 0.1)
        found.append(torch.cat([moved, mined]))
    assert torch.equal(*found)


# ---- Priors, and longer trainings ------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in refiners.METHODS if m not in ("mhgan", "drs")])
def test_uniform_latents_stay_where_they_are_drawn(method):
    z = torch.rand(30, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    w = torch.linspace(-3, 3, 8)
    options = dict(d_real=torch.randn(50) + 9) if method == "advlatgan-m" else {}
    asked = dict(method=method, prior="uniform", n_adv=10, progress=False, **options)
    moved = refiners.refine(lambda z: z, lambda x: x @ w, z, **asked).z
    assert moved.abs().max() <= 1 and not torch.equal(moved, z)


def test_a_longer_training_goes_on_where_nothing_depends_on_its_length(tmp_path):
    go(tmp_path / "two", 4, lr_decay=False)
    go(tmp_path / "two", 8, lr_decay=False)
    go(tmp_path / "one", 8, lr_decay=False)
    a, b = (checkpoints.load(tmp_path / name) for name in ("one", "two"))
    assert a.step == 8 and all(torch.equal(v, b.state["G"][k]) for k, v in a.state["G"].items())
    with pytest.raises(ValueError, match="total_steps is 4: expected 8 or more"):
        go(tmp_path / "one", 4, lr_decay=False)
    go(tmp_path / "falling", 4, lr_decay=True)
    with pytest.raises(ValueError, match="total_steps: 4 -> 8"):
        go(tmp_path / "falling", 8, lr_decay=True)


# ---- Checkpoints whose digest is right and whose content is odd ------------------------------

DEEP = "[" * 100_000


def without(key):
    return lambda h: h.pop(key)


def becomes(value, *path):
    def change(h):
        for k in path[:-1]:
            h = h[k]
        h[path[-1]] = value

    return change


ODD_HEADERS = {
    "no JSON": "{",
    "no object": "[1, 2]",
    "nothing": "null",
    "deep": DEEP,
    **{f"no {k}": without(k) for k in ("step", "settings", "about", "state")},
    **{f"step {v!r}": becomes(v, "step") for v in ("ten", None, [1], -1, 1.5)},
    **{f"settings {v!r}": becomes(v, "settings") for v in ("x", None, [1])},
    **{f"about {v!r}": becomes(v, "about") for v in ("x", None, [1])},
    **{f"state {v!r}": becomes(v, "state") for v in ("x", None, [1], 3)},
    "a tensor that is not there": becomes({"tensor": "nowhere"}, "state"),
    "a tensor's name no name": becomes({"tensor": ["x"]}, "state"),
    "pairs that are none": becomes({"dict": [[1, 2, 3]]}, "state"),
    "a dict that is none": becomes({"dict": 5}, "state"),
    "neither": becomes({"other": 5}, "state"),
    "a key that is none": becomes({"dict": [[[], 1]]}, "state"),
}
ODD_STATES = {
    "no G": lambda s: s.pop("G"),
    "no D": lambda s: s.pop("D"),
    "a G that is none": lambda s: s.update(G=3),
    "a G of another size": lambda s: s.update(G={k: v[:1] for k, v in s["G"].items()}),
    "a G without weights": lambda s: s.update(G={}),
    "an optimiser that is none": lambda s: s.update(opt_G=[1]),
    "an optimiser without groups": lambda s: s["opt_G"].pop("param_groups"),
    "moments that are none": lambda s: s["opt_G"].update(state={0: 5}),
    "losses that are none": lambda s: s.update(losses={"D": "x"}),
    "a history that is none": lambda s: s.update(history={"x": 1}),
    "a random state that is none": lambda s: s.update(rng_z=torch.zeros(3)),
    "a random state of words": lambda s: s.update(rng_torch="x"),
    "another part": lambda s: s.update(E={}),
}
ODD_SPECS = [
    5,
    "toy",
    {},
    {"arch": "toi"},
    {"arch": "toy", "widht": 1},
    {"arch": "toy", "z_dim": "x"},
]


def rewritten(path, change):
    "The same file with another header, its digest right."
    header, tensors, _ = checkpoints._read(path)
    if callable(change):
        held = json.loads(header)
        change(held)
        change = json.dumps(held)
    checkpoints._write(path, tensors, change)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    go(folder)
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    for file in trained.glob("step-*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("what", ODD_HEADERS)
def test_an_odd_header_is_named_and_the_file_before_it_taken(copied, what):
    newest = copied / "step-00000004.safetensors"
    rewritten(newest, ODD_HEADERS[what])
    with pytest.raises(checkpoints.CheckpointError, match="step-00000004.*odd header") as refused:
        checkpoints.load(newest)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    with pytest.warns(UserWarning, match="going back to step-00000002"):
        assert checkpoints.load(copied).step == 2
    with pytest.warns(UserWarning, match="going back to step-00000002"):
        go(copied)
    assert checkpoints.load(copied).step == 4


@pytest.mark.parametrize("what", ODD_STATES)
def test_an_odd_state_is_one_line(copied, what):
    found = checkpoints.load(copied)
    state = copy.deepcopy(found.state)
    ODD_STATES[what](state)
    checkpoints.save(copied, 4, found.settings, state)
    with pytest.raises(checkpoints.CheckpointError, match="step-00000004") as refused:
        go(copied)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize("spec", ODD_SPECS, ids=str)
def test_an_odd_spec_is_one_line(copied, command, spec):
    found = checkpoints.load(copied)
    checkpoints.save(copied, 4, found.settings | {"spec": spec}, found.state)
    status, out, err = command("sample", copied, "--out", copied / "new")
    assert status == 2 and out == "" and err.count("\n") == 1 and "builds no networks" in err


def test_a_folder_of_checkpoints_takes_no_other_run(copied):
    "`save` keeps the newest of its own run, so that it would remove what is there."
    before = sorted(f.name for f in copied.glob("step-*"))
    state = checkpoints.load(copied).state
    with pytest.raises(checkpoints.CheckpointError, match="give another folder"):
        checkpoints.save_alone(copied, 0, {}, state)
    with pytest.raises(checkpoints.CheckpointError, match="give another folder"):
        checkpoints.lengthen(copied, copied, 20)
    assert sorted(f.name for f in copied.glob("step-*")) == before


def test_a_copy_under_another_name_is_the_users(copied):
    newest = copied / "step-00000004.safetensors"
    mine = copied / "step-best.safetensors"
    mine.write_bytes((copied / "step-00000002.safetensors").read_bytes())
    (copied / "step-4.safetensors").write_bytes(newest.read_bytes())
    go(copied)
    assert checkpoints.load(copied).path == newest and mine.exists()
    assert (copied / "step-4.safetensors").exists()


# ---- Full disks ------------------------------------------------------------------------------


@contextmanager
def tmpfs(folder, size):
    "A disk of so many bytes."
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True).returncode
    except OSError:
        done = 1
    if done:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def limit(folder, size):
    "No file can have more bytes."
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("full", [tmpfs, limit])
def test_a_full_disk_in_training_is_one_line_and_leaves_no_part(tmp_path, full):
    with full(tmp_path / "disk", 8192) as disk:
        with pytest.raises(OSError) as refused:
            go(disk / "run")
        assert str(disk / "run/step-00000002.safetensors") in str(refused.value)
        assert "\n" not in str(refused.value)
        assert [p.name for p in (disk / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("size", [0, 30])
def test_a_full_disk_in_a_batch_is_one_line(tmp_path, checkout, monkeypatch, capsys, size):
    monkeypatch.chdir(checkout)
    with limit(tmp_path / "disk", size) as disk:
        status = cli.main(["run", "walk", "--out", str(disk)])
        out, err = capsys.readouterr()
    assert status == 1 and out == "" and err.count("\n") == 1 and str(disk) in err, err
    assert not list(disk.rglob("*.part"))


@pytest.mark.parametrize("size", ["24k", "100k"])
def test_a_disk_that_fills_in_a_job_is_one_line(tmp_path, advlatgan, checkout, size):
    "With the papers of the run, or with its second checkpoint."
    (checkout / "nbs/experiments/presets.yaml").write_text(test_longer.PRESETS)
    write_notebook(checkout / "nbs/experiments/level.ipynb", *test_longer.LEVEL)
    with tmpfs(tmp_path / "disk", size) as disk:
        done = advlatgan("run", "level", "--out", disk, cwd=checkout)
        assert done.returncode == 1 and done.stdout == "", done
        [line] = done.stderr.splitlines()
        assert line.startswith("failed: level/") and str(disk / "level") in line
        assert "No space left" in line or "no space left" in line
        assert not list(disk.rglob("*.part")) and not list(disk.rglob("record.json"))


# ---- Records, arrays and bundles that are damaged --------------------------------------------


@pytest.fixture
def finished(checkout, monkeypatch):
    "A run of `walk` as it is when it is finished, and its bundle."
    monkeypatch.chdir(checkout)

    def carry_out(out, runs, *_):
        return {r.folder: "it was made again" for r in runs if not records.is_finished(out, r)}

    monkeypatch.setattr(cli, "carry_out", carry_out)
    [run] = runs.plan(runs.find_experiments(checkout), "walk")
    folder = checkout / "data/runs" / run.folder
    record = dict(experiment="walk", params=run.params, needs={}, rows=[dict(score=1.0)])
    record |= dict(data="none", device="cpu", versions=dict(torch="2"), commit="", wall_s=1.0)
    write_json(
        folder / "record.json", record | dict(code=records.code_digest(run.experiment.notebook))
    )
    records.save_arrays(folder / "arrays.npz", dict(x=np.arange(99)))
    assert cli.main(["run", "walk"]) == 0
    return folder


RECORDS = ["", "{", "[]", "null", "3", '"x"', "{}", DEEP]
RECORDS += [
    becomes(v, k)
    for k, values in dict(
        rows=(None, {}, "x", [1], [dict(score=[1])]),
        params=(None, [], "x"),
        versions=(None, "x"),
        experiment=(3, "onwalk"),
        code=(None, 3),
        data=(None, {}),
        device=(3,),
    ).items()
    for v in values
]


@pytest.mark.parametrize("change", RECORDS, ids=range(len(RECORDS)))
def test_a_damaged_record_is_none(finished, capsys, change):
    "The run is made again."
    capsys.readouterr()
    file = finished / "record.json"
    if callable(change):
        held = read_json(file)
        change(held)
        change = json.dumps(held)
    file.write_text(change)
    assert cli.main(["run", "walk"]) == 1
    assert "it was made again" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0, 10, 200, -40])
def test_damaged_arrays_are_named(finished, capsys, keep):
    file = finished / "arrays.npz"
    file.write_bytes(file.read_bytes()[:keep])
    for md in finished.parent.glob("*.md"):
        md.unlink()
    capsys.readouterr()
    assert cli.main(["run", "walk"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "arrays.npz is damaged" in err


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"records": 3}', '{"records": [{}]}', DEEP])
def test_a_damaged_bundle_is_named(finished, capsys, text):
    [file] = finished.parent.glob("walk.*.json")
    file.write_text(text)
    capsys.readouterr()
    assert cli.main(["report", "walk"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"{file.name} is damaged" in err
    assert cli.main(["run", "walk"]) == 0  # makes it again
    assert report.load_bundle(file.with_suffix(""))[0]["rows"] == [dict(score=1.0)]


# ---- Samples ---------------------------------------------------------------------------------


def test_two_calls_do_not_write_into_one_folder(trained, tmp_path, command):
    sampler, origin = sample.load_sampler(trained)
    going, enough = threading.Event(), threading.Event()

    def slow(batches):
        going.set()
        assert enough.wait(60)
        yield from batches

    args = sampler, origin, 50, tmp_path / "out", slow
    one = threading.Thread(target=sample.write_samples, args=args)
    one.start()
    assert going.wait(60)
    status, out, err = command("sample", trained, "--n", 50, "--out", tmp_path / "out")
    enough.set()
    one.join()
    assert status == 2 and out == "" and "is in use by another call" in err
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"points.csv", "points.npy", "points.png", "sample.json"}


def test_a_lock_of_a_killed_call_is_no_hindrance(trained, tmp_path, command):
    lock(tmp_path / sample.LOCK).close()
    assert command("sample", trained, "--n", 5, "--out", tmp_path)[0] == 0
    assert not (tmp_path / sample.LOCK).exists()


@pytest.mark.parametrize("more", [[], ["--data", "grid"]])
def test_advlatgan_m_finds_its_reals(trained, tmp_path, command, more):
    "Those of the training, or those that are named."
    asked = ["sample", trained, "--n", 40, "--refine", "--method", "advlatgan-m", "--n-adv", 2]
    status, _, err = command(*asked, *more, "--out", tmp_path / "out")
    assert status == 0, err
    note = read_json(tmp_path / "out/sample.json")
    assert note["refine"]["d_real"] == f"10,000 points of {more[-1] if more else 'ring'}"
    assert command(*asked, *more, "--out", tmp_path / "out")[0] == 0  # it is that very call


def test_advlatgan_m_on_pictures(tmp_path, command):
    "Their set has one part, so that is taken; evaluate takes the same options."
    spec = dict(arch="cgan", img_size=28, img_channels=1, z_dim=4, width=1 / 32, num_classes=10)
    state = dict(zip("GD", (net.state_dict() for net in nets.build(**spec))))
    checkpoints.save(tmp_path / "run", 1, {"spec": spec}, state, {"data": "mnist5k"})
    asked = "--n 20 --refine --method advlatgan-m --n-adv 1 --d-output logit --device cpu".split()
    measured = "--data mnist5k --extractor mnistcnn --protocols is20 modes20 --root".split()
    status, out, err = command("evaluate", tmp_path / "run", *measured, tmp_path, *asked)
    assert status == 0 and "is_mnistcnn_20" in out and "modes_mnistcnn_20" in out, err
    origin = read_json(Path(f"{tmp_path}/run.evaluation.json"))["generator"]
    assert origin["refine"]["d_real"].startswith("5,000 of mnist5k train")


def test_an_option_of_several_values_can_be_written_either_way(tmp_path, command):
    x = np.random.default_rng(0).integers(0, 255, (20, 1, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    asked = ["evaluate", tmp_path / "x.npy", "--data", "mnist5k", "--extractor", "mnistcnn"]
    for many in ("is20 modes20", "is20,modes20", "is20 --protocols modes20"):
        status, out, err = command(*asked, "--root", tmp_path, "--protocols", *many.split())
        assert status == 0 and out.count("mnistcnn_20 ") == 3, err


def test_sizes_that_cannot_be_are_refused_before_anything_is_made(trained):
    made, _ = evaluate.generated(trained, 5)
    assert len(made) == 5
    with pytest.raises(ValueError, match="n is 1,000,000,000,000"):
        evaluate.generated(trained, 10**12)


# ---- Resuming what is another run ------------------------------------------------------------


def penalised(weight):
    def penalty(D, x_real, x_fake, y):
        return weight * D(x_real).square().mean()

    return gan(penalty=penalty)


@pytest.mark.parametrize(
    "phases, ring, words",
    [
        (penalised(2.0), data.toy_mixture("ring"), "penalty.weight: 1.0 -> 2.0"),
        (penalised(1.0), data.ToyMixture("ring", torch.randn(8, 2), 0.01), "data.identity: ring"),
        (gan(), data.toy_mixture("ring"), "penalty"),
        (penalised(1.0), data.toy_mixture("grid"), "data"),
    ],
)
def test_another_run_is_not_taken_up(tmp_path, phases, ring, words):
    "Another weight of a plain function, another mixture of the same name, …"

    def train(phases, ring, total_steps):
        config = training.TrainConfig(
            total_steps=total_steps, batch_size=8, z_dim=2, lr_decay=False
        )
        both = {"G": nets.ToyG(), "D": nets.ToyD()}
        return training.train(both, ring, phases, config, checkpoint=tmp_path)

    train(penalised(1.0), data.toy_mixture("ring"), 2)
    with pytest.raises(checkpoints.CheckpointError, match=words):
        train(phases, ring, 4)
    assert train(penalised(1.0), data.toy_mixture("ring"), 4)[-1]["step"] == 4


class Own:
    "Data of somebody's own, without an identity; what is drawn comes from `x`."

    def __init__(self, x):
        self.x = x

    def batches(self, batch_size, generator):
        while True:
            yield self.x[torch.randint(len(self.x), (batch_size,), generator=generator)], None


def test_own_data_without_an_identity(tmp_path):
    "Other data of the same name and shape are refused, by their first batch."

    def train(x, total_steps):
        fixed = dict(batch_size=8, z_dim=2, lr_decay=False)
        config = training.TrainConfig(total_steps=total_steps, **fixed)
        both = {"G": nets.ToyG(), "D": nets.ToyD()}
        return training.train(both, Own(x), gan(), config, checkpoint=tmp_path)

    train(torch.zeros(20, 2), 2)
    assert train(torch.zeros(20, 2), 4)[-1]["step"] == 4
    with pytest.raises(checkpoints.CheckpointError, match="data.identity: Own "):
        train(torch.ones(20, 2), 6)


def test_two_trainings_do_not_share_a_folder(copied):
    held = lock(copied / ".lock")
    with pytest.raises(checkpoints.CheckpointError, match="in use by another training"):
        go(copied, 8)
    held.close()
    assert checkpoints.load(copied).step == 4


# ---- Warnings --------------------------------------------------------------------------------


def told_at(call):
    "File and text of each of our warnings."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        call()
    return [
        (w.filename, w.lineno, str(w.message)) for w in said if w.category is not ResourceWarning
    ]


def test_a_warning_names_the_line_of_the_caller(copied):
    "Not that of ours, through which Python would print our source."
    z = torch.randn(20, 1, generator=torch.Generator().manual_seed(0))
    x = torch.rand(5, 9)
    (copied / "step-00000004.safetensors").write_bytes(b"")
    calls = [
        lambda: refiners.refine(lambda z: z, likely, z, progress=False),
        lambda: refiners.refine(
            lambda z: z, lambda x: first(x), z, "advlatgan-m", d_real=first(z) - 99, progress=False
        ),
        lambda: calibration.calibrate(first, z, z + 1),
        lambda: metrics.frechet_distance(x, x + 1),
        lambda: metrics.kernel_distance(x, x + 1),
        lambda: metrics.precision_recall(x, x + 1, 1),
        lambda: checkpoints.load(copied),
    ]
    for call in calls:
        first_line = call.__code__.co_firstlineno
        [(file, line, text), *_] = told_at(call) or [("", 0, f"nothing from line {first_line}")]
        assert file == __file__ and 0 <= line - first_line <= 2 and "\n" not in text, text


def test_a_warning_of_the_command_line_is_one_line(advlatgan, copied, tmp_path):
    (copied / "step-00000004.safetensors").write_bytes(b"")
    asked = ["--n", 5, "--refine", "--method", "drs", "--n-adv", 1, "--device", "cpu"]
    done = advlatgan("sample", copied, "--out", tmp_path / "out", *asked)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    assert len(said) >= 2 and all(x.startswith("advlatgan sample: warning: ") for x in said)
    assert ".py:" not in done.stderr and "warn(" not in done.stderr
