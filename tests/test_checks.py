"""What is refused before anything starts: status 2, one line that names the thing, and no kernel, no folder."""
import pytest
from PIL import Image

from advlatgan import runs
from conftest import ROOT


@pytest.fixture
def refused(monkeypatch, tmp_path, capsys):
    "refused(*args) -> the one line that `advlatgan run` answers, called in this process, where starting anything is a failure."
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ADVLATGAN_DATA", str(tmp_path))
    monkeypatch.setattr(runs, "carry_out", lambda *a: pytest.fail("it went on"))
    def call(*args):
        status, (out, err) = runs.main(["run", *map(str, args), "--out", str(tmp_path / "out")]), capsys.readouterr()
        assert status == 2 and out == "" and err.startswith("advlatgan: ") and err.count("\n") == 1, err
        assert not (tmp_path / "out").exists()
        return err.removeprefix("advlatgan: ").strip()
    return call


def pictures(folder, n=4, mode="RGB", size=(28, 28), classes=2):
    for i in range(n):
        (folder / f"class {i % classes}").mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, 20 * i if mode == "L" else (20 * i, 0, 0)).save(folder / f"class {i % classes}" / f"{i}.png")
    return folder


def test_data_that_is_not_there(refused, tmp_path, monkeypatch):
    assert refused("bench_metrics", "-p", "dataset=nope") == refused("bench_metrics", "-p", "dataset=nope", "--force")
    assert "bench_metrics: unknown image set 'nope': did you mean" in refused("bench_metrics", "-p", "dataset=nope")
    assert f"looked for {tmp_path / 'MNIST/raw'}" in refused("train_mnistcnn", "-p", "dataset=mnist")
    assert "has no split 'trian'" in refused("bench_metrics", "-p", "split=trian")
    assert "there is neither" in refused("bench_metrics", "-p", "dataset=folder:nowhere")
    monkeypatch.setenv("ADVLATGAN_DATA", str(tmp_path / "elsewhere"))
    assert f"the data root {tmp_path / 'elsewhere'} is not a folder" in refused("train_mnistcnn", "-p", "dataset=mnist")


def test_a_picture_that_cannot_be_read(refused, tmp_path):
    folder = pictures(tmp_path / "torn")
    whole = (folder / "class 1/1.png").read_bytes()
    (folder / "class 1/1.png").write_bytes(whole[:len(whole) // 2])
    assert refused("bench_metrics", "-p", "dataset=folder:torn").startswith("bench_metrics: folder:torn: cannot read class 1/1.png: ")
    (folder / "class 1/1.png").write_bytes(b"words")
    assert refused("bench_metrics", "-p", "dataset=folder:torn") == "bench_metrics: folder:torn: cannot read class 1/1.png: no picture"


def test_one_wrong_value_of_a_sweep_stops_all(refused):
    assert "'nope'" in refused("bench_metrics", "-p", "dataset=mnist5k,nope", "--seeds", 0, 1)


def test_in_a_process_of_its_own(advlatgan, tmp_path, monkeypatch):
    "As a user calls it, from a folder below the checkout; data are looked for where the notebook will run."
    monkeypatch.delenv("ADVLATGAN_DATA", raising=False)
    done = advlatgan("run", "bench_metrics", "-p", "dataset=folder:no/such", "--out", tmp_path / "out", cwd=ROOT / "nbs")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
    assert done.stderr.startswith(f"advlatgan: bench_metrics: folder:no/such: there is neither {ROOT / 'no/such'} nor {ROOT / 'data/no/such'}")


def test_what_is_finished_is_not_asked_about(checkout, monkeypatch, capsys):
    "Its data may be gone since."
    presets = checkout / "nbs/experiments/presets.yaml"
    presets.write_text(presets.read_text().replace("walk:\n", "walk:\n  check: 'data:no_such_check'\n", 1))
    monkeypatch.chdir(checkout)
    experiments = runs.find_experiments(checkout)
    [run], [above] = (runs.plan(experiments, name) for name in ("walk", "onwalk"))
    monkeypatch.setattr(runs, "carry_out", lambda *a: {"walk": "it went on"})
    assert runs.main(["run", "walk"]) == 2 and "no_such_check" in capsys.readouterr().err
    assert runs.main(["run", "onwalk"]) == 2 and "no_such_check" in capsys.readouterr().err      # a run that it needs
    folder = checkout / "data/runs" / run.folder
    folder.mkdir(parents=True)
    runs.write_json(folder / "record.json", dict(experiment="walk", params=run.params, code="", rows=[]))
    assert runs.main(["run", "onwalk"]) == 1 and "no_such_check" not in capsys.readouterr().err
    assert runs.main(["run", "walk", "--force"]) == 2 and above.needs["walk"].folder == run.folder
