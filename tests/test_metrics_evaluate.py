"""`advlatgan evaluate`: what it prints, records and refuses, and what a kill leaves behind."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advlatgan.data import image_dataset


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    "A data root with 200 digits as one folder per class: `real`, and another 200: `fake`."
    root, images = tmp_path_factory.mktemp("root"), image_dataset("mnist5k")
    for name, start in (("real", 0), ("fake", 10)):
        for i in range(start, 5000, 25):
            folder = root / name / str(images.y[i].item())
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.x[i, 0].numpy()).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    "Flat folders of random RGB pictures: five, nine, a (30) and b (40)."
    root = tmp_path_factory.mktemp("noise")
    for seed, (name, n) in enumerate({"five": 5, "nine": 9, "a": 30, "b": 40}.items()):
        rng = np.random.default_rng(seed)
        (root / name).mkdir()
        for i in range(n):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:04d}.png")
    return root


NET = ("--extractor", "mnistcnn", "--device", "cpu")


def settings(root, *more):
    return ("evaluate", root / "fake", "--data", "folder:real", "--root", root, *NET, *more)


def test_prints_and_records_every_measure(command, digits):
    names = "fid200_train kid200_train is200 pr200_train_k3 density200_train_k5,modes200"
    status, out, err = command(*settings(digits, "--per-class", "--protocols", names))
    assert status == 0, err
    record = json.loads((digits / "fake.evaluation.json").read_text())
    found = record["metrics"]
    assert found["modes_mnistcnn_200"] == 10 and found["coverage_mnistcnn_200_train_k5"] > 0.9
    assert found["fd_mnistcnn_200_train"] > 0 and len(record["per_class"]) == 10
    assert {p["n_real"] for p in record["protocols"].values()} == {200, None}
    assert record["extractor"]["sha256"] and "folder:real" in record["data"]["train"]
    assert any("covariance is singular" in w for w in record["warnings"])
    assert all(name in out for name in found if not name.endswith("_std"))
    assert "fid" not in "".join(found)


def test_a_second_call_gives_the_same_numbers_from_the_kept_statistics(command, digits):
    found = []
    for name in ("a.json", "b.json"):
        status, _, err = command(*settings(digits, "--record", digits / name))
        assert status == 0, err
        found.append(json.loads((digits / name).read_text())["metrics"])
    assert found[0] == found[1] and list((digits / "reference").glob("*.safetensors"))


WRONG = {
    "fid50k_all needs 50,000 generated images and there are 200": ["--protocols", "fid50k"],
    "pr201_train needs 201": ["--protocols", "pr201_train"],
    "unknown protocol 'fvd16'": ["--protocols", "fvd16"],
    "unknown extractor 'resnet'": ["--extractor", "resnet"],
    "unknown image set 'mnis'": ["--data", "mnis"],
    "has no split 'val'": ["--split", "val"],
    "img_size is 0": ["--img-size", "0"],
    "batch_size is 0": ["--batch-size", "0"],
    "there is no such device": ["--device", "gpu"],
    "add --refine": ["--n-adv", "3"],
    "--n, --refine and --space are for checkpoints": ["--refine"],
    "are for checkpoints": ["--n", "5"],
    "unknown range '5': known": ["--range", "5"],
    "cannot be written to": ["--record", "nowhere/r.json"],
    "Permission denied": ["--record", "/proc/self/r.json"],
    "it is a folder": ["--record", "."],
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_call_is_one_line_and_status_2(command, digits, line, monkeypatch, tmp_path):
    "Refused before anything is measured."
    from advlatgan import features

    def work(*args, **options):
        raise AssertionError("it began to work")

    if line != "batch_size is 0":  # which `features.extract` itself says
        monkeypatch.setattr(features, "extract", work)
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*settings(digits, *WRONG[line]))
    if line == "Permission denied":
        line = "cannot be written to /proc/self/r.json"
    assert status == 2 and out == "" and err.count("\n") == 1 and line in err, err
    assert [*tmp_path.iterdir()] == []


def test_inception_that_is_not_here_is_one_line(command, digits):
    status, _, err = command(*settings(digits, "--extractor", "inception", "--offline"))
    if status == 0:
        pytest.skip("the true Inception file is on this machine")
    assert status == 2 and err.count("\n") == 1 and "inception-2015-12-05.pt" in err


def test_a_kill_leaves_no_part_of_a_record_or_a_reference(command, process, digits, tmp_path):
    (tmp_path / "data").mkdir()
    data = ("--root", tmp_path / "data", "--data", digits / "real", "--record", tmp_path / "r.json")
    args = settings(digits, *data, "--batch-size", "1")
    one = process(*args)
    reference, end = tmp_path / "data/reference", time.time() + 120
    while not reference.exists() and one.poll() is None and time.time() < end:
        time.sleep(0.01)
    assert one.poll() is None, one.communicate()[1]
    one.send_signal(signal.SIGKILL)
    one.wait()
    assert not (tmp_path / "r.json").exists()
    status, _, err = command(*args)
    assert status == 0 and "made again" not in err, err
    assert json.loads((tmp_path / "r.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def trained(digits):
    "A checkpoint of random weights, at step 2, beside the digits."
    from advlatgan import checkpoints, nets

    spec = {"arch": "dcgan", "img_size": 28, "img_channels": 1, "z_dim": 4, "width": 0.0625}
    G, D = nets.build(**spec)
    state = {"G": G.state_dict(), "D": D.state_dict()}
    checkpoints.save(digits / "run", 2, {"spec": spec}, state)
    return digits / "run"


def test_a_checkpoint_is_measured_from_its_file_alone(command, digits, trained):
    "Generate, measure, record where the images come from; -z is the same call with --refine."
    asked = ("evaluate", trained, "--data", "folder:real", "--root", digits, *NET)
    found = {}
    for more in ((), ("--refine", "--n-adv", 2)):
        status, out, err = command(*asked, "--n", 50, "--protocols", "fid50", *more)
        assert status == 0, err
        record = json.loads((digits / "run.evaluation.json").read_text())
        origin = record["generator"]
        assert (origin["step"], record["fake"]["n"]) == (2, 50)
        assert (origin["refine"] or {}).get("n_adv") == (2 if more else None)
        found[more] = record["metrics"]["fd_mnistcnn_50_all"]
    assert len(set(found.values())) == 2
    status, _, err = command(*asked, "--n", 10**12)
    assert status == 2 and "n is 1,000,000,000,000: expected 1 to 1,000,000" in err


def test_what_sample_writes_can_be_measured(command, digits, trained, tmp_path):
    "Its pictures, not the overview beside them; as the real set too."
    out = tmp_path / "made"
    assert command("sample", trained, "--out", out, "--n", 30, "--device", "cpu")[0] == 0
    for pair in ((out, digits / "real"), (digits / "real", out)):
        asked = ("evaluate", pair[0], "--data", pair[1], "--root", digits, *NET)
        record = tmp_path / "r.json"
        status, _, err = command(*asked, "--protocols", "fid30", "--record", record)
        assert status == 0, err
    assert "30" in json.loads(record.read_text())["data"]["all"]
    assert (out / "grid.png").exists()


def test_batches_are_counted_by_their_images(digits):
    "In a list, in a loader; of the wrong number, before anything is measured."
    from advlatgan import evaluate, features

    fake, net = image_dataset("folder:fake", digits), features.mnistcnn()
    of = ("folder:real", net, ["is50"], None, digits)
    whole = evaluate.evaluate(fake.x[:50], *of)["metrics"]
    loader = torch.utils.data.DataLoader(fake.x[:50], 20)
    for batches in ([*fake.x[:50].split(20)], (*fake.x[:50].split(20),), loader):
        assert evaluate.evaluate(batches, *of)["metrics"] == pytest.approx(whole)
    with pytest.raises(ValueError, match="needs 50 generated images and there are 40"):
        evaluate.evaluate([*fake.x[:40].split(20)], *of)
    assert evaluate.evaluate(fake.x[:50].numpy(), *of)["metrics"] == whole
    with pytest.raises(ValueError, match="extractor is 'mnistcnn': expected one of"):
        evaluate.evaluate(fake.x, "folder:real", "mnistcnn", *of[2:])


def test_images_are_measured_as_they_are_made(trained, monkeypatch):
    "Never more than a batch of them is there."
    from advlatgan import evaluate, features, sample

    made, alive = evaluate.generated(trained, 500, batch_size=50)[0], []
    whole = sample.Sampler.decode

    def counted(*args):
        for x in whole(*args):
            alive.append(len(alive))
            yield x

    monkeypatch.setattr(sample.Sampler, "decode", counted)
    seen = [len(alive) for x in made.x for _ in [features.extract(features.mnistcnn(), x)]]
    assert seen == [*range(1, 11)]


@pytest.mark.parametrize("protocols", [(), ("--protocols", "fid30")])
def test_two_flat_folders_by_the_obvious_call(command, noise, protocols):
    asked = ("evaluate", noise / "a", "--data", noise / "b", *NET, "--root", noise)
    status, out, err = command(*asked, *protocols)
    assert status == 0, err
    record = json.loads((noise / "a.evaluation.json").read_text())
    assert record["metrics"]["fd_mnistcnn_30_all"] > 0
    assert record["data"].keys() == {"all"}  # an undivided set has one part, and says so


def test_a_divided_set_has_its_test_split_measured(command, noise, tmp_path):
    for split, name in (("train", "b"), ("test", "nine")):
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / split).symlink_to(noise / name)
    asked = ("evaluate", noise / "a", "--data", tmp_path / "set", *NET, "--root", noise)
    assert command(*asked, "--protocols", "fid30", "--record", tmp_path / "r.json")[0] == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["data"].keys() == {"test"} and "9 images" in record["data"]["test"]
    assert [*record["metrics"]] == ["fd_mnistcnn_30"]


def test_what_the_images_are_too_few_for_is_left_out(command, noise):
    for fake, real, there, gone in (
        ("five", "b", ("fd_", "kd_", "precision_", "recall_"), ("is_", "density_", "coverage_")),
        ("b", "nine", ("fd_", "kd_", "precision_", "density_mnistcnn_9_all_k5"), ("k10",)),
    ):
        asked = ("evaluate", noise / fake, "--data", noise / real, *NET, "--root", noise)
        status, out, err = command(*asked)
        assert status == 0, err
        record = json.loads((noise / f"{fake}.evaluation.json").read_text())
        names = " ".join(record["metrics"])
        assert all(name in names for name in there) and not any(name in names for name in gone)
        assert any("too few images, left out:" in w for w in record["warnings"])
        assert all(np.isfinite(v) for v in record["metrics"].values())


def test_numbers_are_not_lost(command, digits, monkeypatch):
    "A folder called `.` has a name; a record that fails after all is told after the numbers."
    from advlatgan import evaluate

    monkeypatch.chdir(digits / "fake")
    asked = ("--data", digits / "real", "--root", digits, *NET, "--protocols", "fid200")
    status, out, err = command("evaluate", ".", *asked)
    assert status == 0 and (digits / "fake.evaluation.json").exists(), err

    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(evaluate, "write_json", full)
    status, out, err = command("evaluate", ".", *asked)
    assert status == 1 and "fd_mnistcnn_200_all" in out and "recorded" not in out
    assert err.count("\n") == 1 and "No space left" in err


def test_bytes_and_both_kinds_of_floats(command, digits, noise, tmp_path):
    "[0, 1] is doubted, and right once it is said."
    folder = noise / "a"
    x = np.stack([np.asarray(Image.open(p)) for p in sorted(folder.iterdir())])
    kinds = {"u8": x, "f11": x / np.float32(127.5) - 1, "f01": x / np.float32(255)}
    found, said = {}, {}
    for name, range_ in (("u8", ()), ("f11", ()), ("f01", ()), ("f01", ("--range", "0,1"))):
        np.save(tmp_path / f"{name}.npy", kinds[name])
        asked = ("evaluate", tmp_path / f"{name}.npy", "--data", noise / "b", "--root", noise)
        status, out, err = command(*asked, *NET, "--protocols", "fid30", *range_)
        assert status == 0, err
        record = json.loads((tmp_path / f"{name}.npy.evaluation.json").read_text())
        [found[name, range_]] = record["metrics"].values()
        said[name, range_] = "--range 0,1" in out
    right = found["u8", ()]
    assert found["f11", ()] == pytest.approx(right) == found["f01", ("--range", "0,1")]
    assert abs(found["f01", ()] / right - 1) > 0.5
    assert [k for k, v in said.items() if v] == [("f01", ())]


def test_digits_saved_as_rgb_are_grey(command, digits, tmp_path):
    "`save_image` writes grey as RGB."
    from torchvision.utils import save_image

    for i, path in enumerate(sorted((digits / "fake").rglob("*.png"))):
        grey = torch.from_numpy(np.array(Image.open(path)))
        (tmp_path / "saved").mkdir(exist_ok=True)
        save_image(grey[None] / 255, tmp_path / "saved" / f"{i}.png")
    found = []
    for folder in (digits / "fake", tmp_path / "saved"):
        asked = ("evaluate", folder, "--data", "mnist5k", "--root", digits, *NET)
        record = tmp_path / "r.json"
        status, _, err = command(*asked, "--protocols", "fid200", "--record", record)
        assert status == 0, err
        found.append(json.loads(record.read_text())["metrics"])
    assert found[0].keys() == found[1].keys() == {"fd_mnistcnn_200_train"}
    assert found[0] == pytest.approx(found[1])


def test_paths_mean_the_same_however_they_are_written(command, noise, tmp_path, monkeypatch):
    "And where there is no data root, none is made."
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(noise / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ADVLATGAN_DATA", raising=False)
    found = set()
    for data in ("b", "./b", "~/b", "folder:b", "folder:~/b", f"folder:{tmp_path}/b"):
        asked = ("evaluate", "~/a", "--data", data, *NET, "--protocols", "fid30")
        status, _, err = command(*asked, "--record", "~/r.json")
        assert status == 0, err
        found |= set(json.loads(Path("r.json").read_text())["metrics"].values())
    assert len(found) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "r.json"]


def test_any_terminal_shows_the_numbers(process, noise):
    "Also one that knows ASCII alone."
    asked = ("evaluate", noise / "a", "--data", noise / "b", *NET, "--root", noise)
    os.environ["PYTHONIOENCODING"] = "ascii"
    try:
        one = process(*asked, "--protocols", "kid30")
    finally:
        del os.environ["PYTHONIOENCODING"]
    out, err = one.communicate(timeout=300)
    assert one.returncode == 0 and "kd_mnistcnn_30_all" in out, err


def test_odd_arrays_are_one_line(command, noise, tmp_path):
    odd = {
        "text.npy": b"no array",
        "empty.npz": b"PK\x05\x06" + bytes(18),
        "pickle.pt": b"\x80\x04K\x05.",
        "cut.pt": b"PK\x03\x04",
    }
    for name, content in odd.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "thin.npy", np.zeros((3, 1, 0, 4), np.uint8))
    np.save(tmp_path / "none.npy", np.zeros((0, 1, 4, 4), np.uint8))
    np.save(tmp_path / "five.npy", np.zeros((3, 5, 4, 7), np.uint8))
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "int.npy", np.zeros((3, 1, 4, 4), np.int32))
    torch.save({"x": torch.zeros(3, 1, 4, 4)}, tmp_path / "dict.pt")
    for file in sorted(tmp_path.iterdir()):
        status, out, err = command("evaluate", file, "--data", noise / "b", *NET, "--root", noise)
        assert status == 2 and out == "" and err.count("\n") == 1, (file.name, err)
        assert "images" in err, (file.name, err)


def test_a_generator_that_diverged_is_one_line(command, noise, tmp_path):
    np.save(tmp_path / "nan.npy", np.full((20, 3, 32, 32), np.nan, np.float32))
    asked = ("evaluate", tmp_path / "nan.npy", "--data", noise / "b", *NET, "--root", noise)
    status, out, err = command(*asked)
    assert status == 2 and err.count("\n") == 1 and "nan" in err, err
