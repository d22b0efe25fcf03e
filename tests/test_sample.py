"""`advlatgan sample`: its files, its refusals, and what a kill leaves."""

import io
import json
import time

import pytest
from PIL import Image

SPECS = {
    "toy": {"arch": "toy", "z_dim": 2, "width": 0.1},
    "images": {"arch": "sngan", "img_size": 28, "img_channels": 1, "z_dim": 4, "width": 1 / 32},
    "classes": {
        "arch": "cgan",
        "img_size": 28,
        "img_channels": 1,
        "z_dim": 4,
        "width": 1 / 32,
        "num_classes": 3,
    },
}
FILES = {
    "toy": {"points.npy", "points.csv", "points.png"},
    "images": {"grid.png", *(f"images/{i:06d}.png" for i in range(70))},
    "classes": {"grid.png", *(f"images/{'abc'[i % 3]}/{i:06d}.png" for i in range(70))},
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    "Checkpoints of untrained networks, and files that are none."
    from advlatgan import checkpoints, nets

    folder = tmp_path_factory.mktemp("shelf")
    for name, spec in SPECS.items():
        G, D = nets.build(**spec)
        state, about = {"G": G.state_dict(), "D": D.state_dict()}, {"classes": ["a", "b", "c"]}
        for step in (10, 20):
            good = checkpoints.save(folder / name, step, {"spec": spec}, state, about)
    (folder / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "foreign.safetensors").write_bytes(b"\x80\x04K\x05.")  # a pickle
    (folder / "nothing").mkdir()
    return folder


def files(folder):
    "Relative name -> content, of all files in a folder."
    found = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


@pytest.mark.parametrize("kind", FILES)
def test_files_as_promised_and_the_same_a_second_time(command, process, shelf, tmp_path, kind):
    "From a file and from its folder, here and in another process; no data set is near."
    from advlatgan.refiners import settings

    options = "--n 70 --batch-size 32 --seed 5 --refine --n-adv 3 --device cpu".split()
    from_folder = ("sample", shelf / kind, *options, "--out", tmp_path / "a")
    if kind == "classes":
        assert process(*from_folder).wait(300) == 0
    else:
        assert command(*from_folder)[0] == 0
    newest = shelf / kind / "step-00000020.safetensors"
    status, out, err = command("sample", newest, *options, "--out", tmp_path / "b")
    assert status == 0 and "70 samples of step 20" in out, err
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a.keys() == FILES[kind] | {"sample.json"} and a == b
    note = json.loads(a["sample.json"])
    assert (note["step"], note["seed"], note["n"], note["averaged"]) == (20, 5, 70, False)
    assert {**settings(n_adv=3), **note["refine"]} == note["refine"]


BAD = {
    "missing": (["{d}/nowhere", "--out", "{d}/new"], "no checkpoint at"),
    "empty folder": (["{d}/nothing", "--out", "{d}/new"], "no checkpoint at"),
    "foreign": (["{d}/foreign.safetensors", "--out", "{d}/new"], "truncated, or no checkpoint"),
    "empty file": (["{d}/empty.safetensors", "--out", "{d}/new"], "empty.safetensors is empty"),
    "truncated": (["{d}/cut.safetensors", "--out", "{d}/new"], "cut.safetensors is truncated"),
    "n": (["{d}/toy", "--n", "0", "--out", "{d}/new"], "n is 0: expected 1 to 1,000,000"),
    "too many": (
        ["{d}/images", "--n", "1000000000000", "--out", "{d}/new"],
        "n is 1,000,000,000,000: expected 1 to 1,000,000",
    ),
    "n no number": (["{d}/toy", "--n", "few", "--out", "{d}/new"], "'--n'"),
    "seed": (["{d}/toy", "--seed", str(2**63), "--out", "{d}/new"], "seed is 9223372036854775808"),
    "eps": (["{d}/toy", "--eps", "1", "--out", "{d}/new"], "add --refine"),
    "inf": (["{d}/toy", "--refine", "--eps", "inf", "--out", "{d}/new"], "eps is inf"),
    "unwritable": (["{d}/toy", "--out", "/dev/null/new"], "--out /dev/null/new cannot be written"),
    "not empty": (["{d}/toy", "--out", "{d}"], "is not empty"),
    "no out": (["{d}/toy"], "--out"),
    "device": (["{d}/toy", "--device", "abacus", "--out", "{d}/new"], "there is no such device"),
    "meta": (["{d}/toy", "--device", "meta", "--out", "{d}/new"], "there is no such device"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_call_is_one_line_and_status_2(command, shelf, what):
    argv, reason = BAD[what]
    status, out, err = command("sample", *(a.format(d=shelf) for a in argv))
    assert status == 2 and out == "" and err.count("\n") == 1 and reason in err, err
    assert not (shelf / "new").exists()


def test_killed_it_leaves_whole_pictures_and_the_same_call_takes_up_the_rest(
    command, process, shelf, tmp_path
):
    asked = ["sample", shelf / "classes", "--n", 1150, "--device", "cpu"]
    assert command(*asked, "--out", tmp_path / "whole")[0] == 0
    whole, there = files(tmp_path / "whole"), 0
    for wanted in (1, 1100):  # in the first piece, and in the second
        one = process(*asked, "--out", tmp_path / "killed")
        end = time.time() + 120
        while one.poll() is None and time.time() < end:
            there = len([*(tmp_path / "killed").glob("images/*/[0-9]*.png")])
            if there >= wanted:
                break
            time.sleep(0.02)
        assert one.poll() is None, "it ended before it was killed"
        one.kill()
        one.wait()
        left = files(tmp_path / "killed")
        assert "sample.json" not in left and "unfinished.json" in left
        pictures = {k: v for k, v in left.items() if k.endswith(".png")}
        assert all(whole[k] == v for k, v in pictures.items()), "a torn picture"
    other = command(*asked, "--seed", 1, "--out", tmp_path / "killed")
    assert other[0] == 2 and "not of this very call" in other[2]
    assert command(*asked, "--out", tmp_path / "killed")[0] == 0
    assert files(tmp_path / "killed") == whole
    assert command(*asked, "--out", tmp_path / "killed")[0] == 0  # all there


def test_samples_come_as_they_are_made(shelf):
    "The first of a million: neither latents nor samples are all made before."
    from advlatgan.sample import MOST, load_sampler

    sampler, _ = load_sampler(shelf / "images", refine={"n_adv": 1})
    assert len(next(sampler.batches(MOST))) == 128


def test_a_full_disk_is_one_line_and_status_1(command, shelf, tmp_path, monkeypatch):
    from advlatgan import sample

    def full(path, write):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(sample, "write_whole", full)
    asked = ["sample", shelf / "images", "--n", 3, "--device", "cpu", "--out", tmp_path / "out"]
    status, out, err = command(*asked)
    assert status == 1 and out == "" and err.count("\n") == 1
    assert "No space left" in err and "takes up the rest" in err
    monkeypatch.undo()
    assert command(*asked)[0] == 0 and (tmp_path / "out/sample.json").exists()


def test_home_is_understood(command, shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").symlink_to(shelf / "images")
    asked = ["sample", "~/run", "--n", 1, "--device", "cpu", "--out", "~/out"]
    assert command(*asked)[0] == 0
    assert Image.open(io.BytesIO(files(tmp_path / "out")["grid.png"])).size == (28, 28)
