"""Kills at random moments: trainings, checkpoints being written, batch runs, the workflow alone.

Kills are real (SIGKILL), their moments are drawn with a seed; a dozen of them, or as many as
ADVLATGAN_KILLS says. What is simulated: trainings are forks of one process that has imported torch,
so that a kill costs a fraction of a second; and for a kill inside a write the process kills itself
before or after the n-th of the calls that a checkpoint is made of (write, sync, rename, remove), a
write half done. Batch runs are the command itself with all its processes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from functools import reduce
from pathlib import Path

import pytest

KILLS = int(os.environ.get("ADVLATGAN_KILLS", 12))
TOTAL = 120
MOMENT = 0.5  # seconds: a training is killed before
LASTS = 10.0  # seconds: a batch


def train(folder):
    "A small run with everything that has a state."
    import torch

    from advlatgan import data, nets, training
    from advlatgan.methods import advlatgan, gan

    def noise(D, x_real, x_fake, y):  # uses torch's global state
        return 0.01 * D(x_real + 0.01 * torch.randn_like(x_real)).square().mean()

    torch.manual_seed(0)
    spec = dict(arch="toy", z_dim=2, width=0.2)
    phases = advlatgan.qua(gan.gan(lr=1e-3, penalty=noise, n_dis=2), 1, 0.02)
    config = training.TrainConfig(total_steps=TOTAL, batch_size=16, z_dim=2, ema=0.99)
    kept = dict(checkpoint=folder, checkpoint_every=5, spec=spec, log_every=3)
    both = dict(zip("GD", nets.build(**spec)))
    training.train(both, data.toy_mixture("ring"), phases, config, **kept)


def train_until(folder, at):
    "The same, which kills itself around the at-th call of those that write a checkpoint."
    from advlatgan import checkpoints

    count = iter(range(10**9))

    def dying(f, half=lambda *args: None):
        def call(*args, **options):
            now = next(count)
            if now == at and at % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            made = f(*args, **options)
            if now == at:
                half(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        return call

    def half_done(tensors, path, *_):
        os.truncate(path, os.path.getsize(path) // 2)

    checkpoints.save_file = dying(checkpoints.save_file, half_done)
    os.replace, os.fsync, Path.unlink = map(dying, (os.replace, os.fsync, Path.unlink))
    train(folder)


def serve():
    "Fork for each line [function, arguments, seconds or null]; kill then; answer how it ended."
    import torch

    import advlatgan.methods.advlatgan  # noqa: F401 (before the first fork)

    torch.set_num_threads(1)
    for line in sys.stdin:
        name, args, seconds = json.loads(line)
        if not (pid := os.fork()):
            os.dup2(2, 1)
            try:
                globals()[name](*args)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        end = time.monotonic() + (seconds or 600)
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() >= end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        print(os.waitstatus_to_exitcode(ended[1]), flush=True)


@pytest.fixture
def forked():
    "forked(function, *args, seconds=None) -> how it ended: 0, or -9."
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    code = "import test_kills; test_kills.serve()"
    server = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent, **pipes)

    def call(function, *args, seconds=None):
        server.stdin.write(json.dumps([function.__name__, args, seconds]) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    yield call
    server.stdin.close()
    assert server.wait(30) == 0


def files(folder):
    "Name -> bytes of what a training has left; the lock is empty."
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def outlives(forked, folder, kills, moments):
    "Kill it so many times and take it up, then let it end: the same files as undisturbed."
    assert forked(train, str(folder / "calm")) == 0
    calm, place, done = files(folder / "calm"), folder / "0", 0
    while done < kills:
        function, args, seconds = next(moments)
        status = forked(function, str(place), *args, seconds=seconds)
        assert status in (0, -signal.SIGKILL)
        done += status != 0
        if status == 0:  # it was over before
            assert files(place) == calm
            place = folder / str(done)
            shutil.rmtree(place, ignore_errors=True)
    assert forked(train, str(place)) == 0
    assert files(place) == calm


def test_trainings(forked, tmp_path):
    draw = random.Random(1)
    moments = ((train, (), draw.uniform(0.0, MOMENT)) for _ in iter(int, 1))
    outlives(forked, tmp_path, KILLS // 2, moments)


def test_checkpoints_being_written(forked, tmp_path):
    draw = random.Random(2)
    moments = ((train_until, (draw.randrange(60),), None) for _ in iter(int, 1))
    outlives(forked, tmp_path, KILLS * 4 // 10, moments)


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@needs_proc
def test_batch_runs(checkout, tmp_path):
    "The workflow process alone, or the command, in turn: no orphan, no lock, the right rows."
    from conftest import alive, until
    from test_cli import _workflow, records

    from advlatgan.files import lock
    from advlatgan.runs.presets import COMMAND

    draw, tmp = random.Random(3), tempfile.mkdtemp(dir="/tmp")
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    out, done = checkout / "killed", 0

    def start():
        asked = "run walk --seeds 0 1 -p pause=0.02 --jobs 2 --out".split()
        env = os.environ | dict(TMPDIR=tmp)
        return subprocess.Popen([*COMMAND, *asked, str(out)], cwd=checkout, env=env, **quiet)

    def free():
        locks = [lock(file, seconds=0) for file in (out / ".lock", *out.glob("walk/*/.lock"))]
        for held in filter(None, locks):
            held.close()
        return all(locks)

    def right():
        "What the notebook does, done here."
        found = {r["params"]["seed"]: r["rows"][0]["score"] for r in records(out).values()}
        steps = {seed: random.Random(seed) for seed in (0, 1)}
        return found == {
            s: reduce(lambda x, _: x + r.random(), range(20), 0.0) for s, r in steps.items()
        }

    while done < KILLS // 10:
        process, end = start(), time.monotonic() + draw.uniform(0.3, LASTS)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        victim = (done % 2 == 0 and _workflow(out)) or process.pid
        if process.poll() is None:
            os.kill(victim, signal.SIGKILL)
            done += 1
        process.wait(60)
        until(lambda: not alive(out), 20)
        assert not out.exists() or free()
        if len(records(out)) == 2:
            assert right()
            shutil.rmtree(out / "walk")
    assert start().wait(300) == 0 and right()
    assert not list(out.rglob("*.part")) and not list(out.rglob("record.part.json"))
    for left in Path(tmp).iterdir():  # killed before it had its lock: the next call an hour later
        os.utime(left, (0, 0))
    shutil.rmtree(out / "walk")
    assert start().wait(300) == 0 and os.listdir(tmp) == []
    os.rmdir(tmp)
