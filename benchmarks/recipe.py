"""Recipe: the training settings that all methods share. One TOML file per published protocol, in `recipes/`."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import UserError, unknown
from .fields import LATER, BelowOne, Fraction, NonNegative, Positive, PositiveInt, from_text

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the epochs of a stage, constant within an epoch.

    Attributes:
        shape: "steps" multiplies the rate by a factor at each drop, so it is constant without drops; "cosine" lowers it
            from the full rate to 0 along half a cosine, over the epochs after the warm-up (Loshchilov & Hutter 2017).
        drops: pairs of a fraction of the stage and the factor by which the rate is multiplied from then on.
        warmup: number of epochs over which the rate rises linearly to the full rate; 0 for none.
        warmup_from: fraction of the full rate at which the warm-up starts, in [0, 1].
    """

    shape: Literal["steps", "cosine"] = "steps"
    drops: tuple[tuple[float, float], ...] = ()
    warmup: int = 0
    warmup_from: float = 0.0

    def rate(self, full: float, epoch: int, epochs: int) -> float:
        """Learning rate of an epoch.

        In the warm-up, epoch e has the fraction `warmup_from + (1 - warmup_from) (e + 1) / warmup` of the full rate.
        Each drop `(fraction, factor)` multiplies the rate from epoch `fraction * epochs` on, so two drops of 0.01 give
        1e-4 of the full rate. Source: Cao et al. 2019 (LDAM), reference code.

        Args:
            full: learning rate after the warm-up, before the first drop.
            epoch: number of the epoch, from 0, within the stage.
            epochs: number of epochs of the stage.
        """
        if epoch < self.warmup:
            return self.warmup_from * full + (1 - self.warmup_from) * full * (epoch + 1) / self.warmup
        if self.shape == "cosine":
            return full * (1 + math.cos(math.pi * (epoch - self.warmup) / (epochs - self.warmup))) / 2
        for fraction, factor in self.drops:
            if epoch / epochs >= fraction:
                full *= factor
        return full


