"""The command line, in processes of its own."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, alive, until

from advlatgan import runs
from advlatgan.runs import cli
from advlatgan.runs.presets import COMMAND, Run, convert


def records(out):
    return {p.parent.name: json.loads(p.read_text()) for p in out.glob("*/*/record.json")}


def test_run_makes_records_table_and_notebooks(advlatgan, checkout):
    done = advlatgan("run", "walk", "--seeds", 0, 1, "-p", "kind=plain,other", cwd=checkout)
    assert done.returncode == 0, done.stderr
    found = records(checkout / "data/runs")
    assert len(found) == 4 and {r["params"]["kind"] for r in found.values()} == {"plain", "other"}
    assert all(
        {"experiment", "params", "rows", "data", "device", "versions", "commit", "code", "wall_s"}
        <= r.keys()
        for r in found.values()
    )
    paths = [Path(line) for line in done.stdout.splitlines() if line.startswith("data/runs")]
    assert len(paths) == 2 + 4 and all(
        (checkout / p).exists() for p in paths
    )  # .md, .json, four notebooks
    score = {r["params"]["seed"]: r["rows"][0]["score"] for r in found.values()}
    mean = sum(score.values()) / 2
    assert f"| plain | {mean:.6f} ± " in done.stdout and done.stdout.count("| 0.5 |") == 1
    assert not list(checkout.rglob("*.part")) and not list(checkout.rglob("record.part.json"))


def test_what_is_finished_is_skipped_and_force_reruns(advlatgan, checkout):
    assert advlatgan("run", "walk", cwd=checkout).returncode == 0
    [record] = (checkout / "data/runs").glob("walk/*/record.json")
    before = record.stat().st_mtime_ns
    start = time.time()
    again = advlatgan("run", "walk", cwd=checkout)
    assert (
        again.returncode == 0
        and record.stat().st_mtime_ns == before
        and "| plain |" in again.stdout
    )
    assert time.time() - start < 30  # starts nothing (in fact well under a second)
    assert advlatgan("run", "walk", "--force", cwd=checkout).returncode == 0
    assert record.stat().st_mtime_ns > before


def test_what_force_cannot_make_anew_stays(advlatgan, checkout):
    "A run that fails, is killed with its command, and is then put back for another that needs it."
    assert advlatgan("run", "walk", cwd=checkout).returncode == 0
    [record] = (checkout / "data/runs").glob("walk/*/record.json")
    before, notebook = record.read_text(), checkout / "nbs/experiments/walk.ipynb"
    good = notebook.read_text()
    notebook.write_text(good.replace("x += r.random()", "x += r.radnom()"))
    failed = advlatgan("run", "walk", "--force", cwd=checkout)
    assert failed.returncode == 1 and "failed.ipynb" in failed.stderr
    assert "what was there before is kept" in failed.stderr
    assert record.read_text() == before and "radnom" in (record.parent / "failed.ipynb").read_text()

    notebook.write_text(good.replace("time.sleep(pause)", "time.sleep(9)"))
    call = [*COMMAND, "run", "walk", "--force"]
    killed = subprocess.Popen(call, cwd=checkout, stderr=subprocess.DEVNULL)
    until(lambda: (record.parent / "progress.json").exists() or killed.poll() is not None)
    assert not record.exists()
    killed.kill()
    killed.wait()
    notebook.write_text(good)
    done = advlatgan("run", "onwalk", cwd=checkout)
    assert done.returncode == 0 and record.read_text() == before, done.stderr
    assert not list((checkout / "data/runs").glob(".aside/*"))


def test_needed_runs_come_first(advlatgan, checkout):
    done = advlatgan("run", "onwalk", "--seeds", 3, cwd=checkout)
    assert done.returncode == 0, done.stderr
    found = {r["experiment"]: r for r in records(checkout / "data/runs").values()}
    assert found["walk"]["params"]["seed"] == 3
    assert found["onwalk"]["rows"][0]["score"] == 2 * found["walk"]["rows"][0]["score"]


def test_by_hand_a_needed_run_is_made_at_the_defaults(checkout):
    "A notebook opened in Jupyter that says its name, twice: the second time the run is there."
    code = (
        "import os; from advlatgan.runs import Recorder; "
        "f = Recorder('onwalk').need('walk') / 'record.json'; print(os.stat(f).st_mtime_ns, f)"
    )
    environ = {k: v for k, v in os.environ.items() if k != "ADVLATGAN_RUN"}
    done = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=checkout, env=environ, capture_output=True, text=True
        )
        for _ in range(2)
    ]
    assert (
        done[0].stdout == done[1].stdout
        and "walk/plain-s0-" in done[0].stdout
        and done[0].stderr == ""
    ), done[0].stderr


@pytest.mark.parametrize(
    "how, reason",
    [("error", "ValueError: the reason"), ("death", "the kernel died"), ("silence", "no record")],
)
def test_a_failed_run_says_which_and_why(advlatgan, checkout, how, reason):
    done = (
        advlatgan("run", "broken", "walk", cwd=checkout)
        if how == "error"
        else advlatgan("run", "broken", "-p", f"how={how}", cwd=checkout)
    )
    assert done.returncode == 1
    [line] = [x for x in done.stderr.splitlines() if x.startswith("failed:")]
    assert f"broken/{how}-s0-" in line and reason in line and "notebook.ipynb" in line
    found = records(checkout / "data/runs")
    assert not any(r["experiment"] == "broken" for r in found.values())
    assert ("| plain |" in done.stdout) == (how == "error")  # what could be done beside it is done


BAD = {
    "run wal": "did you mean 'walk'?",
    "run walk --preset cup": "did you mean 'cpu'?",
    "run walk -p stepz=3": "did you mean 'steps'?",
    "run walk -p steps=few": "'steps' is 'few': expected a valid integer",
    "run walk -p steps=2.5": "'steps' is '2.5': expected a valid integer",
    "run walk -p pause=-1": "'pause' is '-1': expected greater than or equal to 0",
    "run walk -p pause=inf": "'pause' is 'inf'",
    "run walk -p pause=nan": "'pause' is 'nan'",
    "run walk -p pause=1e999": "'pause' is '1e999'",
    "run walk -p kind=plane": "'kind' is 'plane': did you mean 'plain'?",
    "run walk -p steps": "expected KEY=VALUE",
    "run walk -p seed=3": "use --seeds",
    "run walk -p seed=0,1": "use --seeds",
    "run walk -p seed=x": "use --seeds",
    "run walk --seeds one": "'seed' is 'one': expected a valid integer",
    "run walk --seeds 0,one": "'seed' is 'one': expected a valid integer",
    "run walk --seeds 0 -3": "'seed' is '-3': expected greater",
    "run walk --seeds 9223372036854775808": "'seed' is '9223372036854775808': expected less",
    "run walk --jobs 0": "--jobs",
    "run walk --out /dev/null/runs": "/dev/null/runs cannot be written",
    "run walk --out=": "--out",
    "run walk --forse": "--force",
    "run walk -- --executr slurm": "--executr",
    "run walk -- --cores many": "--cores",
    "run walk -- plain": "'plain' is no option of Snakemake",
    "run walk -- --executor lsf": "pip install snakemake-executor-plugin-lsf",
    "run": "NAME",
    "list wlak": "did you mean 'walk'?",
    "publish wlak": "did you mean 'walk'?",
    "report wlak": "did you mean 'walk'?",
    "report walk --out=": "--out",
    "rum walk": "Did you mean 'run'?",
    "": "command",
}


@pytest.mark.parametrize("call", BAD)
def test_a_wrong_call_is_one_line_and_status_2(checkout, monkeypatch, capsys, call):
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(cli, "carry_out", lambda *a: pytest.fail("it went on"))
    assert cli.main(call.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("advlatgan: ") and err.count("\n") == 1
    assert BAD[call] in err
    assert [p.name for p in (checkout / "data").iterdir()] == ["published"]


WRONG = {  # (a line of presets.yaml, what stands there instead): the call, and its answer
    ("smoke: {}, cpu", "smoke: , cpu"): ("run walk", "walk: presets.smoke is None"),
    ("smoke: {}, cpu", "smoke: 3, cpu"): ("list walk", "walk: presets.smoke is 3"),
    ("smoke: {}, cpu", "smoke: [5], cpu"): ("run walk", "walk: presets.smoke is 5"),
    ("smoke: {}, cpu", "smoke: {seed: 3}, cpu"): ("run walk", "walk: presets.smoke: 'seed' is"),
    ("smoke: {}, cpu", "smoke: {seeds: x}, cpu"): (
        "run walk",
        "walk: presets.smoke: parameter 'seed'",
    ),
    ("smoke: {}, cpu", "smoke: {seeds: [], steps: []}, cpu"): ("run walk", "gives no runs"),
    ("smoke: {}, cpu", "smoke: {stepz: 3}, cpu"): ("run walk", "walk: presets.smoke: walk has no"),
    ("smoke: {}, cpu", "smoke: {steps: 0}, cpu"): (
        "run walk",
        "walk: presets.smoke: parameter 'st",
    ),
    ("presets: {smoke: {}, cpu", "presets: [{smoke: {}}] #"): ("run onwalk", "walk: presets is [{"),
    ("presets: {smoke: {}, cpu", "preset: {smoke: {}, cpu"): ("list", "did you mean 'presets'?"),
    ("presets: {smoke: {}, cpu", "notes: {smoke: {}, cpu"): ("list", "walk: notes is {"),
    ("presets: {smoke: {}, cpu", "name: {smoke: {}, cpu"): ("list", "walk: unknown key 'name'"),
    ("reproduces: a random walk", "notes: none"): ("list", "walk: reproduces is missing"),
    ("reproduces: a random walk", "figure: wlaks"): ("list", "walk: reproduces is missing"),
    ("reference: [nobody.csv]", "figure: ada_curve"): ("run walk", "did you mean 'ada_curves'?"),
    ("table: {rows: [kind]", "table: {row: [kind]"): ("run walk", "walk: table has no rows"),
    ("reference: [nobody.csv]", "reference: [me.csv]"): ("run walk", "no data/published/me.csv"),
    ("reference: [nobody.csv]", "threads: many"): ("list", "walk: threads is 'many'"),
    ('pause: ">= 0"', 'pause: "=> 0"'): ("run walk", "is allowed '=> 0': unknown '=>': did you"),
    ("walk: {experiment: walk}", "walk: {experiment: wlak}"): (
        "run onwalk",
        "onwalk: needs.walk: unk",
    ),
    ("walk: {experiment: walk}", "walk: {of: walk}"): (
        "run onwalk",
        "onwalk: needs.walk: there is no key 'experiment'",
    ),
    ("walk: {experiment: walk}", "walk: {experiment: walk, params: {steps: $stepz}}"): (
        "run onwalk",
        "onwalk: needs.walk: onwalk has no parameter 'stepz'",
    ),
    ("walk: {experiment: walk}", "walk: {experiment: walk, params: {steps: {cpu: 3}}}"): (
        "run onwalk",
        "onwalk: needs.walk: steps has no value for 'others'",
    ),
    ("walk: {experiment: walk}", "walk: walk"): (
        "run onwalk",
        "onwalk: needs.walk: it is 'walk': expected keys",
    ),
    ("broken:", "broken: [{"): ("list", "presets.yaml cannot be read"),
    ("broken:", "gone:"): ("list", "gone: there is no gone.ipynb"),
}


@pytest.mark.parametrize("change", WRONG, ids=lambda c: c[1])
def test_a_wrong_entry_is_one_line_before_anything_starts(checkout, monkeypatch, capsys, change):
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(cli, "carry_out", lambda *a: pytest.fail("it went on"))
    presets, (call, words) = checkout / "nbs/experiments/presets.yaml", WRONG[change]
    assert change[0] in presets.read_text()
    presets.write_text(presets.read_text().replace(*change, 1))
    assert cli.main(call.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err and "presets.yaml" in err, err


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"cells": 3}', '{"cells": [3], "metadata": {}}'])
def test_a_notebook_that_is_none_is_one_line(checkout, monkeypatch, capsys, text):
    monkeypatch.chdir(checkout)
    (checkout / "nbs/experiments/walk.ipynb").write_text(text)
    assert cli.main(["run", "walk"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "walk.ipynb" in err, err


def test_a_wrong_call_in_a_process_of_its_own(advlatgan, checkout):
    done = advlatgan("run", "wal", cwd=checkout)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "advlatgan: unknown experiment 'wal': did you mean 'walk'?\n"


def test_list(checkout, monkeypatch, capsys):
    "One line for each experiment; with a name, its presets and every parameter."
    monkeypatch.chdir(checkout)
    assert cli.main(["list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["walk", "onwalk", "broken"]
    assert "a random walk" in lines[0] and "smoke cpu" in lines[0]
    cli._print_table(("experiment", "reproduces"), [("walk", "w" * 300)], one_line=True)
    assert "w" * 300 in capsys.readouterr().out  # through a pipe nothing is cut
    assert cli.main(["list", "walk"]) == 0
    text = capsys.readouterr().out
    assert "seeds=0,1,2" in text and "--seeds" in text and "how far" in text
    assert [f"-p {name} " in text for name in ("kind", "steps", "pause", "seed")] == [1, 1, 1, 0]


@pytest.fixture
def planned(checkout, monkeypatch):
    "planned(*args) -> output folder and parameters of what a call would run, nothing is started."
    called = []
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(cli, "make_report", lambda *a: [Path("none.md")])
    monkeypatch.setattr(cli, "_show", lambda *a: None)
    monkeypatch.setattr(
        cli, "carry_out", lambda out, wanted, *a: called.append((out, wanted)) or {}
    )

    def call(*args):
        assert cli.main(["run", *args]) == 0
        out, wanted = called.pop()
        return out, [r.params for r in wanted]

    return call


@pytest.mark.parametrize(
    "seeds",
    ["3 9223372036854775807 3", "3,9223372036854775807", "3.0,3 9223372036854775807"],
)
def test_seeds_and_values_asked_for_are_run(planned, seeds):
    given = ["--seeds", *seeds.split(), "-p", "steps=5,6", "kind=other"]
    _, params = planned("walk", *given)
    assert {(p["seed"], p["steps"], p["kind"]) for p in params} == {
        (seed, steps, "other") for seed in (3, 2**63 - 1) for steps in (5, 6)
    }
    assert len(params) == 4


def test_paths_mean_what_they_mean_where_the_call_is_made(planned, checkout, monkeypatch):
    "Relative, ~, with commas and braces; in --out too. What the notebook finds as well is left."
    elsewhere = checkout / "some/where"
    for name in ("imgs", "a,b", "a{b}c"):
        (elsewhere / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(elsewhere))
    out, [params] = planned("walk", "-p", "note=folder:some/where", "--out", "~/out")
    assert out == elsewhere / "out" and params["note"] == "folder:some/where"
    monkeypatch.chdir(elsewhere)
    for name in ("imgs", "./imgs", "~/imgs", "a,b", "a{b}c"):
        _, [params] = planned("walk", "-p", f"note=folder:{name}")
        assert params["note"] == f"folder:{(elsewhere / Path(name).name)}"
    _, params = planned("walk", "-p", "note=folder:imgs,folder:nowhere")
    assert [p["note"] for p in params] == [f"folder:{elsewhere / 'imgs'}", "folder:nowhere"]


EXPERIMENTS = runs.find_experiments(ROOT)


def taken(param):
    "Some text that a parameter takes, and what it takes it for."
    for text in ("600", "0.625", "true", *param.allowed, "other"):
        with suppress(runs.CallError):
            return text, convert(param, [text] if param.type.startswith("list[") else text)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_parameter_that_is_offered_is_taken(name):
    "At each preset, a value that is asked for is that of every run."
    e = EXPERIMENTS[name]
    for p in e.params.values():
        if p.name != "seed":
            text, value = taken(p)
            for preset in e.presets:
                found = runs.resolve(e, preset, {p.name: [text]})
                assert [r[p.name] for r in found] == [value] * len(found), (preset, p.name)


def test_run_folders_keep_their_names():
    "As they were when runs were one module; else finished records would not be found again."
    found = [r.folder for r in runs.plan(EXPERIMENTS, "fig09_toy", "cpu")]
    assert found[:2] == ["fig09_toy/grid-s0-7f24f901", "fig09_toy/grid-s1-ab7b47b0"]
    params = dict(seed=3, kind="folder:a/b", steps=20, pause=0.5, marks=[1, 2], on=True)
    walk = Run(replace(EXPERIMENTS["fig09_toy"], name="walk"), params)
    above = Run(replace(EXPERIMENTS["fig09_toy"], name="onwalk"), dict(seed=3), {"walk": walk})
    assert [walk.folder, above.folder] == ["walk/folder_a_b-s3-dcec46a2", "onwalk/s3-b8cb0ce4"]
    for name, e in EXPERIMENTS.items():
        for file in () if e.needs else (ROOT / "data/results").glob(f"{name}.*.json"):
            records = json.loads(file.read_text())["records"]
            assert [Run(e, r["params"]).folder for r in records] == [r["folder"] for r in records]


def test_odd_places(advlatgan, checkout, tmp_path):
    """A long TMPDIR, a foreign kernel of our name, a home that cannot be written, no git; braces in
    --out; a text with all that shells and Snakemake take for theirs, longer than a file's name."""
    tmp = tmp_path / ("t" * 80)
    tmp.mkdir()
    kernel = tmp_path / "kernels/python3/kernel.json"
    kernel.parent.mkdir(parents=True)
    foreign = ["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps(dict(argv=foreign, display_name="other", language="python")))
    env = dict(TMPDIR=str(tmp), JUPYTER_PATH=str(tmp_path), HOME="/sys/home", PATH="/nowhere:/bin")
    note = "a{b}c, 'd' \"e\" $HOME * é" + "x" * 300
    out = checkout / "out{x}"
    done = advlatgan("run", "walk", "-p", f"note={note}", "--out", out, cwd=checkout, env=env)
    assert done.returncode == 0, done.stderr
    found = records(out).values()
    assert sorted(r["params"]["note"] for r in found) == sorted(note.split(","))


def test_bad_presets_and_notebooks_are_named(advlatgan, checkout):
    folder = checkout / "nbs/experiments"
    text = (folder / "presets.yaml").read_text()
    (folder / "presets.yaml").write_text(text.replace("  reference:", "  referense:"))
    assert "did you mean 'reference'?" in advlatgan("list", cwd=checkout).stderr
    (folder / "presets.yaml").write_text(text)
    (folder / "walk.ipynb").write_text(
        (folder / "walk.ipynb").read_text().replace('"parameters"', '"other"')
    )
    done = advlatgan("run", "walk", cwd=checkout)
    assert done.returncode == 2 and "no cell tagged 'parameters'" in done.stderr
    assert not (checkout / "data/runs").exists()


def test_outside_a_checkout_run_says_so(tmp_path):
    "The installed package, not the editable one, is what a user outside a checkout has."
    shutil.copytree(ROOT / "advlatgan", tmp_path / "site/advlatgan")
    done = subprocess.run(
        [*COMMAND, "run", "fig09_toy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "inside" in done.stderr


def _start(checkout, out, tmp, *args):
    "`advlatgan run walk`, not waited for."
    return subprocess.Popen(
        [*COMMAND, "run", "walk", *args, "--jobs", "1", "--out", str(out)],
        cwd=checkout,
        env=os.environ | dict(TMPDIR=tmp),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _workflow(out):
    "The pid of the workflow process of that output folder."
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"--workflow" in (entry / "cmdline").read_bytes():
                if (entry / "cwd").resolve() == out:
                    return int(entry.name)


def table(done):
    return [line for line in done.stdout.splitlines() if line.startswith("|")]


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@needs_proc
@pytest.mark.parametrize("victim", ["command", "workflow", "both"])
def test_killed_in_mid_run_it_takes_up_again(advlatgan, checkout, victim):
    out, calm = checkout / "killed", checkout / "calm"
    tmp = tempfile.mkdtemp(dir="/tmp")
    asked = ["-p", "pause=0.1", "--seeds", "0", "1"]
    process = _start(checkout, out, tmp, *asked)
    # until one run is finished and the next is under way
    until(lambda: len(records(out)) == 1 and list(out.glob("walk/*/progress.json")), 120)
    workflow = _workflow(out)
    if victim != "workflow":
        os.kill(process.pid, signal.SIGKILL)
    if victim != "command":
        os.kill(workflow, signal.SIGKILL)
    assert process.wait(30) == (1 if victim == "workflow" else -signal.SIGKILL)
    until(lambda: not alive(out), 10)  # what it had started ends with it
    [first] = out.glob("walk/*/record.json")
    stamp = first.stat().st_mtime_ns
    call = ["run", "walk", *asked, "--jobs", "1", "--out"]
    again = advlatgan(*call, out, cwd=checkout, env=dict(TMPDIR=tmp))
    assert again.returncode == 0, again.stderr
    assert first.stat().st_mtime_ns == stamp  # the finished one was kept
    assert os.listdir(tmp) == []  # and no temporary folder of the killed command
    os.rmdir(tmp)
    if victim == "command":
        undisturbed = advlatgan(*call, calm, cwd=checkout)
        assert undisturbed.returncode == 0, undisturbed.stderr
        assert table(again) == table(undisturbed) and len(table(again)) == 3
        rows = lambda out: {k: r["rows"] for k, r in records(out).items()}
        assert rows(out) == rows(calm)


def test_two_commands_do_not_write_to_one_folder(checkout, advlatgan):
    out = checkout / "out"
    first = _start(checkout, out, "/tmp", "-p", "steps=200", "pause=0.1")
    try:
        until(lambda: list(out.glob("walk/*/progress.json")))
        second = advlatgan("run", "walk", "--out", out, cwd=checkout)
        assert second.returncode == 2 and "another 'advlatgan run'" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 130


def test_on_a_narrow_terminal_names_are_whole(monkeypatch):
    class Terminal(io.StringIO):
        isatty = lambda self: True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert cli.main(["list"]) == 0
    lines = sys.stdout.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*runs.find_experiments()]
    assert max(len(line) for line in lines) <= 80


def test_publish_and_report(advlatgan, checkout):
    assert advlatgan("publish", "walk", "--preset", "smoke", cwd=checkout).returncode == 1
    assert advlatgan("report", cwd=checkout).returncode == 1
    assert advlatgan("run", "walk", cwd=checkout).returncode == 0
    done = advlatgan("publish", "walk", "--preset", "smoke", cwd=checkout)
    assert (
        done.returncode == 0
        and (checkout / "data/results/walk.smoke.md").exists()
        and (checkout / "data/results/walk.smoke.json").exists()
    )
    told = advlatgan("report", "walk", cwd=checkout)
    assert (
        told.returncode == 0
        and "(published)" in told.stdout
        and "(run here)" in told.stdout
        and "| plain |" in told.stdout
    )


def test_a_published_preset_grows_without_its_old_runs(advlatgan, checkout):
    presets = checkout / "nbs/experiments/presets.yaml"
    whole = presets.read_text()
    presets.write_text(whole.replace("seeds: [0, 1, 2], pause: 0.1", "seeds: [0]"))
    publish = ("publish", "walk", "--preset", "cpu")
    assert advlatgan("run", "walk", "--preset", "cpu", cwd=checkout).returncode == 0
    assert advlatgan(*publish, cwd=checkout).returncode == 0
    shutil.rmtree(checkout / "data/runs")
    presets.write_text(presets.read_text().replace("seeds: [0]", "seeds: [0, 1]"))
    refused = advlatgan(*publish, cwd=checkout)
    assert refused.returncode == 1 and "2 of 2 runs are not finished" in refused.stderr
    run = ("run", "walk", "--preset", "cpu", "--seeds", "1")
    assert advlatgan(*run, cwd=checkout).returncode == 0
    done = advlatgan(*publish, cwd=checkout)
    assert done.returncode == 0 and "1 of 2 runs are those that are committed" in done.stdout
    assert "over 2 seeds (0, 1)" in (checkout / "data/results/walk.cpu.md").read_text()


@pytest.mark.parametrize("flag", ["-n", "--dry-run"])
def test_a_dry_run_says_what_it_would_run_and_touches_nothing(tmp_path, capsys, flag):
    out = tmp_path / "runs"
    call = ["run", "fig09_toy", "--seeds", "0", "1", "--out", str(out), "--force", "--", flag]
    assert cli.main(call) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 and all(line.startswith("would run: fig09_toy/") for line in told)
    assert not out.exists()
