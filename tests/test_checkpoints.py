"""Checkpoints in processes of their own: killed and taken up again, damaged, refused."""

import random
import subprocess
import sys
import time

import pytest
from killed import go_on, kill, same_state

TOTAL = 120


def job(case, folder, pause=0.0, lr=1e-3, every=7):
    "A small run with everything that has a state; prints each step. For other processes, too."
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


@pytest.mark.parametrize("case", ["toy", "images"])
def test_killed_and_resumed_is_bit_identical(case, tmp_path):
    "Weights, averages, optimisers, random states, the data's order and the whole history."
    calm, killed, stop = (
        tmp_path / "calm",
        tmp_path / "killed",
        random.SystemRandom().randrange(10, TOTAL - 10),
    )
    code = f"from test_checkpoints import job; job({case!r}, {str(killed)!r}, pause=0.005)"
    kill(code, stop)
    go_on(code, killed, TOTAL)
    job(case, calm, every=TOTAL)
    step, a = same_state(calm, killed)
    assert step == TOTAL, f"killed at step {stop}"
    kinds = {k.split("/")[1] for k in a}
    assert kinds == {
        "G",
        "D",
        "G_ema",
        "opt_G",
        "opt_D",
        "losses",
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
    "The file before a truncated one is used; another learning rate is refused, touching nothing."
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


def test_other_commands_do_not_import_torch():
    code = """
import sys
from advlatgan.runs.cli import main
for call in (["list"], ["report", "nothing"], ["fly"]):
    main(call)
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