class Recipe(BaseModel):
    """Backbone, epochs, batch size, optimiser, schedule, augmentation and precision.

    Learning-rate drops are given as fractions of training, so a shorter run keeps the shape of the protocol. The
    warm-up is a number of epochs: it protects the first steps at the full rate, however long the run is.

    A new field needs a neutral default (a run with it equals a run from before the field existed) and the mark `LATER`
    of `fields.py`, which leaves it out of records and ids while it has that value.

    Attributes:
        name: name of the recipe's file, without its extension.
        backbone: name of a backbone; see `build_backbone`.
        weights: pretrained weights of the backbone, see `find_weights`; "" for random ones. A record has the name of a
            file without its folder. Images are then normalised as they were when timm's weights were trained.
        weights_sha256: digest of the weights' file. It is set when the file is read; if you set it, it is compared.
        size: height and width, in pixels, to which the network resizes images; 0 keeps those of the dataset.
        interpolation: kind of resizing; both filter before they reduce a size (antialiasing).
        frozen: keep the backbone in evaluation mode and do not train its weights.
        cache: compute the features of a frozen backbone once, store them in the runs folder, and train on them.
        epochs: number of training epochs.
        batch_size: number of images per step.
        drop_last: leave out a last batch that is smaller than the others.
        optimiser: "sgd", with `momentum`; or "adam" or "adamw", with beta1 = `momentum` and beta2 = 0.999. AdamW
            subtracts the weight decay from the weights (Loshchilov & Hutter 2019); the others add it to the gradient.
        lr: learning rate after the warm-up, before the first drop.
        momentum: momentum of SGD, or beta1 of Adam.
        weight_decay: coefficient of the L2 penalty, for all trained parameters.
        layer_decay: factor of the learning rate from the head to the last stage of the backbone, from there to the one
            before it, and so on; 1 for the same rate everywhere.
        label_smoothing: part s of each label that is spread evenly over all classes: (1 - s) onehot + s / C (Szegedy et
            al. 2016).
        average: decay of the exponential moving average of the weights, which is evaluated and recorded; 0 for none.
        clip_norm: largest norm of the gradient of all trained parameters, which is scaled down to it; 0 for no limit.
        crop_padding: black pixels added on each side before the random crop; 0 for no crop.
        crop_scale: smallest area of a random crop as a fraction of the image, to whose size it is resized; its width is
            3/4 to 4/3 of its height. 0 for no such crop, which replaces the padded one.
        flip: mirror each image horizontally with probability 0.5.
        augment: "basic" adds nothing to crop, flip and Cutout; "simclr" adds the colour operations of SimCLR,
            "autoaugment" the CIFAR-10 policy, which was learnt on the whole balanced dataset.
        cutout: side of the black square cut out of each image, in pixels; 0 for none.
        cutout_position: cut the square before or after the operations that `augment` adds.
        keep_base: with "autoaugment", keep crop, flip and Cutout, which the policy otherwise replaces.
        warmup: number of epochs over which the learning rate rises to `lr`; 0 for none.
        warmup_from: fraction of `lr` at which the warm-up starts.
        schedule: "steps" lowers the learning rate at the `drops`, "cosine" along half a cosine from `lr` to 0.
        drops: pairs of a fraction of training and the factor by which the learning rate is multiplied from then on.
        least_steps: minimum number of optimiser steps; to reach it, a small dataset is trained for more than `epochs`
            epochs.
        precision: precision of the network's convolutions and matrix products; weights and statistics are float32. A
            CPU without bfloat16 units computes "bf16" in float32 and rounds each result. On recent NVIDIA GPUs PyTorch
            uses TF32 for "fp32" convolutions unless configured otherwise.
        channels_last: use the channels-last memory format; it affects speed and rounding.
        evaluate_every: number of epochs between evaluations on the test split; the last epoch is always evaluated.
        threads: number of CPU threads of torch; 0 for torch's default.
        plain: use the readable reference path: image-by-image augmentation, float32, channels first, PyTorch's plain
            optimiser, no CUDA graphs. Its results equal those of the fast path up to rounding.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    backbone: str
    weights: Annotated[str, LATER] = ""
    weights_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$"), LATER] = ""
    size: Annotated[int, Field(ge=0, le=2048), LATER] = 0
    interpolation: Annotated[Literal["bicubic", "bilinear"], LATER] = "bicubic"
    frozen: Annotated[bool, LATER] = False
    cache: Annotated[bool, LATER] = False
    epochs: PositiveInt
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 128
    drop_last: bool = False
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=1e30)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 2e-4
    layer_decay: Annotated[float, Field(gt=0, le=1), LATER] = 1.0
    label_smoothing: Annotated[BelowOne, LATER] = 0.0
    average: Annotated[BelowOne, LATER] = 0.0
    clip_norm: Annotated[NonNegative, LATER] = 0.0
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 0
    warmup_from: Annotated[Fraction, LATER] = 0.0
    schedule: Annotated[Literal["steps", "cosine"], LATER] = "steps"
    drops: tuple[tuple[Fraction, Positive], ...] = ()
    crop_padding: Annotated[int, Field(ge=0, le=1024)] = 4
    crop_scale: Annotated[Fraction, LATER] = 0.0
    flip: bool = True
    augment: Literal["basic", "simclr", "autoaugment"] = "basic"
    cutout: Annotated[int, Field(ge=0, le=4096)] = 0
    cutout_position: Literal["before", "after"] = "before"
    keep_base: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    evaluate_every: PositiveInt = 10
    least_steps: Annotated[int, Field(ge=0, le=10**9), LATER] = 0
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    plain: bool = False

    @field_validator("warmup", mode="before")
    @classmethod
    def _warmup_in_epochs(cls, value: Any) -> Any:
        if str(value).startswith("0.") and float(value) > 0:
            raise ValueError("the warm-up is a number of epochs, not a fraction of training")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.schedule == "cosine" and self.drops:
            raise ValueError("schedule = cosine has no drops; set drops = []")
        if self.plain and (self.precision != "fp32" or self.channels_last):
            raise ValueError("plain needs precision = fp32 and channels_last = false, as --plain sets them")
        if self.weights_sha256 and not self.weights:
            raise ValueError("weights_sha256 needs weights")
        if self.crop_scale and (self.crop_padding or self.augment != "basic"):
            raise ValueError("crop_scale replaces other crops and colours; set crop_padding = 0 and augment = basic")
        if self.frozen and not self.weights:
            raise ValueError("frozen needs weights, since a frozen backbone with random weights learns nothing")
        if self.cache and not self.frozen:
            raise ValueError("cache needs frozen = true, since features change while the backbone is trained")
        if self.cache and self.augments:
            raise ValueError(
                "cache needs images that are not augmented: crop_padding = 0, crop_scale = 0, flip = false, cutout = 0 "
                "and augment = basic"
            )
        return self

    @property
    def augments(self) -> bool:
        """Whether training images are augmented."""
        return bool(self.crop_padding or self.crop_scale or self.flip or self.cutout or self.augment != "basic")

    def steps_per_epoch(self, images: int) -> int:
        """Number of batches in an epoch of `images` images, at least 1.

        Unless it is dropped, a single last image joins the batch before it, because batch norm may fail on one image.
        """
        whole, rest = divmod(images, self.batch_size)
        return max(1, whole + (rest > 1 and not self.drop_last))

    def lengthened(self, images: int) -> Recipe:
        """Copy of the recipe with at least as many epochs as `least_steps` requires for `images` training images."""
        epochs = max(self.epochs, math.ceil(self.least_steps / self.steps_per_epoch(images)))
        return self.model_copy(update={"epochs": epochs})

    def learning_rate(
        self, epoch: int, epochs: int, lr: float | None = None, schedule: Schedule | None = None
    ) -> float:
        """Learning rate of an epoch, constant within the epoch; see `Schedule.rate`.

        Args:
            epoch: number of the epoch, from 0, within the stage.
            epochs: number of epochs of the stage.
            lr: full learning rate; None for the recipe's.
            schedule: schedule, including the warm-up; None for the recipe's.
        """
        own = Schedule(self.schedule, self.drops, self.warmup, self.warmup_from)
        return (schedule or own).rate(self.lr if lr is None else lr, epoch, epochs)

    def evaluates(self, epoch: int, epochs: int) -> bool:
        """Whether to evaluate on the test split after this epoch (from 0): every `evaluate_every`-th and the last."""
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 == epochs


def recipe_names() -> list[str]:
    """Names of the built-in recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def recipe_file(name: str) -> Path:
    """Path of a recipe's file.

    Args:
        name: a built-in recipe, or the path of a TOML file.

    Raises:
        UserError: the recipe does not exist, or the file has the name of a built-in recipe.
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise UserError(f"There is no recipe file {name}.")
        if Path(name).stem in recipe_names() and Path(name).resolve().parent != FOLDER.resolve():
            raise UserError(
                f"{name} has the name of a built-in recipe; its results would be mistaken for that recipe's. Rename it."
            )
        return Path(name)
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    return FOLDER / f"{name}.toml"


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> tuple[Recipe, dict[str, Any]]:
    """Load a recipe and change some of its values.

    Args:
        name: name of a built-in recipe, or path of a .toml file.
        changes: new values by field name; strings are converted to the field's type.

    Returns:
        The recipe, and the new values that differ from those in the file, by field name.

    Raises:
        UserError: the recipe or a field is unknown, a value is out of range, or the file is not TOML.
    """
    path = recipe_file(name)
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}.") from error
    plain["name"] = path.stem
    for field in changes or {}:
        if field not in Recipe.model_fields or field == "name":
            raise unknown(f"field of recipe '{path.stem}'", field, set(Recipe.model_fields) - {"name"})
    original = _validate(plain, path.stem)
    hints = {field: Recipe.model_fields[field].annotation for field in changes or {}}
    texts = {field: from_text(hints[field], value) for field, value in (changes or {}).items()}
    recipe = _validate(plain | texts, path.stem)
    before, after = original.model_dump(mode="json"), recipe.model_dump(mode="json")
    return recipe, {field: after[field] for field in after if after[field] != before[field]}


def _validate(values: dict[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"Recipe '{name}': {explain(error)}.") from error


def explain(error: ValidationError) -> str:
    """Description of all problems in a pydantic error, each with field, value and reason, joined by semicolons."""
    problems = []
    for e in error.errors():
        message = e["msg"].removeprefix("Value error, ")
        where = f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: " if e["loc"] else ""  # no loc: several fields
        problems.append(f"{where}{message[0].lower()}{message[1:]}")
    return "; ".join(problems)
