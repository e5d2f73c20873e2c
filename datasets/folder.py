"""folder:PATH, your own images: `PATH/train/<class>/*` and `PATH/test/<class>/*`.

What it is: every folder below `train` is a class, and `test` has the same classes. Classes are numbered by sorted
name; images are the JPEG, PNG, GIF, BMP, TIFF, WebP and PPM files in the folder of a class and in those below it, in
sorted order. Hidden files, files of other formats and folders without images are left out, and one warning counts them.
Terms: yours. Nothing is downloaded. Results contain the name of the last folder of the path, but not the path.
Counts: profile "natural" (the default) uses every image. "exp" and "step" subsample the training set: classes are
ranked from head to tail by their number of images, and class k keeps the number that the profile gives for the size
of the largest class and `imbalance`, or all its images if it has fewer. The test set is never subsampled.
Selection: `selection` = "shuffled", "seed:<n>" or "first" by sorted file name, for "exp" and "step" only.
Preprocessing: the orientation tag is applied, the image is converted to RGB (without transparency, first frame of an
animation), its shorter side is resized to `size` with antialiasing, and the centre is cropped. All images are kept in
memory as 8-bit values. Mean and standard deviation are those of the training images. Images are decoded at the start
of every run, so a folder of downsized copies starts faster.
Known defects: 16-bit greyscale images are refused because Pillow would clip them.
Caveats: there is no published checksum for your folder, so results are marked "not verified"; the checksum of the
pixels is recorded.
"""

from __future__ import annotations

import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le

from ..benchmarks.errors import UserError, similar_path
from ..benchmarks.split import DataRoot, Dataset, Ratio, Source, Split, long_tail_counts, pixel_statistics, select
from ._shared.class_folders import FORMATS, find_images
from ._shared.memory import available_memory, check_memory

Files = list[list[Path]]  # image files of each class


@dataclass
class Folder(Source):
    """A folder of your own images.

    Attributes:
        path: folder that contains `train` and `test`, absolute or relative to the working directory.
        profile: `natural` uses all images, `exp` and `step` subsample the training set.
        imbalance: size ratio of the largest to the smallest class, for `exp` and `step`; 100 by default.
        selection: choice of the training images for `exp` and `step`: `shuffled`, `first` or `seed:<n>`.
        size: height and width of all images after resizing; if the recipe sets a size, that size is the default.
    """

    paths: ClassVar[tuple[str, ...]] = ("path",)
    recipe: ClassVar[str] = "folder"
    decodes: ClassVar[bool] = True

    path: str = ""
    profile: Literal["natural", "exp", "step"] = "natural"
    imbalance: Ratio | None = None
    selection: str = "shuffled"
    size: Annotated[int, Ge(1), Le(4096)] = 32

    def load(self, root: DataRoot) -> Dataset:
        """Find, select and decode the images; the data root is not used.

        Raises:
            UserError: a folder or a class is missing or empty, there is only one class, `imbalance` is given with
                `natural`, an image is damaged, or the images do not fit in memory.
        """
        folder = self._existing()
        names, train, test = find_images(folder)
        train = self._cut(train)
        counts = [len(files) for files in train]
        check_memory("folder", sum(counts), sum(map(len, test)), self.size, available_memory())
        train_split = self._decode(train)
        mean, std = pixel_statistics(train_split.images)
        return Dataset(
            name="folder-" + (re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "images"),
            train=train_split,
            test=self._decode(test),
            class_names=names,
            mean=mean,
            std=std,
            profile=self.profile,
            imbalance=max(counts) / min(counts) if self.profile == "natural" else self._ratio,
            verified=None,
            **self.described(),
        )

    def _existing(self) -> Path:
        if not self.path:
            raise UserError("The dataset `folder` needs the path of your images: write folder:PATH.")
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}; folder:PATH must contain train/ and test/.{similar_path(folder)}"
            )
        return folder

    def _cut(self, train: Files) -> Files:
        """Training files of each class after subsampling to the class sizes of the profile."""
        if self.profile == "natural":
            if self.imbalance is not None:
                raise UserError("folder: imbalance has no meaning for profile 'natural'; add profile 'exp' or 'step'.")
            return train
        available = np.array([len(files) for files in train])
        head_first = np.argsort(-available, kind="stable")
        wanted = np.empty_like(available)
        wanted[head_first] = long_tail_counts(int(available.max()), len(train), self._ratio, self.profile)
        labels = np.repeat(np.arange(len(train)), available)
        kept = select(labels, np.minimum(wanted, available).tolist(), self.selection)
        flat = [(label, file) for label, files in enumerate(train) for file in files]
        selected: Files = [[] for _ in train]
        for position in kept:
            label, file = flat[position]
            selected[label].append(file)
        return selected

    @property
    def _ratio(self) -> float:
        return 100 if self.imbalance is None else self.imbalance

    def _decode(self, files: Files) -> Split:
        from PIL.Image import DecompressionBombWarning

        paths = [path for of_class in files for path in of_class]
        images = np.empty((len(paths), 3, self.size, self.size), np.uint8)
        # Pillow releases the interpreter lock while decoding.
        with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            warnings.simplefilter("error", DecompressionBombWarning)  # a few huge images would fill the memory
            for image, pixels in zip(images, pool.map(self._read, paths), strict=True):
                image[:] = pixels
        labels = np.repeat(np.arange(len(files)), [len(of_class) for of_class in files])
        return Split(torch.from_numpy(images), torch.from_numpy(labels), len(files))

    def _read(self, path: Path) -> np.ndarray:
        """One image as uint8 (3, size, size)."""
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(path, formats=FORMATS) as opened:
                if opened.mode.startswith(("I", "F")):
                    raise ValueError("more than 8 bits per channel; save it as an 8-bit image")
                opened.draft(None, (2 * self.size, 2 * self.size))  # a large JPEG need not be decoded in full
                image = ImageOps.exif_transpose(opened)
            if image.mode == "P":  # a direct conversion to RGB warns about palettes with transparency
                image = image.convert("RGBA")
            # Cropping the largest central square and resizing it equals resizing the shorter side and centre-cropping.
            fitted = ImageOps.fit(image.convert("RGB"), (self.size, self.size), Image.Resampling.BILINEAR)
        except Exception as error:  # a damaged file can raise nearly any exception
            reason = " ".join(str(error).split())
            if isinstance(error, UnidentifiedImageError):
                reason = f"its format is none of {', '.join(FORMATS)}"
            raise UserError(
                f"folder: cannot read the image {path} ({reason}). Repair or replace it, or move it elsewhere."
            ) from error
        return np.asarray(fitted).transpose(2, 0, 1)
