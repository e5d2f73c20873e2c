"""Images in a folder for each class: which files they are, and what is left out."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

from ...benchmarks.errors import UserError, look_alike, similar_path

# Pillow opens more, some of them with programs of others: EPS starts Ghostscript. All of these are pixels.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
EXAMPLES = 3  # names of each kind in the message

Unused = defaultdict[str, list[str]]  # reason to names


def find_images(folder: Path) -> tuple[list[str], list[list[Path]], list[list[Path]]]:
    """Class names, and the sorted training and test files of each class; one warning for all that is left out.

    Raises:
        UserError: a folder cannot be read, a class has no training or no test image, or there is only one class.
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
    """The images of each class, also of those that have none."""
    if not part.is_dir():
        raise UserError(
            f"folder: there is no {part}; expected are train/<class>/ and test/<class>/.{similar_path(part)}"
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
    """The name of a folder, the same in every locale.

    Raises:
        UserError: it is no text.
    """
    try:
        return os.fsencode(folder.name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"folder: the name of class {folder.name!a} is no valid Unicode; rename it.") from error


def _images(folder: Path, unused: Unused) -> Iterator[Path]:
    """The images in a folder and in those below it; links to folders are followed, but never back."""

    def refuse(error: OSError) -> None:
        raise error

    for name, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        here = Path(name)
        if not folders and not files and here != folder:
            unused["empty folders"].append(here.name)
        back = [each for each in folders if here.resolve().is_relative_to((here / each).resolve())]
        hidden = [each for each in [*folders, *files] if each.startswith(".")]
        unused["links that lead back"] += back
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
    """Warn of all that is left out, and of classes that may be one."""
    counts = [
        f"{len(left_out)} {reason} ({', '.join(sorted(left_out)[:EXAMPLES])}{', ...' * (len(left_out) > EXAMPLES)})"
        for reason, left_out in unused.items()
        if left_out
    ]
    if counts:
        warnings.warn(f"folder: not used of {folder}: {'; '.join(counts)}.", stacklevel=4)
    for name, other in combinations(names, 2):
        if hint := look_alike(name, [other]):
            warnings.warn(f"folder: class '{name}' may be another one, too.{hint}", stacklevel=4)


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of FORMATS, in lower case."""
    from PIL import Image

    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)
