"""Search for the image files of a dataset that has one folder per class."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ...benchmarks.errors import UserError, alike_pairs, look_alike, similar_path

# Pillow supports more formats, some through external programs: EPS starts Ghostscript. These need none.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
EXAMPLES = 3  # largest number of names that the warning lists for each reason

Unused = defaultdict[str, list[str]]  # maps a reason to the names of the files and folders that are left out


def find_images(folder: Path) -> tuple[list[str], list[list[Path]], list[list[Path]]]:
    """Find the class names, and the sorted training and test files of each class.

    One warning lists all files and folders that are left out; others name pairs of classes whose names look alike.

    Raises:
        UserError: a folder is missing or cannot be read, the name of a class is not valid Unicode, a class has no
            training or no test image, or there is only one class.
    """
    unused: Unused = defaultdict(list)
    try:
        parts = {part: _classes(folder / part, unused) for part in ("train", "test")}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"folder: cannot read {error.filename}: {reason}. Make it readable or move it out of {folder}."
        ) from error
    train, test = parts["train"], parts["test"]
    if not any(train.values()):
        raise UserError(f"folder: no image in {folder / 'train'}; images belong in train/<class>/.")
    names = sorted(name for name in train.keys() | test.keys() if train.get(name) or test.get(name))
    _check_names(names, train, test)
    if len(names) < 2:
        raise UserError(f"folder: {folder} has only one class, '{names[0]}'; classification needs two or more.")
    unused["folders without images"] += sorted((train.keys() | test.keys()) - set(names))
    _say(folder, unused, names)
    return names, [train[name] for name in names], [test[name] for name in names]


def _check_names(names: list[str], train: dict[str, list[Path]], test: dict[str, list[Path]]) -> None:
    for name in names:
        for part, classes, other in (("train", train, "test"), ("test", test, "train")):
            if not classes.get(name):
                hint = look_alike(name, [each for each in classes if classes[each]])
                raise UserError(f"folder: class '{name}' is in {other}/ but has no image in {part}/.{hint}")


def _classes(part: Path, unused: Unused) -> dict[str, list[Path]]:
    """Sorted image files by class name; empty lists for classes without images."""
    if not part.is_dir():
        raise UserError(
            f"folder: {part} does not exist; images belong in train/<class>/ and test/<class>/.{similar_path(part)}"
        )
    classes = {}
    for entry in sorted(part.iterdir()):
        if entry.name.startswith("."):
            unused["hidden"].append(entry.name)
        elif entry.is_dir():
            classes[_class_name(entry)] = sorted(_images(entry, unused))
        else:
            unused["beside the class folders"].append(entry.name)
    return classes


def _class_name(folder: Path) -> str:
    """The name of a folder, decoded as UTF-8 in every locale.

    Raises:
        UserError: the name is not valid UTF-8.
    """
    try:
        return os.fsencode(folder.name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"folder: the name of class {folder.name!a} is not valid Unicode; rename it.") from error


def _images(folder: Path, unused: Unused) -> Iterator[Path]:
    """Image files in a folder and its subfolders; links to folders are followed unless they lead to a parent folder."""

    def refuse(error: OSError) -> None:
        raise error

    for name, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(name)
        if not folders and not files and here != folder:
            unused["empty folders"].append(here.name)
        back = [each for each in folders if here.resolve().is_relative_to((here / each).resolve())]
        hidden = [each for each in [*folders, *files] if each.startswith(".")]
        unused["links to parent folders"] += back
        unused["hidden"] += hidden
        folders[:] = [each for each in folders if each not in (*back, *hidden)]
        for path in (here / each for each in files if each not in hidden):
            if path.suffix.lower() not in suffixes():
                unused["of other formats"].append(path.name)
            elif not path.is_file():
                unused["broken links and special files"].append(path.name)
            else:
                yield path


def _say(folder: Path, unused: Unused, names: list[str]) -> None:
    """Warn about the files and folders that are left out, and about pairs of class names that look alike."""
    counts = [
        f"{len(left_out)} {reason} ({', '.join(sorted(left_out)[:EXAMPLES])}{', ...' * (len(left_out) > EXAMPLES)})"
        for reason, left_out in unused.items()
        if left_out
    ]
    if counts:
        warnings.warn(f"folder: left out of {folder}: {'; '.join(counts)}.", stacklevel=4)
    for name, other in alike_pairs(names):
        hint = look_alike(name, [other])
        warnings.warn(f"folder: classes '{name}' and '{other}' may be the same class.{hint}", stacklevel=4)


@cache
def suffixes() -> frozenset[str]:
    """File name suffixes of FORMATS in lower case, with the dot."""
    from PIL import Image

    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
