"""What a training step of Table 4 asks for, counted: the first table of scale.md."""

import json
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from advlatgan import backbones, data, nets, training

ROOT = Path(__file__).resolve().parents[1]
N = 4  # images in a counted step; operations grow with them in proportion


class Calls(TorchDispatchMode):
    "Counts what is handed to the device one by one."

    n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n += 1
        return function(*args, **(kwargs or {}))


class NoModules:
    "For the counter of operations, which else follows modules and bears no gradient inside."

    parents = {"Global"}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def train(name, method, img_size, twice, steps):
    "Steps at full width on noise."
    chosen = backbones.backbone(name)
    pixels = torch.randint(256, (64, 3, img_size, img_size), dtype=torch.uint8)
    images = chosen.images(data.ImageData("noise", pixels, torch.arange(64) % 10))
    phases = chosen.phases(batch_size_G=2 * N if twice else N)
    phases = backbones.with_method(phases, method, eps=0.03)
    G, D = nets.build(**chosen.spec(images))
    config = chosen.config(total_steps=steps, batch_size=N)
    training.train({"G": G, "D": D}, images, phases, config, precision="fp32")


def counted(name, method, img_size, twice=True):
    "GFLOP for an image of D's batch, and calls in a step: two steps less one."
    flops, calls = [], []
    for steps in (1, 2):
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = NoModules()
        with counter, Calls() as dispatched:
            train(name, method, img_size, twice, steps)
        flops.append(counter.get_total_flops())
        calls.append(dispatched.n)
    return (flops[1] - flops[0]) / N / 1e9, calls[1] - calls[0]


def speeds():
    "GFLOP a second of the committed run of bench_training, whose batches are alike for G and D."
    [record] = json.loads((ROOT / "data/results/bench_training.cpu.json").read_text())["records"]
    for row in record["rows"]:
        name, method = row["case"].split()
        if method in ("bare", "qua"):
            gflop, _ = counted(name, method, 32, twice=False)
            yield row["case"], row["batch"] * gflop / row["ours_ms"] * 1000


def main(batch=128):
    print("| backbone | pixels | bare, TFLOP | -qua, TFLOP | calls |\n|---|---|---|---|---|")
    sizes = {32: list(backbones.BACKBONES)[:7], 48: list(backbones.BACKBONES)[:6]}
    sizes |= dict.fromkeys((64, 128), ["wgan-gp", "sngan"])
    for img_size, names in sizes.items():
        for name in names:
            (bare, few), (qua, many) = (counted(name, m, img_size) for m in ("bare", "qua"))
            words = f"{bare * batch / 1000:.2f} | {qua * batch / 1000:.2f} | {few} to {many}"
            print(f"| {name} | {img_size} | {words} |", flush=True)
    for case, speed in speeds():
        print(f"{case}: {speed:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
