"""What the tests share: a small checkout of its own for the command line, and the closing line."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")
LARGE = ["torch", "torchvision", "matplotlib.pyplot", "pandas", "sklearn.cluster", "papermill"]
LARGE += ["IPython", "ipykernel.kernelapp"]  # libraries that take seconds to import
LONGEST = ("test_every_experiment_runs_at_smoke", "test_on_a_cluster", "test_a_longer_run")
LONGEST += ("test_weights_are_those", "test_batch_runs")


def pytest_collection_modifyitems(items):
    "The longest first, so that no worker waits for another's last test."
    items.sort(key=lambda item: not item.name.startswith(LONGEST))


def pytest_unconfigure(config):
    "Close with one line that any reader of a log can count on."
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    count = {k: len(reporter.stats.get(k, [])) for k in ("passed", "failed", "error", "skipped")}
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"\n{count['passed']} passed, {count['failed'] + count['error']} failed{skipped}")


@pytest.fixture
def advlatgan():
    "Call the command in a process of its own: advlatgan(*args, cwd=…) -> CompletedProcess."
    from advlatgan.runs.presets import COMMAND

    def call(*args, cwd=ROOT, env=None, timeout=300):
        return subprocess.run(
            [*COMMAND, *map(str, args)],
            cwd=cwd,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    return call


@pytest.fixture(scope="session")
def preloaded():
    "The environment of an `advlatgan(…, env=…)` whose kernels are forks with the large libraries."
    folder = Path(__file__).parent / "preloaded"
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        address = f"{place}/kernels"
        call = [sys.executable, folder / "ipykernel_launcher.py", "serve", address, *LARGE]
        server = subprocess.Popen(call, stdin=subprocess.DEVNULL)
        try:
            until(lambda: Path(address).exists() or server.poll() is not None)
            yield dict(PYTHONPATH=os.pathsep.join(paths), ADVLATGAN_TEST_KERNELS=address)
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def command(capsys):
    "Call a command in this process: command(*args) -> (status, what it printed, what it said)."
    from advlatgan.runs.cli import main

    def call(*args):
        capsys.readouterr()
        status = main([*map(str, args)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def process():
    "The same in a process of its own, to be killed: process(*args) -> Popen."
    from advlatgan.runs.presets import COMMAND

    def start(*args):
        pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return subprocess.Popen([*COMMAND, *map(str, args)], text=True, **pipes)

    return start


def alive(marker):
    "Live processes that mention `marker` in their command line or environment."
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(marker).encode() in line and entry.name != str(os.getpid()):
            found.append(line.replace(b"\0", b" ").decode()[:200])
    return found


def until(condition, seconds=60.0):
    "Wait for it, or fail."
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not come to pass"
        time.sleep(0.1)


def write_notebook(path, *sources):
    "A notebook of these cells, the first of which holds the parameters."
    cells = [
        dict(
            cell_type="code",
            metadata=dict(tags=["parameters"]) if i == 0 else {},
            execution_count=None,
            outputs=[],
            source=source,
            id=f"c{i}",
        )
        for i, source in enumerate(sources)
    ]
    spec = dict(name="python3", display_name="python3", language="python")
    book = dict(nbformat=4, nbformat_minor=5, cells=cells, metadata=dict(kernelspec=spec))
    path.write_text(json.dumps(book))


PRESETS = """
walk:
  reproduces: a random walk
  allowed: {pause: ">= 0", steps: ">= 1", kind: [plain, other]}
  presets: {smoke: {}, cpu: {seeds: [0, 1, 2], pause: 0.1}}
  table: {rows: [kind], values: {score: 6}}
  reference: [nobody.csv]
onwalk:
  reproduces: something made from walks
  needs: {walk: {experiment: walk}}
  presets: {smoke: {}}
  table: {rows: [method], values: {score: 6}}
broken:
  reproduces: a fault
  allowed: {how: [error, death, silence]}
  presets: {smoke: {}}
  table: {rows: [how], values: {score: 1}}
"""


@pytest.fixture
def checkout(tmp_path):
    "A checkout with small experiments that need no training."
    folder = tmp_path / "checkout/nbs/experiments"
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text((ROOT / "nbs/experiments/Snakefile").read_text())
    (folder / "presets.yaml").write_text(PRESETS)
    published = tmp_path / "checkout/data/published"
    published.mkdir(parents=True)
    (published / "nobody.csv").write_text('source,kind,score\n"nobody, Table 0",plain,0.5\n')
    write_notebook(
        folder / "walk.ipynb",
        "seed: int = 0\nkind: str = 'plain' # which\nsteps: int = 20 # how far\n"
        "pause: float = 0.0 # seconds a step\nnote: str = '' # any text",
        "import random, time\nfrom advlatgan import runs\nrun = runs.Recorder()\n"
        "tell = run.stage('walk'); r = random.Random(seed); x = 0.",
        "for i in range(steps): x += r.random(); time.sleep(pause); tell(i + 1, steps)",
        "run.finish([dict(score=x)], data='none')",
    )
    write_notebook(
        folder / "onwalk.ipynb",
        "seed: int = 0",
        "from advlatgan import files, runs\nrun = runs.Recorder()\n"
        "score = files.read_json(run.need('walk') / 'record.json')['rows'][0]['score']",
        "run.finish([dict(method='twice', score=2 * score)], data='a walk')",
    )
    write_notebook(
        folder / "broken.ipynb",
        "seed: int = 0\nhow: str = 'error'",
        "import os\nif how == 'error': raise ValueError('the reason')\n"
        "if how == 'death': os.kill(os.getpid(), 9)",
    )
    return tmp_path / "checkout"
