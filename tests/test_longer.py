"""More steps than before: a run goes on from the shorter one, where that changes nothing."""

import json

from conftest import write_notebook

LEVEL = (
    "seed: int = 0\ntotal_steps: int = 2\ndecay: bool = False # of the learning rate",
    "import torch\nfrom advlatgan import data, nets, runs, training\n"
    "from advlatgan.methods.gan import gan\nrun = runs.Recorder(); torch.manual_seed(seed)",
    "networks = {'G': nets.ToyG(), 'D': nets.ToyD()}\n"
    "config = training.TrainConfig(\n"
    "    total_steps=total_steps, batch_size=8, z_dim=2, lr_decay=decay)\n"
    "history = training.train(networks, data.toy_mixture('ring'), gan('bce'), config,\n"
    "    log_every=1, checkpoint=run.folder / 'checkpoints')",
    "rows = [dict(steps=h['step'], loss_D=h['loss_D']) for h in history]\n"
    "run.finish(rows, data='ring')",
)
PRESETS = """
level:
  reproduces: a training
  presets: {smoke: {}}
  table: {rows: [steps], values: {loss_D: 6}}
"""


def folders(out):
    "Records by the folder of their run."
    files = out.glob("level/*/record.json")
    return {p.parent.relative_to(out).as_posix(): json.loads(p.read_text()) for p in files}


def records(out):
    "Records by length and by whether the rate falls."
    found = folders(out).values()
    return {(r["params"]["total_steps"], r["params"]["decay"]): r for r in found}


def test_a_longer_run_extends_a_shorter_one(advlatgan, preloaded, checkout):
    (checkout / "nbs/experiments/presets.yaml").write_text(PRESETS)
    write_notebook(checkout / "nbs/experiments/level.ipynb", *LEVEL)
    out = checkout / "data/runs"
    here = dict(cwd=checkout, env=preloaded)
    assert advlatgan("run", "level", "-p", "decay=false,true", **here).returncode == 0
    short = next(k for k, r in folders(out).items() if not r["params"]["decay"])

    call = ["run", "level", "-p", "total_steps=4"]
    done = advlatgan(*call, "decay=false,true", **here)
    assert done.returncode == 0, done.stderr
    assert f" goes on from {short}\n" in done.stderr
    [note] = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert "begins at step 0" in note and "its learning rate falls over total_steps" in note
    found = records(out)
    assert found[4, False]["extends"] == short and "extends" not in found[4, True]

    fresh = advlatgan(*call, "--out", checkout / "fresh", **here)
    assert fresh.returncode == 0 and "goes on" not in fresh.stderr
    in_one = records(checkout / "fresh")[4, False]
    assert in_one["rows"] == found[4, False]["rows"] and len(in_one["rows"]) == 4
    assert "extends" not in in_one


def test_where_rates_fall_it_is_asked_for(advlatgan, preloaded, checkout):
    "A run, a folder and a table of its own; the record says the course of its rates."
    (checkout / "nbs/experiments/presets.yaml").write_text(PRESETS)
    write_notebook(checkout / "nbs/experiments/level.ipynb", *LEVEL)
    out, call = checkout / "data/runs", ["run", "level", "-p", "decay=true"]
    here = dict(cwd=checkout, env=preloaded)
    early = advlatgan(*call, "total_steps=4", "--extend", **here)
    assert early.returncode == 2 and early.stderr.count("\n") == 1 and not out.exists()
    assert "--extend: " in early.stderr and "holds no finished run" in early.stderr

    for more in ([], ["total_steps=4"], ["total_steps=4", "--extend"]):
        done = advlatgan(*call, *more, **here)
        assert done.returncode == 0, done.stderr
        assert ("begins at step 0" in done.stderr) == (more == ["total_steps=4"])
    found = sorted(
        folders(out).items(), key=lambda item: ("extends" in item[1], len(item[1]["rows"]))
    )
    (short, short_record), (long, long_record), (extended, record) = found
    assert record["extends"] == short and long != extended
    assert record["course"] == "rates fell to 0 over 2 steps, then went on as those over 4"
    rows = [r["rows"] for r in (short_record, long_record, record)]
    assert rows[2][:2] == rows[0] and len(rows[2]) == 4 and rows[2][2:] != rows[1][2:]
    assert {f.name.split(".")[1][:14] for f in out.glob("level/*.md")} >= {"smoke-extended"}
    again = advlatgan(*call, "total_steps=4", "--extend", "--force", **here)
    assert f"{extended} goes on from {short}" in again.stderr
    assert folders(out)[extended]["rows"] == rows[2]
