"""What is refused before anything starts: status 2, one line, no kernel, no folder."""

import pytest
from conftest import ROOT
from PIL import Image

from advlatgan import checks, features, runs
from advlatgan.files import write_json
from advlatgan.runs import cli


@pytest.fixture
def refused(monkeypatch, tmp_path, capsys):
    "refused(*args) -> the line that `advlatgan run` answers; starting anything is a failure."
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ADVLATGAN_DATA", str(tmp_path))
    monkeypatch.setattr(cli, "carry_out", lambda *a: pytest.fail("it went on"))

    def call(*args):
        status, (out, err) = (
            cli.main(["run", *map(str, args), "--out", str(tmp_path / "out")]),
            capsys.readouterr(),
        )
        assert (
            status == 2 and out == "" and err.startswith("advlatgan: ") and err.count("\n") == 1
        ), err
        assert not (tmp_path / "out").exists()
        return err.removeprefix("advlatgan: ").strip()

    return call


def pictures(folder, n=4, mode="RGB", size=(28, 28), classes=2, first=0):
    for i in range(first, first + n):
        place = folder / f"class {i % classes}" if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, 20 * i if mode == "L" else (20 * i, 0, 0)).save(place / f"{i}.png")
    return folder


def test_data_that_is_not_there(refused, tmp_path, monkeypatch):
    assert refused("bench_metrics", "-p", "dataset=nope") == refused(
        "bench_metrics", "-p", "dataset=nope", "--force"
    )
    assert "bench_metrics: unknown image set 'nope': known:" in refused(
        "bench_metrics", "-p", "dataset=nope"
    )
    assert f"looked for {tmp_path / 'MNIST/raw'}" in refused(
        "train_mnistcnn", "-p", "dataset=mnist"
    )
    assert "has no split 'trian'" in refused("bench_metrics", "-p", "split=trian")
    assert "there is no " in refused("bench_metrics", "-p", "dataset=folder:nowhere")
    monkeypatch.setenv("ADVLATGAN_DATA", str(tmp_path / "elsewhere"))
    assert f"the data root {tmp_path / 'elsewhere'} is not a folder" in refused(
        "train_mnistcnn", "-p", "dataset=mnist"
    )


