"""CIFAR-10-LT and CIFAR-100-LT with tiny files in the layout of the published ones: valid files and all errors."""

import hashlib
import os
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from ltbench.benchmarks.errors import MissingData, UserError
from ltbench.benchmarks.split import DataRoot
from ltbench.datasets._shared.byte_pickle import read_bytes_and_text
from ltbench.datasets.cifar10_lt import Cifar10LT
from ltbench.datasets.cifar100_lt import Cifar100LT


def write(path: Path, content: object, protocol: int = 4) -> str:
    path.write_bytes(pickle.dumps(content, protocol))
    return hashlib.md5(path.read_bytes()).hexdigest()


def batch(key: str, classes: int, per_class: int, seed: int) -> dict:
    images = np.random.default_rng(seed).integers(0, 256, (classes * per_class, 3072), dtype=np.uint8)
    return {"data": images, key: [k for _ in range(per_class) for k in range(classes)]}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Data root with a few images of both datasets; the checksums of these files replace those in torchvision."""
    for reference, key, classes in (("CIFAR10", "labels", 10), ("CIFAR100", "fine_labels", 100)):
        published = getattr(torchvision.datasets, reference)
        folder = tmp_path / published.base_folder
        folder.mkdir()
        for attribute, per_class in (("train_list", 2), ("test_list", 1)):
            names = [name for name, _ in getattr(published, attribute)]
            sums = [write(folder / n, batch(key, classes, per_class, seed)) for seed, n in enumerate(names)]
            monkeypatch.setattr(published, attribute, [list(pair) for pair in zip(names, sums, strict=True)])
        names = {published.meta["key"]: [f"class {k}" for k in range(classes)]}
        md5 = write(folder / published.meta["filename"], names)
        monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5})
    return DataRoot(tmp_path, "--data-root")


def unverified(root: DataRoot) -> DataRoot:
    return DataRoot(root.path, root.origin, allow_unverified=True)


def test_tiny_cifar10(root):
    data = Cifar10LT(n_max=10, imbalance=10).load(root)
    assert data.train.counts.tolist() == [10, 7, 5, 4, 3, 2, 2, 1, 1, 1]
    assert data.test.labels.tolist() == list(range(10))
    assert data.class_names[3] == "class 3"
    assert (data.name, data.verified, data.profile, data.imbalance) == ("cifar10-lt", True, "exp", 10)
    assert data.options == {"selection": "shuffled", "n_max": 10}
    assert data.changed == {"n_max": 10}
    assert data.mean == (0.4914, 0.4822, 0.4465)


def test_images_keep_channels_and_rows(root):
    content = pickle.loads((root.path / "cifar-10-batches-py/test_batch").read_bytes())
    images = Cifar10LT(n_max=10, imbalance=1).load(root).test.images
    assert images.shape == (10, 3, 32, 32)
    assert torch.equal(images[4].flatten(), torch.from_numpy(content["data"][4]))


def test_first_selection_follows_the_files(root):
    content = pickle.loads((root.path / "cifar-10-batches-py/data_batch_1").read_bytes())
    train = Cifar10LT(n_max=2, imbalance=1, selection="first").load(root).train
    assert torch.equal(train.images[0].flatten(), torch.from_numpy(content["data"][0]))
    assert torch.equal(train.images[1].flatten(), torch.from_numpy(content["data"][10]))


def test_tiny_cifar100(root):
    data = Cifar100LT(n_max=2, imbalance=2, profile="step").load(root)
    assert data.train.counts.tolist() == [2] * 50 + [1] * 50
    assert (data.name, len(data.test), data.verified) == ("cifar100-lt", 100, True)


def test_n_max_above_what_is_there_is_an_error(root):
    with pytest.raises(UserError, match="lower n_max"):
        Cifar10LT().load(root)


@pytest.mark.parametrize("source", [Cifar10LT, Cifar100LT])
def test_missing_data_error_has_its_seven_parts_in_order(source, tmp_path):
    with pytest.raises(MissingData) as caught:
        source().load(DataRoot(tmp_path, "the variable LTBENCH_DATA"))
    text, name, folder = str(caught.value), source.supply.name, source()._published.base_folder
    first = source()._published.train_list[0][0]
    parts = [
        f"{name}:",
        f"Data root: {tmp_path} (from the variable LTBENCH_DATA)",
        f"Not found: {tmp_path / folder / first} (no other layout",
        f"Expected below the data root:\n  {folder}/",
        "python version, University of Toronto; no account needed; 1",
        f"bench data download {name}",
        "digits-lt (real images) or waves-lt (procedural)",
    ]
    positions = [text.find(part) for part in parts]
    assert -1 not in positions
    assert positions == sorted(positions)
    assert len(source.supply.tree.splitlines()) <= 8
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("name", ["data_batch_5", "test_batch", "batches.meta"])
def test_one_missing_file_is_named(root, name):
    path = root.path / "cifar-10-batches-py" / name
    path.unlink()
    with pytest.raises(MissingData, match=f"Not found: {path}"):
        Cifar10LT().load(unverified(root))


def test_a_changed_file_is_refused_and_says_how_to_accept_it(root):
    path = root.path / "cifar-100-python/test"
    expected = hashlib.md5(path.read_bytes()).hexdigest()
    actual = write(path, batch("fine_labels", 100, 1, seed=9))
    with pytest.raises(UserError) as caught:
        Cifar100LT().load(root)
    for part in (str(path), f"expected MD5 {expected}", f"found {actual}", "--allow-unverified", "bench data download"):
        assert part in str(caught.value)
    assert not isinstance(caught.value, MissingData)
    assert Cifar100LT(n_max=2, imbalance=1).load(unverified(root)).verified is False


def test_allowing_unverified_files_does_not_unverify_good_ones(root):
    assert Cifar10LT(n_max=10, imbalance=1).load(unverified(root)).verified is True


@pytest.mark.parametrize("keep", [0, 1, 20, 2000])
def test_a_truncated_file_is_said_to_be_truncated(root, keep):
    path = root.path / "cifar-10-batches-py/data_batch_2"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"data_batch_2 is truncated or damaged .*\(bench data download cifar10-lt"):
        Cifar10LT().load(unverified(root))


@pytest.mark.parametrize("function", [os.system, socket.gethostname, eval])
def test_a_pickle_that_would_run_code_is_refused(root, function):
    class Attack:
        def __reduce__(self):
            return function, ("1",)

    write(root.path / "cifar-10-batches-py/data_batch_1", {"data": Attack(), "labels": []})
    with pytest.raises(UserError, match="which no image file needs"):
        Cifar10LT().load(unverified(root))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "it does not contain a dictionary"),
        ({"labels": [0]}, "should contain uint8 images"),
        ({"data": np.zeros((1, 3072)), "labels": [0]}, "should contain uint8 images"),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [0]}, r"but contains \(1, 3071\)"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "2 images but not one label for each"),
        ({"data": np.zeros((1, 3072), np.uint8)}, "1 images but not one label for each"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "not an integer below 10"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": ["0"]}, "not an integer below 10"),
    ],
)
def test_wrong_contents_are_errors(root, content, sentence):
    write(root.path / "cifar-10-batches-py/data_batch_3", content)
    with pytest.raises(UserError, match=sentence):
        Cifar10LT().load(unverified(root))


def test_names_that_are_not_there_are_an_error(root):
    write(root.path / "cifar-10-batches-py/batches.meta", {"names": []})
    with pytest.raises(UserError, match="no class names under 'label_names'"):
        Cifar10LT().load(unverified(root))


@pytest.mark.parametrize("protocol", [4, 5])
def test_files_rewritten_by_a_newer_python_are_read(root, protocol):
    write(root.path / "cifar-10-batches-py/test_batch", batch("labels", 10, 1, seed=3), protocol)
    assert len(Cifar10LT(n_max=1, imbalance=1).load(unverified(root)).test) == 10


def test_nothing_is_downloaded_when_the_files_are_right(root, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", None)
    Cifar10LT().download(root)


@pytest.mark.parametrize("failure", [OSError("no route"), RuntimeError("File not found or corrupted.")])
def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", fail)
    with pytest.raises(UserError, match="download the archive manually and unpack it in"):
        Cifar10LT().download(DataRoot(tmp_path, "--data-root"))


def _pickled_array(kind: str, shape: tuple[int, int] = (1, 1), order: str = "I00") -> bytes:
    """Pickle as written by Python 2: a dictionary with an array, built from eight bytes, and a list of one label."""
    dtype = f"cnumpy\ndtype\n(S'{kind}'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    array = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    array += f"(I1\n(I{shape[0]}\nI{shape[1]}\nt{dtype}{order}\nS'ABCDEFGH'\ntb"
    return f"(dS'data'\n{array}sS'labels'\n(lI0\nas.".encode()


NESTED = b"\x80\x02}q\x00" + b"N" + b"\x85" * 300_000 + b"I1\ns."
CRAFTED = {
    "pointers out of bytes": (_pickled_array("O8"), "should contain uint8 images"),
    "records with a pointer": (_pickled_array("V8"), "should contain uint8 images"),
    "a larger shape than there are bytes": (_pickled_array("u1"), "cannot reshape array of size 8"),
    "a class of NumPy as a function": (b"cnumpy\nndarray\n(I1\nS'O'\ntR.", "_Array"),
    "an array's function of another module": (b"cnumpy\nload\n(S'x'\ntR.", "asks to load numpy.load"),
    "a key that is nested deeply": (NESTED, "it uses TUPLE1"),
    "notes for the whole memory": (b"\x80\x02}r\xff\xff\xff\xff.", "it uses LONG_BINPUT"),
    "an object": (b"cnumpy\ndtype\n)\x81.", "it uses NEWOBJ"),
    "a set": (b"\x80\x04\x8f.", "it uses EMPTY_SET"),
    "a float": (b"(dS'data'\nF1.5\ns.", "it uses FLOAT"),
    "a persistent id": (b"Pdata\n.", "it uses PERSID"),
    "an extension": (b"\x82\x01.", "it uses EXT1"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_file_is_refused_and_harms_nothing(root, case):
    content, sentence = CRAFTED[case]
    (root.path / "cifar-10-batches-py/data_batch_1").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        Cifar10LT().load(unverified(root))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("batches.meta", {"label_names": [b"ant"] * 10}, "no class names"),
        ("batches.meta", {"label_names": [3] * 10}, "no class names"),
        ("test_batch", {"data": np.zeros((1, 3072), np.uint8), "labels": [True]}, "not an integer below 10"),
        ("test_batch", {"data": np.array([[object()]]), "labels": [0]}, "damaged"),
        ("test_batch", {"data": np.zeros((1, 3072), "i1"), "labels": [0]}, "should contain uint8 images"),
    ],
)
def test_other_values_are_refused(root, file, content, sentence):
    write(root.path / "cifar-10-batches-py" / file, content)
    with pytest.raises(UserError, match=sentence):
        Cifar10LT(n_max=10, imbalance=10).load(unverified(root))


@pytest.mark.parametrize(("order", "rows"), [("I00", ["ABCD", "EFGH"]), ("I01", ["ACEG", "BDFH"])])
def test_an_array_of_python_2_is_read_by_rows_or_by_columns(tmp_path, order, rows):
    (tmp_path / "x").write_bytes(_pickled_array("u1", (2, 4), order))
    array = read_bytes_and_text(tmp_path / "x")["data"]
    assert [bytes(row).decode() for row in array] == rows
