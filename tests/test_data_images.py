"""torchvision's readers on small archives in their true formats; decoding in several processes."""

import hashlib
import os
import pickle
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as tv

from advlatgan.data import ImageData, image_dataset, splits, stack, to_uint8

rng = np.random.default_rng(0)


def pixels(*shape):
    return rng.integers(0, 256, shape, np.uint8)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def mnist(tmp_path):
    "idx files: big-endian header, then bytes; 12 training digits, 4 test digits."
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    made = {}
    for split, prefix, n in (("train", "train", 12), ("test", "t10k", 4)):
        x, y = made[split] = pixels(n, 28, 28), np.arange(n, dtype=np.uint8) % 10
        (tmp_path / f"MNIST/raw/{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, n, 28, 28) + x.tobytes()
        )
        (tmp_path / f"MNIST/raw/{prefix}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2i", 2049, n) + y.tobytes()
        )
    return tmp_path, made


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    "Five pickled batches of 3 images, one of test, the classes; torchvision is told their sums."
    folder = tmp_path / tv.CIFAR10.base_folder
    folder.mkdir()
    made = {}
    for file, _ in tv.CIFAR10.train_list + tv.CIFAR10.test_list:
        labels = [int(rng.integers(10)) for _ in range(3)]
        made[file] = {"data": pixels(3, 3072), "labels": labels}
        (folder / file).write_bytes(pickle.dumps(made[file]))
    (folder / "batches.meta").write_bytes(
        pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    )
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(
            tv.CIFAR10, part, [[f, md5(folder / f)] for f, _ in getattr(tv.CIFAR10, part)]
        )
    monkeypatch.setattr(tv.CIFAR10, "meta", tv.CIFAR10.meta | {"md5": md5(folder / "batches.meta")})
    return tmp_path, made


@pytest.fixture
def stl10(tmp_path, monkeypatch):
    "Columns first, labels from 1; 4 labelled, 3 test and 5 unlabelled images."
    folder = tmp_path / tv.STL10.base_folder
    folder.mkdir()
    made = {name: pixels(n, 3, 96, 96) for name, n in (("train", 4), ("test", 3), ("unlabeled", 5))}
    for name, x in made.items():
        (folder / f"{name}_X.bin").write_bytes(x.transpose(0, 1, 3, 2).tobytes())
    for name in ("train", "test"):
        (folder / f"{name}_y.bin").write_bytes(bytes(range(1, len(made[name]) + 1)))
    (folder / tv.STL10.class_names_file).write_text("\n".join(f"class {i}" for i in range(10)))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(
            tv.STL10, part, [[f, md5(folder / f)] for f, _ in getattr(tv.STL10, part)]
        )
    return tmp_path, made


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    "Six aligned faces, two in each split, and the five text files beside them."
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    for i, name in enumerate(names):
        Image.new("RGB", (178, 218), (80 * (i % 3), 0, 0)).save(folder / "img_align_celeba" / name)
    rows = {
        "list_attr_celeba": "1",
        "identity_CelebA": "7",
        "list_bbox_celeba": "1 2 3 4",
        "list_landmarks_align_celeba": "5 6",
    }
    for file, row in rows.items():
        head = "" if file.startswith("identity") else "6\nheader\n"
        (folder / f"{file}.txt").write_text(head + "".join(f"{n} {row}\n" for n in names))
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{n} {i % 3}\n" for i, n in enumerate(names))
    )
    sums = [(i, md5(folder / f) if f.endswith("txt") else m, f) for i, m, f in tv.CelebA.file_list]
    monkeypatch.setattr(tv.CelebA, "file_list", sums)
    return tmp_path


@pytest.fixture
def imagenet(tmp_path):
    "Two classes of 2 validation pictures of different sizes, unpacked, and the list of classes."
    for k, wnid in enumerate(("n01440764", "n01443537")):
        (tmp_path / "imagenet/val" / wnid).mkdir(parents=True)
        for i in range(2):
            Image.new("L" if i else "RGB", (30 + 9 * i, 20)).save(
                tmp_path / f"imagenet/val/{wnid}/{k}{i}.JPEG"
            )
    torch.save(
        ({"n01440764": ("tench",), "n01443537": ("goldfish",)}, []), tmp_path / "imagenet/meta.bin"
    )
    return tmp_path


def test_mnist(mnist):
    root, made = mnist
    for split, (x, y) in made.items():
        data = image_dataset("mnist", root, split)
        assert torch.equal(data.x, torch.from_numpy(x)[:, None]) and torch.equal(
            data.y, torch.from_numpy(y).long()
        )
        assert data.num_classes == 10 and data.split == split
    assert image_dataset("mnist", root, img_size=32).x.shape == (12, 1, 32, 32)


