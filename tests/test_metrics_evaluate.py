"""`advlatgan evaluate` as a process: what it prints, what it records, how it refuses, and what a kill leaves behind."""

import json
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from advlatgan.data import image_dataset

EVALUATE = "import argparse, sys; from advlatgan import evaluate as e; p = argparse.ArgumentParser(); e.add_arguments(p); sys.exit(e.main(p.parse_args()))"


def call(*args):
    return subprocess.run(
        [sys.executable, "-c", EVALUATE, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


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


def settings(root, *more):
    return (
        root / "fake",
        "--data",
        "folder:real",
        "--root",
        root,
        "--extractor",
        "mnistcnn",
        "--device",
        "cpu",
        "--split",
        "train",
        *more,
    )


def test_prints_and_records_every_measure(digits):
    done = call(
        *settings(
            digits,
            "--per-class",
            "--protocols",
            "fid200_train",
            "kid200_train",
            "is200",
            "pr200_train_k3",
            "density200_train_k5",
            "modes200",
        )
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((digits / "fake.evaluation.json").read_text())
    found = record["metrics"]
    assert (
        found["modes_mnistcnn_200"] == 10
        and found["coverage_mnistcnn_200_train_k5"] > 0.9
        and found["fd_mnistcnn_200_train"] > 0
    )
    assert {p["n_real"] for p in record["protocols"].values()} == {200, None} and len(
        record["per_class"]
    ) == 10
    assert (
        record["extractor"]["sha256"]
        and "folder:real" in record["data"]["train"]
        and any("covariance is singular" in w for w in record["warnings"])
    )
    assert all(
        name in done.stdout for name in found if not name.endswith("_std")
    ) and "fid" not in "".join(found)


def test_a_second_call_gives_the_same_numbers_from_the_kept_statistics(digits):
    first, second = (
        call(*settings(digits, "--record", digits / name)) for name in ("a.json", "b.json")
    )
    assert first.returncode == second.returncode == 0, first.stderr
    a, b = (json.loads((digits / name).read_text())["metrics"] for name in ("a.json", "b.json"))
    assert a == b and list((digits / "reference").glob("*.safetensors"))


@pytest.mark.parametrize(
    "args, line",
    [
        (
            ["--protocols", "fid50k_train"],
            "fid50k_train needs 50,000 generated images and there are 200",
        ),
        (["--protocols", "fvd16"], "unknown protocol 'fvd16'"),
        (["--extractor", "resnet"], "unknown extractor 'resnet'"),
        (["--extractor", "inception", "--offline"], "inception-2015-12-05.pt is not in"),
        (["--data", "mnis"], "unknown image set 'mnis'"),
        (["--img-size", "0"], "img_size is 0"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--device", "gpu"], "--device gpu: there is no such device here"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(digits, args, line):
    done = call(*settings(digits, *args))
    if "inception" in args and done.returncode == 0:
        pytest.skip("the true Inception file is on this machine")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and line in done.stderr, (
        done.stderr
    )


def test_a_kill_leaves_no_part_of_a_record_or_a_reference(digits, tmp_path):
    (tmp_path / "data").mkdir()
    args = settings(
        digits,
        "--root",
        tmp_path / "data",
        "--data",
        f"folder:{digits / 'real'}",
        "--record",
        tmp_path / "r.json",
        "--batch-size",
        "1",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", EVALUATE, *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    reference, end = tmp_path / "data/reference", time.time() + 120
    while not reference.exists() and process.poll() is None and time.time() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "r.json").exists()
    done = call(*args)
    assert (
        done.returncode == 0
        and "made again" not in done.stderr
        and json.loads((tmp_path / "r.json").read_text())["metrics"]
    ), done.stderr


def test_a_checkpoint_is_measured_from_its_file_alone(digits, advlatgan):
    "Through the command itself: generate, measure, record where the images come from; -z is the same call with --refine."
    from advlatgan import nets, training

    spec = dict(arch="dcgan", img_size=28, img_channels=1, z_dim=4, width=0.0625)
    G, D = nets.build(**spec)
    config = training.TrainConfig(total_steps=2, batch_size=16, z_dim=4)
    training.train(
        G,
        D,
        image_dataset("mnist5k").without_labels(),
        config,
        checkpoint=digits / "run",
        spec=spec,
    )
    asked = (
        "evaluate",
        digits / "run",
        "--data",
        "folder:real",
        "--root",
        digits,
        "--extractor",
        "mnistcnn",
        "--device",
        "cpu",
        "--n",
        50,
        "--protocols",
        "fid50_train",
    )
    found = {}
    for more in ((), ("--refine",)):
        done = advlatgan(*asked, *more)
        assert done.returncode == 0, done.stderr
        record = json.loads((digits / "run.evaluation.json").read_text())
        assert (
            record["generator"]["step"] == 2
            and record["fake"]["n"] == 50
            and bool(record["generator"]["refine"]) == bool(more)
        )
        found[more] = record["metrics"]["fd_mnistcnn_50_train"]
    assert found[()] != found["--refine",]
    assert (
        advlatgan("evaluate", digits / "fake", *asked[2:]).returncode == 2
    )  # --n with images that are there already
