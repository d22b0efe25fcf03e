"""The trainer by phases trains what the trainer before it did, bit for bit.

`same_weights.json` holds digests of the weights after 50 steps, made by the trainer of commit
74bba16 in a process where the processor's own instructions are switched off: then every x86-64
processor computes the same bits with one version of torch.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
BEFORE = json.loads((HERE / "same_weights.json").read_text())
PLAIN = dict(
    ATEN_CPU_CAPABILITY="default",
    ONEDNN_MAX_CPU_ISA="SSE41",
    MKL_CBWR="COMPATIBLE",
    MKL_ENABLE_INSTRUCTIONS="SSE4_2",
    OMP_NUM_THREADS="1",
)

CASES = {  # name -> backbone, changes of its phases, decay of the average, options of its phases
    "dcgan bare": ("dcgan", [], 0.0, {}),
    "dcgan -qua": ("dcgan", ["qua"], 0.0, {}),
    "sngan -qua ema": ("sngan", ["qua"], 0.9, {}),
    "cgan -div": ("cgan", ["div"], 0.0, {}),
    "cgan -div both": ("cgan", ["div both"], 0.0, {}),
    "cgan msgan": ("cgan", ["msgan"], 0.0, {}),
    "cgan -qua -div": ("cgan", ["qua", "div"], 0.0, {}),
    "acgan bare": ("acgan", [], 0.0, {}),
    "wgan-gp -qua": ("wgan-gp", ["qua"], 0.0, {}),
    "wgan bare": ("wgan", [], 0.0, {}),
    "wgan-div bare": ("wgan-div", [], 0.0, {}),
    "lsgan bare": ("lsgan", [], 0.0, {}),
    "sngan fresh_z=False n_dis=2": ("sngan", ["qua"], 0.0, dict(fresh_z=False, n_dis=2)),
    "sngan batch_size_G=16 n_dis=3": ("sngan", [], 0.0, dict(batch_size_G=16, n_dis=3)),
    "cgan fresh_y": ("cgan", [], 0.0, dict(fresh_y=True)),
}


def digest(backbone, changes, ema, options, folder=None, stop=None):
    "The weights after 50 steps on random images, or None if it was stopped."
    from advlatgan import backbones, data, nets, training
    from advlatgan.methods import advlatgan as methods

    chosen, rng = backbones.backbone(backbone), torch.Generator().manual_seed(0)
    x = torch.randint(256, (64, 3, 16, 16), dtype=torch.uint8, generator=rng)
    y = torch.randint(10, (64,), generator=rng)
    images = chosen.images(data.ImageData("noise", x, y))
    phases = chosen.phases(**options)
    known = {
        "qua": lambda p: methods.qua(p, 2, 0.02),
        "div": methods.div,
        "div both": lambda p: methods.div(p, d_sees="both"),
        "msgan": methods.msgan,
    }
    for name in changes:
        phases = known[name](phases)
    torch.manual_seed(0)
    networks = dict(zip("GD", nets.build(**chosen.spec(images, z_dim=8, width=1 / 32))))
    if ema:
        networks["G_ema"] = nets.build(**chosen.spec(images, z_dim=8, width=1 / 32))[0]
        networks["G_ema"].load_state_dict(networks["G"].state_dict())
    torch.manual_seed(1)

    def progress(step, total, losses):
        if step == stop:
            raise KeyboardInterrupt

    config = chosen.config(total_steps=50, batch_size=8, z_dim=8, ema=ema)
    kept = dict(checkpoint=folder, checkpoint_every=20, log_every=10, progress=progress)
    try:
        training.train(networks, images, phases, config, precision="fp32", **kept)
    except KeyboardInterrupt:
        return None
    found = hashlib.sha256()
    for net in networks.values():
        for name, value in net.state_dict().items():
            found.update(name.encode())
            found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def main(folder):
    torch.set_num_threads(1)
    found = {name: digest(*case) for name, case in CASES.items()}
    for name in ("sngan -qua ema", "cgan -div", "wgan-gp -qua"):
        place = Path(folder) / name
        assert digest(*CASES[name], place, stop=30) is None
        found[f"{name}, resumed"] = digest(*CASES[name], place)
    print(json.dumps(found))


def test_weights_are_those_of_the_trainer_before(tmp_path):
    if torch.__version__.split("+")[0] != BEFORE["torch"]:
        pytest.skip(f"recorded with torch {BEFORE['torch']}, this is {torch.__version__}")
    command = [sys.executable, __file__, tmp_path]
    done = subprocess.run(command, env=os.environ | PLAIN, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, value in found.items():
        assert value == BEFORE["digests"][name.removesuffix(", resumed")], name
    assert len(found) == len(CASES) + 3 and len({*BEFORE["digests"].values()}) == len(CASES)


if __name__ == "__main__":
    main(sys.argv[1])
