"""Trainings in processes of their own, which print each step: killed, taken up again, compared."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def start(code):
    "A process that runs code, from this folder."
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent, **options)


def kill(code, stop):
    "Run it until it has printed that step."
    victim = start(code)
    for line in victim.stdout:
        if int(line) >= stop:
            break
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL, f"to be killed at step {stop}"


def go_on(code, folder, total):
    "Run it again: it goes on from the newest checkpoint, to the end."
    done = max(int(p.stem[5:]) for p in folder.glob("step-*.safetensors"))
    out, err = (again := start(code)).communicate(timeout=300)
    assert again.returncode == 0, err
    assert [int(line) for line in out.split()] == list(range(done + 1, total + 1))


def state(folder):
    "Everything in the newest checkpoint, flat: tensors as bytes, the rest as it is."
    from advlatgan import checkpoints

    def flat(value, name):
        if isinstance(value, dict):
            return [pair for k, v in value.items() for pair in flat(v, f"{name}/{k}")]
        return [(name, value.numpy().tobytes() if hasattr(value, "numpy") else value)]

    found = checkpoints.load(folder)
    return found.step, dict(flat(found.state, ""))


def same_state(one, other):
    "What both folders have come to; fails if it is not one thing."
    (step, a), (step_too, b) = state(one), state(other)
    assert step == step_too and a.keys() == b.keys()
    assert [k for k in a if a[k] != b[k]] == []
    return step, a
