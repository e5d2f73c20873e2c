"""folder:PATH, the user's own images: class sizes, image formats and errors."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.split import DataRoot, Dataset, pixel_statistics
from ltbench.datasets import folder as module
from ltbench.datasets.folder import Folder
from PIL import Image


def save(path: Path, value: int = 100, shape: tuple[int, int] = (12, 10), mode: str = "RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, shape, value if mode in ("L", "I;16", "P") else (value,) * len(mode)).save(path, **options)


def load(path: Path, **options) -> Dataset:
    return Folder(str(path), **({"size": 4} | options)).load(DataRoot.find("unused"))


@pytest.fixture
def images(tmp_path) -> Path:
    """Folder of three classes with 6, 2 and 10 training images and one test image; grey level 10 * class + index."""
    path = tmp_path / "My Photos"
    for label, (name, count) in enumerate({"ant": 6, "bee": 2, "cat": 10}.items()):
        for index in range(count):
            save(path / "train" / name / f"{index:02}.png", 10 * label + index)
        save(path / "test" / name / "a.png", 10 * label)
    return path


def test_everything_is_taken_as_it_is(images):
    data = load(images)
    assert data.name == "folder-my-photos"
    assert data.class_names == ["ant", "bee", "cat"]
    assert data.train.counts.tolist() == [6, 2, 10]
    assert data.train.images[:, 0, 0, 0].tolist() == [*range(6), 10, 11, *range(20, 30)]
    assert (data.profile, data.imbalance, data.verified) == ("natural", 5, None)
    assert data.options == {"selection": "shuffled", "size": 4}
    assert data.changed == {"size": 4}
    assert (data.mean, data.std) == pixel_statistics(data.train.images)
    assert data.checksum == load(images).checksum


def test_the_path_may_be_relative(images, monkeypatch):
    monkeypatch.chdir(images)
    assert load(Path()).name == "folder-my-photos"


@pytest.mark.parametrize(
    ("profile", "imbalance", "counts"), [("exp", 5, [4, 2, 10]), ("exp", 10, [3, 1, 10]), ("step", 5, [2, 2, 10])]
)
def test_profiles_go_from_the_largest_class_to_the_smallest(images, profile, imbalance, counts):
    data = load(images, profile=profile, imbalance=imbalance)
    assert data.train.counts.tolist() == counts
    assert (data.profile, data.imbalance) == (profile, imbalance)
    assert len(data.test) == 3


def test_selection_first_keeps_the_first_names(images):
    data = load(images, profile="exp", imbalance=10, selection="first")
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 10, *range(20, 30)]


def test_imbalance_needs_a_profile(images):
    with pytest.raises(UserError, match="imbalance has no meaning for profile 'natural'"):
        load(images, imbalance=10)


def test_hidden_and_other_files_are_ignored(images):
    (images / "train/ant/.hidden.png").write_bytes(b"")
    (images / "train/ant/notes.txt").write_text("x")
    (images / "train/readme.md").write_text("x")
    (images / "train/.cache").mkdir()
    (images / "train/ant/folder.png").mkdir()
    with pytest.warns(UserWarning, match="left out of"):
        assert load(images).train.counts.tolist() == [6, 2, 10]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.JPG", {"quality": 95}),
        ("x.bmp", {}),
        ("x.webp", {"lossless": True}),
        ("x.tiff", {}),
        ("x.png", {"mode": "L"}),
        ("x.png", {"mode": "RGBA"}),
        ("x.gif", {"mode": "L"}),
    ],
)
def test_formats_and_modes_become_rgb(images, name, options):
    save(images / "train/bee" / name, 200, **options)
    image = load(images).train.images[8]
    assert image.shape == (3, 4, 4)
    assert (image.int() - 200).abs().max() <= 2


def test_cmyk_becomes_rgb(images):
    save(images / "train/bee/x.jpg", mode="CMYK")
    image = load(images).train.images[8]
    expected = Image.new("CMYK", (1, 1), (100,) * 4).convert("RGB").getpixel((0, 0))
    assert (image.permute(1, 2, 0).int() - torch.tensor(expected)).abs().max() <= 3


def test_a_palette_with_transparency_is_read_without_a_warning(images):
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 9, 99, 199])
    palette.save(images / "train/bee/x.png", transparency=bytes([0, 128]))
    assert load(images).train.images[8, :, 0, 0].tolist() == [9, 99, 199]


def test_the_centre_is_cropped_after_resizing_the_shorter_side(images):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(images / "train/bee/x.png")
    cropped = Image.fromarray(pixels).resize((12, 4), Image.Resampling.BILINEAR).crop((4, 0, 8, 4))
    difference = load(images).train.images[8].permute(1, 2, 0).int() - torch.from_numpy(np.array(cropped)).int()
    assert difference.abs().max() <= 1


def test_resizing_is_antialiased(images):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(images / "train/bee/x.png")
    assert (load(images).train.images[8].int() - 100).abs().max() <= 5


def test_a_large_jpeg_is_read_as_if_decoded_in_full(images):
    ramp = np.repeat(np.linspace(0, 255, 512).astype(np.uint8)[None, :, None], 512, 0).repeat(3, 2)
    Image.fromarray(ramp).save(images / "train/bee/x.jpg", quality=95)
    row = load(images, size=8).train.images[8, 0, 3].int()
    assert (row - torch.linspace(16, 239, 8)).abs().max() <= 4


def test_the_orientation_tag_is_applied(images):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 240
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(images / "train/bee/x.png", exif=exif)
    image = load(images).train.images[8]
    assert image[0, 0, 0] < 10
    assert image[0, 3, 0] > 230


def test_sixteen_bit_images_are_refused(images):
    save(images / "train/bee/x.png", 3000, mode="I;16")
    with pytest.raises(UserError, match=r"x\.png \(more than 8 bits per channel"):
        load(images)


@pytest.mark.parametrize(("name", "keep"), [("x.jpg", 400), ("x.png", 60), ("x.jpg", 0), ("x.bmp", 100)])
def test_a_damaged_image_is_named(images, name, keep):
    path = images / "train/bee" / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="cannot read the image") as caught:
        load(images)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("remove", "sentence"),
    [
        ("train", "train does not exist"),
        ("test", "test does not exist"),
        ("test/bee", "class 'bee' is in train/ but has no image in test/"),
        ("train/cat", "class 'cat' is in test/ but has no image in train/"),
        ("test/ant/a.png", "class 'ant' is in train/ but has no image in test/"),
    ],
)
def test_missing_parts_are_named(images, remove, sentence):
    path = images / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=sentence):
        load(images)


def test_no_folder_no_image_and_one_class(tmp_path):
    with pytest.raises(UserError, match="folder:PATH"):
        Folder().load(DataRoot.find("unused"))
    with pytest.raises(UserError, match="There is no folder"):
        load(tmp_path / "absent")
    for part in ("train", "test"):
        (tmp_path / part / "ant").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no image in .*train"):
        load(tmp_path)
    for part in ("train", "test"):
        save(tmp_path / part / "ant/x.png")
    with pytest.raises(UserError, match="only one class, 'ant'"):
        load(tmp_path)


def test_too_little_memory_is_an_error_that_suggests_a_size(images, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 100_000)
    with pytest.raises(UserError, match="Use a size of at most 16"):
        load(images, size=64)
    with pytest.raises(UserError, match="Use a size of at most 16"):
        load(images, size=17)
    assert len(load(images, size=16).train) == 18


def test_the_memory_of_this_machine_is_known_or_not_asked():
    available = module.available_memory()
    assert available is None or available > 1_000_000
