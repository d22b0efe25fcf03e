"""Checkpoints in processes of their own: killed and taken up again, damaged, refused, and made into pictures."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOTAL = 120


def job(case, folder, pause=0.0, lr=1e-3, every=7):
    "A small run with everything that has a state; prints each step. Called in this process and in others."
    import torch

    from advlatgan import data, nets, training
    from advlatgan.methods import advlatgan, gan

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if case == "toy":
        x, spec = data.toy_mixture("ring"), dict(arch="toy", z_dim=2, width=0.2)
    else:
        x = torch.randint(256, (200, 1, 28, 28), dtype=torch.uint8)  # digits take longer to read
        x = data.ImageData("noise", x, flip=True, noise=True)
        spec = dict(arch="dcgan", img_size=28, img_channels=1, z_dim=2, width=1 / 64)
    networks = dict(zip("GD", nets.build(**spec)))
    config = training.TrainConfig(total_steps=TOTAL, batch_size=16, z_dim=2, ema=0.99)

    def noise(D, x_real, x_fake, y):  # uses torch's global state
        return 0.01 * D(x_real + 0.01 * torch.randn_like(x_real)).square().mean()

    def progress(step, total, losses):
        print(step, flush=True)
        time.sleep(pause)

    phases = gan.gan(lr=lr, lr_D=2e-4, penalty=noise, n_dis=2 if case == "toy" else 1)
    phases = advlatgan.qua(phases, 1, 0.02)
    told = dict(progress=progress, log_every=1)
    kept = dict(checkpoint=folder, checkpoint_every=every, spec=spec)
    training.train(networks, x, phases, config, **told, **kept)


def start(case, folder, pause=0.0):
    code = f"from test_checkpoints import job; job({case!r}, {str(folder)!r}, {pause})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def state(folder):
    "Everything in the newest checkpoint, flat: tensors as bytes, the rest as it is."
    from advlatgan import checkpoints

    def flat(value, name):
        if isinstance(value, dict):
            return [pair for k, v in value.items() for pair in flat(v, f"{name}/{k}")]
        if hasattr(value, "numpy"):
            return [(name, value.numpy().tobytes())]
        return [(name, value)]

    found = checkpoints.load(folder)
    return found.step, dict(flat(found.state, ""))


@pytest.mark.parametrize("case", ["toy", "images"])
def test_killed_and_resumed_is_bit_identical(case, tmp_path):
    "Weights, averages, optimisers, random states, the data's order and the whole history."
    calm, killed, stop = (
        tmp_path / "calm",
        tmp_path / "killed",
        random.SystemRandom().randrange(10, TOTAL - 10),
    )
    victim = start(case, killed, pause=0.005)
    for line in victim.stdout:
        if int(line) >= stop:
            break
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL, f"to be killed at step {stop}"
    done = max(int(p.stem[5:]) for p in killed.glob("step-*.safetensors"))
    out, err = (again := start(case, killed)).communicate(timeout=300)
    assert again.returncode == 0, err
    assert [int(line) for line in out.split()] == list(range(done + 1, TOTAL + 1)), (
        f"killed at step {stop}"
    )
    job(case, calm, every=TOTAL)
    (step, a), (step_too, b) = state(calm), state(killed)
    assert (
        step == step_too == TOTAL and a.keys() == b.keys() and [k for k in a if a[k] != b[k]] == []
    ), f"killed at step {stop}"
    kinds = {k.split("/")[1] for k in a}
    assert kinds == {
        "G",
        "D",
        "G_ema",
        "opt_G",
        "opt_D",
        "history",
        "rng_z",
        "rng_x",
        "rng_torch",
    } | ({"batches"} if case == "images" else set())
    assert [h["step"] for h in a["/history"]] == list(range(1, TOTAL + 1))
    assert [p.name for p in sorted(killed.glob("[!.]*"))] == [
        f"step-{TOTAL - 1:08d}.safetensors",
        f"step-{TOTAL:08d}.safetensors",
    ]


def test_damaged_files_and_changed_settings(tmp_path, capsys):
    "The file before a truncated one is used, and ends at the same; another learning rate is refused and touches nothing."
    folder, newest = tmp_path / "run", tmp_path / f"run/step-{TOTAL:08d}.safetensors"
    job("toy", folder, every=50)
    whole = newest.read_bytes()
    newest.write_bytes(whole[:5000])
    capsys.readouterr()
    with pytest.warns(
        UserWarning, match=f"{newest.name} is truncated.*going back to step-00000100.safetensors"
    ):
        job("toy", folder, every=50)
    assert [int(line) for line in capsys.readouterr().out.split()] == list(
        range(101, TOTAL + 1)
    ) and newest.read_bytes() == whole
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ValueError, match="phases.G.opt.lr: 0.001 -> 0.0002") as refused:
        job("toy", folder, lr=2e-4)
    assert (
        "\n" not in str(refused.value) and {p: p.read_bytes() for p in folder.iterdir()} == before
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    "Checkpoints of untrained networks, and files that are none."
    from advlatgan import checkpoints, nets

    folder = tmp_path_factory.mktemp("shelf")
    for name, spec in dict(
        toy=dict(arch="toy", z_dim=2, width=0.1),
        images=dict(arch="sngan", img_size=28, img_channels=1, z_dim=4, width=1 / 32),
        classes=dict(
            arch="cgan", img_size=28, img_channels=1, z_dim=4, width=1 / 32, num_classes=3
        ),
    ).items():
        G, D = nets.build(**spec)
        for step in (10, 20):
            good = checkpoints.save(
                folder / name,
                step,
                dict(spec=spec),
                dict(G=G.state_dict(), D=D.state_dict()),
                dict(classes=["a", "b", "c"]),
            )
    (folder / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "foreign.safetensors").write_bytes(b"\x80\x04K\x05.")  # a pickle
    (folder / "nothing").mkdir()
    return folder


FILES = dict(
    toy={"points.npy", "points.csv", "points.png"},
    images={"grid.png", *(f"images/{i:06d}.png" for i in range(70))},
    classes={"grid.png", *(f"images/{'abc'[i % 3]}/{i:06d}.png" for i in range(70))},
)


@pytest.mark.parametrize("kind", FILES)
def test_sample(advlatgan, shelf, tmp_path, kind):
    "Files as promised, and the same a second time in another process, from a file and from its folder; no data set is near."
    from advlatgan.refiners import settings
    from advlatgan.runs.cli import main

    options = [
        "--n",
        70,
        "--batch-size",
        32,
        "--seed",
        5,
        "--refine",
        "--n-adv",
        3,
        "--device",
        "cpu",
        "--out",
    ]
    done = advlatgan("sample", shelf / kind, *options, tmp_path / "a", cwd=tmp_path)
    assert done.returncode == 0 and "70 samples of step 20" in done.stdout, done.stderr
    assert (
        main(
            [
                *map(
                    str,
                    [
                        "sample",
                        shelf / kind / "step-00000020.safetensors",
                        *options,
                        tmp_path / "b",
                    ],
                )
            ]
        )
        == 0
    )
    files = {
        p.relative_to(tmp_path / "a").as_posix() for p in (tmp_path / "a").rglob("*") if p.is_file()
    }
    assert files == FILES[kind] | {"sample.json"}
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    note = json.loads((tmp_path / "a/sample.json").read_text())
    assert (note["step"], note["seed"], note["n"], note["averaged"]) == (20, 5, 70, False)
    assert note["refine"] == settings(n_adv=3)


BAD = {
    "missing": (["{d}/nowhere", "--out", "{d}/new"], "no checkpoint at"),
    "empty folder": (["{d}/nothing", "--out", "{d}/new"], "no checkpoint at"),
    "foreign": (
        ["{d}/foreign.safetensors", "--out", "{d}/new"],
        "foreign.safetensors is truncated, or no checkpoint",
    ),
    "empty file": (["{d}/empty.safetensors", "--out", "{d}/new"], "empty.safetensors is empty"),
    "truncated": (["{d}/cut.safetensors", "--out", "{d}/new"], "cut.safetensors is truncated"),
    "n": (["{d}/toy", "--n", "0", "--out", "{d}/new"], "--n is 0: expected 1 or more"),
    "n no number": (["{d}/toy", "--n", "few", "--out", "{d}/new"], "invalid int value: 'few'"),
    "unwritable": (["{d}/toy", "--out", "/dev/null/new"], "--out /dev/null/new cannot be written"),
    "not empty": (["{d}/toy", "--out", "{d}"], "is not empty"),
    "no out": (["{d}/toy"], "--out"),
    "device": (
        ["{d}/toy", "--device", "abacus", "--out", "{d}/new"],
        "--device abacus: there is no such device",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_sample_call_is_one_line_and_status_2(shelf, capsys, what):
    from advlatgan.runs.cli import main

    argv, reason = BAD[what]
    assert main(["sample", *(a.format(d=shelf) for a in argv)]) == 2
    said = capsys.readouterr()
    assert (
        said.out == ""
        and said.err.count("\n") == 1
        and said.err.startswith("advlatgan")
        and reason in said.err
        and not (shelf / "new").exists()
    )


def test_in_a_process_of_its_own_too(advlatgan, shelf):
    done = advlatgan("sample", shelf / "cut.safetensors", "--out", shelf / "new", cwd=shelf)
    assert (
        done.returncode == 2
        and done.stdout == ""
        and done.stderr.count("\n") == 1
        and "cut.safetensors is truncated" in done.stderr
    )


def test_other_commands_do_not_import_torch():
    code = "import sys; from advlatgan.runs.cli import main; main(['list']); main(['report', 'nothing']); main(['fly']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
