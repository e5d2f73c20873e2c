"""Search for images in class folders: files used, files left out with a warning, and malicious files."""

import os
import shutil
from pathlib import Path

import pytest
from ltbench.benchmarks.errors import UserError, look_alike, similar_path
from ltbench.benchmarks.split import DataRoot, Dataset
from ltbench.datasets._shared.class_folders import find_images, suffixes
from ltbench.datasets.folder import Folder
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
PSD = b"8BPS\x00\x01" + bytes(6) + b"\x00\x03" + b"\x00\x00\x00\x08" * 2 + b"\x00\x08\x00\x03" + bytes(200)


def save(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value,) * 3).save(path, "PNG")


def load(path: Path) -> Dataset:
    return Folder(str(path), size=4).load(DataRoot.find("unused"))


@pytest.fixture
def images(tmp_path) -> Path:
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            save(tmp_path / "photos" / part / name / "m.png", 10)
    return tmp_path / "photos"


def test_sub_folders_are_taken_in_sorted_order(images):
    before = load(images).checksum
    for place, value in (("ant/b/2.png", 3), ("ant/b/1.png", 2), ("ant/z.png", 5), ("ant/b/deep/er/0.png", 4)):
        save(images / "train" / place, value)
    outside = images.parent / "elsewhere"
    save(outside / "1.png", 1)
    (images / "train/ant/a").symlink_to(outside)
    data = load(images)
    assert data.train.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 10, 5, 10]
    assert data.checksum != before
    names, train, _ = find_images(images)
    assert train[0] == sorted(train[0])
    assert names == ["ant", "bee"]


LEFT_OUT = {
    "1 of other formats (notes.txt)": lambda train: (train / "ant/notes.txt").write_text("x"),
    "1 of other formats (x.eps)": lambda train: (train / "ant/x.eps").write_bytes(EPS),
    "2 hidden (.DS_Store, .cache)": lambda train: [(train / "ant/.DS_Store").touch(), (train / "ant/.cache").mkdir()],
    "1 hidden (.git)": lambda train: (train / ".git").mkdir(),
    "1 empty folders (empty)": lambda train: (train / "ant/empty").mkdir(),
    "1 folders without images (scripts)": lambda train: (train / "scripts").mkdir(),
    "1 beside the class folders (loose.png)": lambda train: save(train / "loose.png"),
    "1 links to parent folders (again)": lambda train: (train / "ant/again").symlink_to(train / "ant"),
    "1 broken links and special files (pipe.png)": lambda train: os.mkfifo(train / "ant/pipe.png"),
    "1 broken links and special files (gone.png)": lambda train: (train / "ant/gone.png").symlink_to("nowhere"),
    "5 of other formats (0.md, 1.md, 2.md, ...)": lambda train: [(train / f"bee/{k}.md").touch() for k in range(5)],
}


@pytest.mark.parametrize("sentence", LEFT_OUT)
def test_what_is_not_used_is_counted_once(images, sentence):
    before = load(images).checksum
    LEFT_OUT[sentence](images / "train")
    with pytest.warns(UserWarning, match="left out of") as caught:
        assert load(images).checksum == before
    assert [str(warning.message).partition("left out of ")[2] for warning in caught] == [f"{images}: {sentence}."]


def test_a_class_that_is_only_in_one_part_is_an_error(images):
    save(images / "train/cat/x.png")
    (images / "test/cat").mkdir()
    with pytest.raises(UserError, match="'cat' is in train/ but has no image in test/"):
        load(images)


STRANGE = {
    "EPS": (EPS, "its format is none of JPEG"),
    "PSD": (PSD, "its format is none of JPEG"),
    "text": (b"P1ain text", "its format is none of JPEG"),
    "PPM of too many pixels": (b"P6 60000 60000 255\n", "could be decompression bomb"),
    "PPM of many pixels": (b"P6 11000 11000 255\n", "could be decompression bomb"),
    "GIF of too many pixels": (
        b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        "bomb",
    ),
    "a shorter file than it says": (b"P6 80 80 255\nxxx", "cannot read the image"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_picture_is_opened_as_one_of_the_formats_alone(images, case):
    content, sentence = STRANGE[case]
    (images / "train/ant/x.png").write_bytes(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load(images)
    assert str(caught.value).count("x.png") == 1
    assert "\n" not in str(caught.value)


def test_a_tiff_that_claims_too_many_pixels_is_refused(images):
    path = images / "train/ant/x.tiff"
    Image.new("L", (4, 4)).save(path)
    sides = b"\x04\x00\x01\x00\x00\x00\x04\x00\x00\x00"
    large = b"\x04\x00\x01\x00\x00\x00\xff\xff\x00\x00"
    path.write_bytes(path.read_bytes().replace(sides, large))
    with pytest.raises(UserError, match=r"x\.tiff \(Image size"):
        load(images)


def test_formats_have_their_usual_suffixes():
    assert {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= suffixes()
    assert not {".eps", ".psd", ".pdf", ".wmf", ".hdf"} & suffixes()


ALIKE = [
    ("caf\u00e9", "cafe\u0301", "the encoding of its letters"),
    ("Bee", "bee", "upper and lower case"),
    ("bee ", "bee", "blanks"),
    ("red bee", "red  bee", "blanks"),
    ("be\u200be", "bee", "invisible characters"),
    ("\uff42ee", "bee", "the encoding of its letters"),
    ("Be\u200be", "bee", "several ways"),
]


@pytest.mark.parametrize(("name", "other", "kind"), ALIKE)
def test_names_that_look_alike_are_shown_with_their_difference(images, tmp_path, name, other, kind):
    sentence = f" {other!a} looks like {name!a} but differs in {kind}."
    assert look_alike(name, ["wasp", other, name]) == sentence
    (tmp_path / other).touch()
    assert similar_path(tmp_path / name) == sentence
    save(images / "train" / name / "x.png")
    shutil.rmtree(images / "test/bee")
    shutil.rmtree(images / "train/bee")
    save(images / "test" / other / "x.png")
    with pytest.raises(UserError, match="looks like") as caught:
        load(images)
    assert kind in str(caught.value)


def test_names_that_do_not_look_alike_have_no_hint(tmp_path):
    assert look_alike("bee", ["bees", "be", "bee", ""]) == ""
    assert similar_path(tmp_path / "absent" / "bee") == ""


def test_two_classes_that_look_alike_are_said(images):
    for part in ("train", "test"):
        save(images / part / "Bee/x.png")
    with pytest.warns(UserWarning, match="'bee' looks like 'Bee' but differs in upper and lower case"):
        assert len(load(images).class_names) == 3


def test_a_class_name_that_is_no_text_is_refused(images):
    for part in ("train", "test"):
        save(images / part / os.fsdecode(b"caf\xe9") / "x.png")
    with pytest.raises(UserError, match="not valid Unicode"):
        load(images)
