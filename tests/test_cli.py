"""The command line, in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT


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


def test_needed_runs_come_first(advlatgan, checkout):
    done = advlatgan("run", "onwalk", "--seeds", 3, cwd=checkout)
    assert done.returncode == 0, done.stderr
    found = {r["experiment"]: r for r in records(checkout / "data/runs").values()}
    assert found["walk"]["params"]["seed"] == 3
    assert found["onwalk"]["rows"][0]["score"] == 2 * found["walk"]["rows"][0]["score"]


def test_by_hand_a_needed_run_is_made_at_the_defaults(checkout):
    "A notebook opened in Jupyter that says its name, twice: the second time the run is there."
    code = "import os; from advlatgan.runs import Recorder; f = Recorder('onwalk').need('walk') / 'record.json'; print(os.stat(f).st_mtime_ns, f)"
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
    [line] = [l for l in done.stderr.splitlines() if l.startswith("failed:")]
    assert f"broken/{how}-s0-" in line and reason in line and "notebook.ipynb" in line
    found = records(checkout / "data/runs")
    assert not any(r["experiment"] == "broken" for r in found.values())
    assert ("| plain |" in done.stdout) == (how == "error")  # what could be done beside it is done


BAD = {
    ("run", "wal"): "did you mean 'walk'?",
    ("run", "walk", "--preset", "cup"): "did you mean 'cpu'?",
    ("run", "walk", "-p", "stepz=3"): "did you mean 'steps'?",
    ("run", "walk", "-p", "steps=few"): "expected int",
    ("run", "walk", "-p", "steps=2.5"): "expected int",
    ("run", "walk", "-p", "pause=-1"): "expected >= 0",
    ("run", "walk", "-p", "kind=plane"): "did you mean 'plain'?",
    ("run", "walk", "-p", "steps"): "expected KEY=VALUE",
    ("run", "walk", "--seeds", "one"): "invalid int value: 'one'",
    ("run", "walk", "--seeds", "-3"): "expected 0 or more",
    ("run", "walk", "--jobs", "0"): "expected 1 or more",
    ("run", "walk", "--out", "/dev/null/runs"): "cannot be written",
    ("run",): "required",
    ("publish", "wlak"): "did you mean 'walk'?",
    ("report", "wlak"): "did you mean 'walk'?",
    ("fly",): "invalid choice",
}


@pytest.mark.parametrize("call", BAD, ids=" ".join)
def test_a_wrong_call_is_one_line_and_status_2(advlatgan, checkout, call):
    done = advlatgan(*call, cwd=checkout)
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr.startswith("advlatgan: ")
        and done.stderr.count("\n") == 1
        and BAD[call] in done.stderr
    )
    assert not (checkout / "data").exists()


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
    assert (
        done.returncode == 2
        and "0 cells tagged 'parameters'" in done.stderr
        and not (checkout / "data").exists()
    )


def test_outside_a_checkout_run_says_so(tmp_path):
    "The installed package, not the editable one, is what a user outside a checkout has."
    target = tmp_path / "site/advlatgan"
    target.mkdir(parents=True)
    for path in (ROOT / "advlatgan").glob("*.py"):
        (target / path.name).write_text(path.read_text())
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from advlatgan.runs import main; sys.exit(main(['run', 'fig09_toy']))",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "inside" in done.stderr


def _alive(marker):
    "Command lines of live processes that mention `marker`."
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if marker in line:
            found.append(line)
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_killed_in_mid_run_it_takes_up_again(advlatgan, checkout):
    out, calm = checkout / "killed", checkout / "calm"
    call = ["run", "walk", "--preset", "cpu", "--jobs", "1", "--out"]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("advlatgan"), *call, out],
        cwd=checkout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):  # until one run is finished and the next is under way
        if len(records(out)) == 1 and list(out.glob("walk/*/progress.json")):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the first run never finished")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    [first] = out.glob("walk/*/record.json")
    stamp = first.stat().st_mtime_ns
    for _ in range(50):  # what it had started ends with it
        if not _alive(str(out)):
            break
        time.sleep(0.1)
    assert not _alive(str(out)) and len(records(out)) == 1
    again = advlatgan(*call, out, cwd=checkout)
    assert again.returncode == 0, again.stderr
    assert first.stat().st_mtime_ns == stamp  # the finished one was kept
    undisturbed = advlatgan(*call, calm, cwd=checkout)
    assert undisturbed.returncode == 0, undisturbed.stderr
    table = lambda done: [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert table(again) == table(undisturbed) and len(table(again)) == 3
    assert {k: r["rows"] for k, r in records(out).items()} == {
        k: r["rows"] for k, r in records(calm).items()
    }


def test_two_commands_do_not_write_to_one_folder(checkout, advlatgan):
    out = checkout / "out"
    call = ["run", "walk", "-p", "steps=200", "pause=0.1", "--out", out]
    first = subprocess.Popen(
        [Path(sys.executable).with_name("advlatgan"), *map(str, call)],
        cwd=checkout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            if list(out.glob("walk/*/progress.json")):
                break
            time.sleep(0.1)
        second = advlatgan("run", "walk", "--out", out, cwd=checkout)
        assert second.returncode == 2 and "another 'advlatgan run'" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 130


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