def shows(image, label, made):
    "Whether each channel of a stacked image shows the digit that its label names."
    return all(
        any(torch.equal(channel, torch.from_numpy(x)) and y == digit for x, y in zip(*made))
        for channel, digit in zip(image, (label // 100, label // 10 % 10, label % 10))
    )


def test_stacked_mnist_is_fixed_triples_of_the_split(mnist):
    root, made = mnist
    data = image_dataset("stacked-mnist", root)
    assert data.x.shape == (100_000, 3, 28, 28) and data.num_classes == 1000
    assert all(shows(data.x[i], data.y[i], made["train"]) for i in (0, 99_999))
    assert image_dataset("stacked-mnist", root).identity == data.identity
    assert image_dataset("stacked-mnist", root, "test").identity != data.identity


PROTOCOLS = {  # digits of 12 + 4, pixels, triples
    "smnist_veegan": (16, 28, 128_000),
    "smnist_unrolled": (12, 28, 60_000),
    "smnist_pgmgan": (12, 32, 100_000),
    "smnist_ivgan": (12, 64, 60_000),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_stacked_mnist_by_a_papers_protocol(mnist, name):
    root, made = mnist
    n_digits, size, n = PROTOCOLS[name]
    data = image_dataset(name, root)
    assert data.x.shape == (n, 3, size, size) and len(data.x.digits) == n_digits
    assert data.num_classes == 1000 and data.x.nbytes < data.x[:1].nbytes * n / 20
    x, y = next(data.batches(50, torch.Generator().manual_seed(0)))
    assert x.shape == (50, 3, size, size) and x.min() >= -1 and x.max() <= 1
    if size == 28:
        both = [np.concatenate(parts) for parts in zip(made["train"], made["test"])]
        x = to_uint8(x)
        assert all(shows(x[i], y[i], both) for i in range(50))
    if name == "smnist_veegan":
        with pytest.raises(ValueError, match=r"^smnist_veegan has no split 'test': choose from"):
            image_dataset(name, root, "test")
    else:
        assert len(image_dataset(name, root, "test").x.digits) == 4


def test_stacked_mnist_refuses_what_is_no_digits(cifar10):
    root, _ = cifar10
    with pytest.raises(ValueError, match=r"^cifar10 train is no set of digits \(3 channels"):
        image_dataset("smnist_pgmgan:cifar10", root)


def test_cifar10(cifar10):
    root, made = cifar10
    batches = [made[f] for f, _ in tv.CIFAR10.train_list]
    data = image_dataset("cifar10", root)
    assert torch.equal(
        data.x, torch.from_numpy(np.concatenate([b["data"] for b in batches])).view(15, 3, 32, 32)
    )
    assert (
        data.y.tolist() == [y for b in batches for y in b["labels"]]
        and data.classes[3] == "class 3"
    )
    assert len(image_dataset("cifar10", root, "test")) == 3


def test_a_damaged_cifar10_is_refused_and_named(cifar10):
    root, _ = cifar10
    batch = root / tv.CIFAR10.base_folder / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(
        FileNotFoundError,
        match=r"^cifar10 train in .* is damaged or not complete .*download=True\) fetches it$",
    ):
        image_dataset("cifar10", root)


def test_stl10(stl10):
    root, made = stl10
    data = image_dataset("stl10", root)
    assert torch.equal(data.x, torch.from_numpy(made["train"])) and data.y.tolist() == [0, 1, 2, 3]
    assert image_dataset("stl10", root, "unlabeled", 48).x.shape == (5, 3, 48, 48)
    both = image_dataset("stl10", root, "train+unlabeled")
    assert len(both) == 9 and both.y is None and both.num_classes == 0


def test_celeba_is_squeezed_not_cropped(celeba):
    assert image_dataset("celeba", celeba, "all").x.shape == (6, 3, 218, 178)
    small = image_dataset("celeba", celeba, "valid", 64)
    assert (
        small.x.shape == (2, 3, 64, 64)
        and small.y is None
        and abs(int(small.x[0, 0].max()) - 80) < 4
    )


def test_imagenet(imagenet):
    data = image_dataset("imagenet", imagenet, "val", 16)
    assert (
        data.x.shape == (4, 3, 16, 16) and data.y.tolist() == [0, 0, 1, 1] and data.num_classes == 2
    )


@pytest.mark.parametrize("damage", [b"", b"no picture", "cut"])
def test_an_unreadable_picture_of_a_known_set_is_named(celeba, imagenet, damage):
    face, tench = (
        celeba / "celeba/img_align_celeba/000004.jpg",
        imagenet / "imagenet/val/n01440764/01.JPEG",
    )
    for file in (face, tench):
        file.write_bytes(file.read_bytes()[:-100] if damage == "cut" else damage)
    with pytest.raises(ValueError, match=r"^celeba: cannot read 000004.jpg: [^\n]*$"):
        image_dataset("celeba", celeba, "all", 64)
    with pytest.raises(ValueError, match=rf"^imagenet: cannot read {tench}: [^\n]*$"):
        image_dataset("imagenet", imagenet, "val", 16)


def test_lsun_church(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    picture = tmp_path / "a.webp"
    with (
        lmdb.open(str(tmp_path / "church_outdoor_val_lmdb"), map_size=2**20) as env,
        env.begin(write=True) as txn,
    ):
        for i in range(3):
            Image.new("RGB", (40 + i, 32), (0, 60 * i, 0)).save(picture, lossless=True)
            txn.put(f"{i}".encode(), picture.read_bytes())
    data = image_dataset("lsun-church", tmp_path, "val", 16)
    assert data.y is None and data.x[:, 1].amax((1, 2)).tolist() == [0, 60, 120]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "stl10"])
def test_download_is_asked_for_only_if_nothing_is_there(name, tmp_path, monkeypatch):
    asked = []

    def download(self):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr(
        {"mnist": tv.MNIST, "cifar10": tv.CIFAR10, "stl10": tv.STL10}[name], "download", download
    )
    with pytest.raises(FileNotFoundError, match="looked for"):
        image_dataset(name, tmp_path)
    assert not asked
    with pytest.raises(FileNotFoundError, match="no network"):
        image_dataset(name, tmp_path, download=True)
    assert asked


@pytest.fixture
def many(tmp_path):
    "1,500 pictures: enough that several processes share the work."
    for i in range(1500):
        folder = tmp_path / "many" / f"class {i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(4, 4, 3)).save(folder / f"{i:04d}.png")
    return tmp_path


def test_many_pictures_keep_their_order(many):
    data = image_dataset("folder:many", many)
    files = sorted((many / "many").rglob("*.png"))
    want = torch.from_numpy(np.stack([np.asarray(Image.open(f)) for f in files])).permute(
        0, 3, 1, 2
    )
    assert torch.equal(data.x, want) and torch.bincount(data.y).tolist() == [500] * 3


def test_an_unreadable_picture_among_many_is_one_line(many):
    (many / "many/class 1/0001.png").write_bytes(b"no picture")
    with pytest.raises(ValueError) as e:
        image_dataset("folder:many", many)
    assert str(e.value) == "folder:many: cannot read class 1/0001.png: no picture"
    assert not list((many / "decoded").iterdir())


def test_two_processes_may_decode_at_once(many):
    read = f"image_dataset('folder:many', {str(many)!r})"
    call = f"from advlatgan.data import image_dataset; print({read}.identity)"
    both = [
        subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = {p.communicate()[0].strip() for p in both}
    assert said == {image_dataset("folder:many", many).identity}
    assert len(list((many / "decoded").iterdir())) == 1


def test_a_killed_decoder_leaves_nothing_that_is_taken_for_a_set(many):
    call = f"from advlatgan.data import image_dataset as d; d('folder:many', {str(many)!r})"
    child = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
    while not (many / "decoded").exists():
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert torch.bincount(image_dataset("folder:many", many).y).tolist() == [500] * 3


@pytest.mark.parametrize("error", [30, 13, 28])
def test_a_root_that_cannot_be_written_serves_and_says_so(many, monkeypatch, error):
    "A read-only share, a folder of somebody else's, a full disk."
    want = image_dataset("folder:many", many).identity
    (many / "share").mkdir()
    (many / "many").rename(many / "share/many")
    mkdir = Path.mkdir

    def refuse(self, *args, **kwargs):
        if self.is_relative_to(many / "share"):
            raise OSError(error, os.strerror(error), str(self))
        return mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.warns(UserWarning, match="is not kept, the next call makes it again"):
        data = image_dataset("folder:many", many / "share")
    assert data.identity == want and [p.name for p in (many / "share").iterdir()] == ["many"]


def test_a_root_that_is_not_there_is_not_made(many, monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("ADVLATGAN_DATA", raising=False)
    assert len(image_dataset(f"folder:{many / 'many'}")) == 1500
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_path_may_begin_with_the_home_folder(many, monkeypatch):
    monkeypatch.setenv("HOME", str(many))
    assert len(image_dataset("folder:~/many", many)) == 1500
    assert splits("folder:~/many", many) == ("all",)


def noise():
    x = torch.from_numpy(pixels(100, 3, 8, 8))
    return ImageData("noise", x, torch.arange(100) % 7, flip=True, noise=True)


SETS = {
    "images": noise,
    "drawn once": lambda: stack(image_dataset("mnist5k"), n=100),
    "drawn anew": lambda: stack(image_dataset("mnist5k"), "smnist_unrolled", n=100),
    "shuffled": lambda: stack(image_dataset("mnist5k"), "smnist_ivgan", n=100),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SETS)
def test_streamed_and_resident_batches_are_the_same(name):
    data = SETS[name]()

    def first(data):
        batches = data.batches(16, torch.Generator("cuda").manual_seed(0))
        return [next(batches) for _ in range(20)]

    for (a, y), (b, u) in zip(first(data), first(data.to("cuda"))):
        assert torch.equal(a, b) and torch.equal(y, u) and a.is_cuda


@pytest.mark.parametrize("name", SETS)
def test_read_ahead_batches_are_the_same(name):
    data = SETS[name]().to("cpu")

    def first(read_ahead):
        batches = data.batches(16, torch.Generator().manual_seed(0), read_ahead)
        return [next(batches) for _ in range(20)]

    for (a, y), (b, u) in zip(first(False), first(True)):
        assert torch.equal(a, b) and torch.equal(y, u)
