"""A one-node Slurm cluster on loopback, where its programs are; else this says so and skips."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress

import pytest
from conftest import ROOT, alive, until, write_notebook

from advlatgan.runs.presets import COMMAND

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PATH = f"{os.environ['PATH']}:/usr/sbin"
ABSENT = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

PRESETS = """
walk:
  reproduces: a random walk
  presets: {smoke: {}}
  table: {rows: [steps], values: {score: 6}}
two:
  reproduces: what two walks have come to
  needs: {a: {experiment: walk, params: {seed: 0}}, b: {experiment: walk, params: {seed: 1}}}
  presets: {smoke: {}}
  table: {rows: [method], values: {score: 6}}
"""

WALK = (
    "seed: int = 0\nsteps: int = 20\npause: float = 0.0",
    "import random, time\nfrom advlatgan import runs\nrun = runs.Recorder()",
    "r = random.Random(seed); path = []; tell = run.stage('walk')\n"
    "for i in range(steps):\n"
    "    path.append(r.random()); time.sleep(pause); tell(i + 1, steps)",
    "run.finish([dict(steps=steps, score=sum(path))], dict(path=path), data='none')",
)
TWO = (
    "seed: int = 0",
    "from advlatgan import files, runs\nrun = runs.Recorder()\n"
    "ends = [files.read_json(run.need(k) / 'record.json')['rows'][0]['score'] for k in 'ab']",
    "run.finish([dict(method='sum', score=sum(ends))], dict(ends=ends), data='two walks')",
)


def free_ports():
    "Two that nobody listens on."
    sockets = [socket.socket() for _ in range(2)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture
def cluster(tmp_path):
    "The environment in which Slurm's programs find a cluster."
    if ABSENT:
        pytest.skip(f"no Slurm here ({', '.join(ABSENT)} not found): Debian has slurm-wlm")
    pytest.importorskip("snakemake_executor_plugin_slurm")
    folder = tmp_path / "slurm"
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    host, conf = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    spec = dict(host=host, user=getpass.getuser(), ports=free_ports(), folder=folder)
    conf.write_text(CONF.format(**spec))
    # the plugin drops SLURM_CONF before it calls srun
    shim = f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun", path=PATH)} "$@"\n'
    (folder / "bin/srun").write_text(shim)
    (folder / "bin/srun").chmod(0o755)
    env = os.environ | dict(SLURM_CONF=str(conf), PATH=f"{folder}/bin:{PATH}")
    quiet = dict(env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    calls = (["slurmctld", "-D"], ["slurmd", "-D", "-N", "node"])
    daemons = [subprocess.Popen(call, **quiet) for call in calls]
    try:
        end = time.time() + 30
        while slurm(env, "sinfo", "-h", "-o", "%T") != "idle":
            if time.time() > end:
                pytest.skip(f"Slurm does not start here: {log_end(folder)}")
            time.sleep(0.3)
        yield env
    finally:
        slurm(env, "scancel", "--user", getpass.getuser())
        with suppress(AssertionError):
            until(lambda: not slurm(env, "squeue", "-h"), 20)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def slurm(env, *call):
    return subprocess.run(call, env=env, capture_output=True, text=True).stdout.strip()


def log_end(folder):
    logs = [folder / f"{name}.log" for name in ("slurmctld", "slurmd")]
    return " / ".join(f.read_text().splitlines()[-1] for f in logs if f.exists())


def queued(env, out, form):
    "What squeue says, in that form, of the jobs of a workflow in that folder."
    lines = slurm(env, "squeue", "-h", "-o", f"%Z|{form}").splitlines()
    return [line.partition("|")[2] for line in lines if line.startswith(f"{out}|")]


@pytest.fixture
def walks(tmp_path):
    "A checkout with two experiments."
    folder = tmp_path / "checkout/nbs/experiments"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "nbs/experiments/Snakefile", folder)
    (folder / "presets.yaml").write_text(PRESETS)
    write_notebook(folder / "walk.ipynb", *WALK)
    write_notebook(folder / "two.ipynb", *TWO)
    return tmp_path / "checkout"


SLURM = ["--executor", "slurm", "--slurm-status-command", "squeue"]
SOON = ["--slurm-init-seconds-before-status-checks", "8"]  # for so short runs
LONG = ["walk", "-p", "pause=0.1", "steps=6000"]


def left(out):
    "What runs have left: arrays byte for byte, records but for the time that they took."
    files = {f.relative_to(out): f.read_bytes() for f in sorted(out.glob("*/*/arrays.npz"))}
    for f in sorted(out.glob("*/*/record.json")):
        record = json.loads(f.read_text())
        del record["wall_s"]
        files[f.relative_to(out)] = record
    return files


def test_on_a_cluster(cluster, walks, tmp_path):
    """Same bytes as here; memory, time and cores are asked for; a job that is cancelled is told
    from one that failed; a command that is stopped takes its jobs with it."""
    started = {}

    def start(name, *call, on=SLURM + SOON):
        words = [*COMMAND, "run", *call, "--jobs", "2", "--out", str(tmp_path / name)]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        words += ["--", *on] if on else []
        started[name] = subprocess.Popen(words, cwd=walks, env=cluster, text=True, **pipes)
        return tmp_path / name

    try:
        far, cancelled, stopped = (
            start("far", "two"),
            start("cancelled", *LONG),
            start("stopped", *LONG),
        )
        under_way = lambda out: list(out.glob("walk/*/progress.json"))
        ended = lambda: [k for k, process in started.items() if process.poll() is not None]
        until(lambda: under_way(cancelled) and under_way(stopped) or ended(), 300)
        assert not ended(), started[ended()[0]].communicate()

        [asked] = queued(cluster, stopped, "%m|%l|%C")
        assert asked == "4000M|4:00:00|1"
        started["stopped"].send_signal(signal.SIGTERM)
        [job] = queued(cluster, cancelled, "%i")
        slurm(cluster, "scancel", job)

        assert started["stopped"].wait(120) == 130
        until(lambda: not queued(cluster, stopped, "%i"), 120)
        # a snakemake that hangs when it is told to end is beyond linuxproc; cgroups would end it
        left_of = lambda out: [p for p in alive(out) if " -m snakemake " not in p]
        until(lambda: not left_of(stopped), 120)
        assert not under_way(stopped) and not (stopped / ".plan.json").exists()

        here = start("here", "two", on=[])
        said = {k: started[k].communicate(timeout=300) for k in ("far", "here", "cancelled")}
        assert [started[k].returncode for k in said] == [0, 0, 1], said
        assert left(far) == left(here) and len(left(far)) == 6
        [line] = [x for x in said["cancelled"][1].splitlines() if x.startswith("failed:")]
        assert "it ended without a record, see" in line and f"/{job}.log" in line
        assert not under_way(cancelled)
        until(lambda: not left_of(cancelled), 60)
    finally:
        for process in started.values():
            process.terminate()
            process.communicate(timeout=60)
        if shutil.which("pkill"):
            subprocess.run(["pkill", "-9", "-f", str(tmp_path)])