def test_a_picture_that_cannot_be_read(refused, tmp_path):
    folder = pictures(tmp_path / "torn")
    whole = (folder / "class 1/1.png").read_bytes()
    (folder / "class 1/1.png").write_bytes(whole[: len(whole) // 2])
    assert refused("bench_metrics", "-p", "dataset=folder:torn").startswith(
        "bench_metrics: folder:torn: cannot read class 1/1.png: "
    )
    (folder / "class 1/1.png").write_bytes(b"words")
    assert (
        refused("bench_metrics", "-p", "dataset=folder:torn")
        == "bench_metrics: folder:torn: cannot read class 1/1.png: no picture"
    )


WRONG = {  # arguments of `advlatgan run train_images -p` -> what the answer says
    "dataset=minst": "unknown image set 'minst': did you mean 'mnist'?",
    "dataset=mnist": "mnist is not there: looked for",
    "dataset=folder:torn": "folder:torn: cannot read class 1/1.png: no picture",
    "dataset=folder:sizes": "class 0/0.png (28 × 28), class 1/9.png (32 × 28): pass img_size",
    "dataset=folder:channels": "class 0/0.png (3 channels), class 1/9.png (1 channels)",
    "dataset=folder:wide": "40 × 28: the networks make square ones, set img_size, for example 40",
    "img_size=30": "img_size is 30: expected a multiple of 4 from 16",
    "dataset=folder:small batch_size=13": "folder:small has 12 images, choose 1 to 12",
    "dataset=folder:few batch_size=2": "4 images: to measure against it takes 6 or more",
    "dataset=folder:flat backbone=cgan batch_size=2": "folder:flat has no labels",
    "dataset=folder:split batch_size=2 real_split=test": "(3, 32, 32), train of (3, 28, 28)",
    "split=test": "mnist5k has no split 'test'",
    "real_split=test": "mnist5k has no split 'test'",
    "backbone=sngn": "did you mean 'sngan'?",
    "method=qau": "did you mean 'qua'?",
    "n_dis=0": "parameter 'n_dis' is '0': expected greater than or equal to 1",
    "batch_size=0": "parameter 'batch_size' is '0': expected greater than or equal to 1",
    "eps=-0.1": "parameter 'eps' is '-0.1': expected greater than or equal to 0",
    "n_adv=-1": "parameter 'n_adv' is '-1': expected greater than or equal to 0",
    "method=div pair_sigma=0": "sigma and offset are 0",
    "device=cuda:99": "device cuda:99: there is no such device here",
    "device=tpu": "device tpu: there is no such device here",
    "method=qua stats=train": "parameter 'stats' is 'train'",
}


@pytest.mark.parametrize("call", WRONG)
def test_a_training_on_images_that_cannot_be(refused, tmp_path, call):
    if "torn" in call:
        (pictures(tmp_path / "torn") / "class 1/1.png").write_bytes(b"words")
    for name, extra in (("sizes", dict(size=(32, 28))), ("channels", dict(mode="L"))):
        if name in call:
            pictures(tmp_path / name, 9)
            pictures(tmp_path / name, 1, first=9, **extra)
    for name, options in dict(
        wide=dict(size=(40, 28)), small=dict(n=12), few={}, flat=dict(classes=0)
    ).items():
        if name in call:
            pictures(tmp_path / name, **options)
    if "folder:split" in call:
        pictures(tmp_path / "split/train")
        pictures(tmp_path / "split/test", size=(32, 32))
    assert WRONG[call] in refused("train_images", "-p", *call.split())


def test_an_extractor_that_is_not_there(refused, monkeypatch):
    "Found before the training, not after it."

    def gone(name):
        raise FileNotFoundError(f"{name} is nowhere:\nget it")

    monkeypatch.setattr(features, "load_extractor", gone)
    checks._extractor_there.cache_clear()
    assert (
        refused("train_images", "-p", "extractor=inception")
        == "train_images: inception is nowhere: get it"
    )


def test_one_wrong_value_of_a_sweep_stops_all(refused):
    assert "'nope'" in refused("bench_metrics", "-p", "dataset=mnist5k,nope", "--seeds", 0, 1)


def test_in_a_process_of_its_own(advlatgan, tmp_path, monkeypatch):
    "As a user calls it, from a folder below; data are looked for where the notebook will run."
    monkeypatch.delenv("ADVLATGAN_DATA", raising=False)
    done = advlatgan(
        "run",
        "bench_metrics",
        "-p",
        "dataset=folder:no/such",
        "--out",
        tmp_path / "out",
        cwd=ROOT / "nbs",
    )
    assert (
        done.returncode == 2
        and done.stdout == ""
        and done.stderr.count("\n") == 1
        and not (tmp_path / "out").exists()
    )
    assert done.stderr.startswith(
        "advlatgan: bench_metrics: folder:no/such: "
        f"there is no {ROOT / 'no/such'} and no {ROOT / 'data/no/such'}"
    )


def test_what_is_finished_is_not_asked_about(checkout, monkeypatch, capsys):
    "Its data may be gone since."
    presets = checkout / "nbs/experiments/presets.yaml"
    presets.write_text(
        presets.read_text().replace("walk:\n", "walk:\n  check: 'data:no_such_check'\n", 1)
    )
    monkeypatch.chdir(checkout)
    experiments = runs.find_experiments(checkout)
    [run], [above] = (runs.plan(experiments, name) for name in ("walk", "onwalk"))
    monkeypatch.setattr(cli, "carry_out", lambda *a: {"walk": "it went on"})
    assert cli.main(["run", "walk"]) == 2 and "no_such_check" in capsys.readouterr().err
    assert (
        cli.main(["run", "onwalk"]) == 2 and "no_such_check" in capsys.readouterr().err
    )  # a run that it needs
    folder = checkout / "data/runs" / run.folder
    folder.mkdir(parents=True)
    record = dict(experiment="walk", params=run.params, rows=[], data="none", device="cpu")
    write_json(folder / "record.json", record | dict(versions={}, commit="", code=""))
    assert cli.main(["run", "onwalk"]) == 1 and "no_such_check" not in capsys.readouterr().err
    assert cli.main(["run", "walk", "--force"]) == 2 and above.needs["walk"].folder == run.folder


def test_a_mixture_that_could_not_end(refused):
    few = "pgm_images", "-p", "n_train=100"
    assert "num_partitions is 101: expected 100 at most" in refused(*few, "num_partitions=101")
    assert "neighbours is 100: expected 99 at most" in refused(*few, "neighbours=100")
    assert "the pack, divides" in refused(*few, "method=PacGAN 3", "batch_size=20")
    assert "guide_least is 7" in refused(*few, "guide_least=7")
    assert "PGMGAN" in refused(*few, "method=PGMGAM")
