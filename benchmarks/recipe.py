"""Recipe: all that is held equal between methods. One TOML file per published protocol, in `recipes/`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import UserError, unknown
from .fields import Fraction, NonNegative, Positive, PositiveInt, from_text

FOLDER = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """Backbone, epochs, batches, optimiser, schedule, augmentation, precision.

    Drops of the learning rate stand at fractions of training, so that a shorter run keeps the shape of the protocol.
    The warm-up is a number of epochs: what it protects, the first steps at the full rate, does not shrink with the run.

    A field that is added later has its neutral value as the default, with which a run is what it was before the field
    existed, and is marked with `later`: while it has that value it is left out of records and ids.

    Attributes:
        optimiser: SGD with `momentum`, or Adam with `momentum` as its first and 0.999 as its second beta.
        crop_padding: black pixels added on each side before the random crop; 0 for no crop.
        flip: mirror half of the images.
        augment: "basic" adds nothing to crop, flip and Cutout; "simclr" adds the colour operations of SimCLR,
            "autoaugment" the CIFAR-10 policy, which was learnt on the whole balanced data set.
        cutout: side of a black hole in each image, in pixels; 0 for none.
        cutout_position: the hole is cut before or after the operations that `augment` adds.
        keep_base: with "autoaugment", keep crop, flip and Cutout, which the policy replaces otherwise.
        warmup: epochs over which the learning rate rises to `lr`; 0 for none.
        drops: pairs of a fraction of training and the factor that the learning rate is multiplied by from there on.
        precision: of the network's convolutions and matrix products; weights and statistics are float32. A CPU without
            bfloat16 units computes "bf16" in float32 and rounds each result. On recent NVIDIA cards PyTorch convolves
            in TF32 where "fp32" stands, unless it is configured otherwise.
        plain: the readable reference path: augmentation image by image, float32, channels first, PyTorch's plainest
            optimiser, no recorded steps. It computes what the fast path does, up to rounding.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    backbone: str
    epochs: PositiveInt
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 128
    drop_last: bool = False
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=1e30)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 2e-4
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 0
    drops: tuple[tuple[Fraction, Positive], ...] = ()
    crop_padding: Annotated[int, Field(ge=0, le=1024)] = 4
    flip: bool = True
    augment: Literal["basic", "simclr", "autoaugment"] = "basic"
    cutout: Annotated[int, Field(ge=0, le=4096)] = 0
    cutout_position: Literal["before", "after"] = "before"
    keep_base: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    evaluate_every: PositiveInt = 10
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    plain: bool = False

    @field_validator("warmup", mode="before")
    @classmethod
    def _warmup_in_epochs(cls, value: Any) -> Any:
        if str(value).startswith("0.") and float(value) > 0:
            raise ValueError("the warm-up is a number of epochs, not a fraction of training")
        return value

    @model_validator(mode="after")
    def _plainly(self) -> Recipe:
        if self.plain and (self.precision != "fp32" or self.channels_last):
            raise ValueError("plain needs precision = fp32 and channels_last = false, as --plain sets them")
        return self

    def learning_rate(self, epoch: int, epochs: int, drops: tuple[tuple[float, float], ...] | None = None) -> float:
        """Learning rate of an epoch (0-based) in a stage of `epochs`, set once at its start.

        With `drops`, these take the place of the recipe's and there is no warm-up.

        Linear warm-up, `base * (epoch + 1) / warmup` for the first `warmup` epochs; every drop `(fraction, factor)`
        multiplies from epoch `fraction * epochs` on, so two drops of 0.01 give 1e-4 of the base rate.
        Source: Cao et al. 2019 (LDAM), reference code.
        """
        base = self.lr
        if drops is None and epoch < self.warmup:
            return base * (epoch + 1) / self.warmup
        for fraction, factor in self.drops if drops is None else drops:
            if epoch / epochs >= fraction:
                base *= factor
        return base

    def evaluates(self, epoch: int, epochs: int) -> bool:
        """Whether the test split is measured after this epoch: every `evaluate_every`-th and the last."""
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 == epochs


def recipe_names() -> list[str]:
    """Names of the recipes that come with the suite."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def recipe_file(name: str) -> Path:
    """The file of a recipe, given by its name or by a path to a TOML file of the user's own.

    Raises:
        UserError: there is no such recipe.
    """
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise UserError(f"There is no recipe file {name}.")
        if Path(name).stem in recipe_names() and Path(name).resolve().parent != FOLDER.resolve():
            raise UserError(f"{name} has the name of a recipe of the suite; results would be taken for its. Rename it.")
        return Path(name)
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    return FOLDER / f"{name}.toml"


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> tuple[Recipe, dict[str, Any]]:
    """A recipe with `changes` (field -> value, strings allowed) applied.

    Returns:
        The recipe and those of the changes that really change it, in their parsed form.

    Raises:
        UserError: unknown recipe or field, a value out of range, or a file that is not TOML.
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
    """Every problem of a pydantic error in one sentence: field, value, what is wrong."""
    problems = []
    for e in error.errors():
        message = e["msg"].removeprefix("Value error, ")
        where = f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: " if e["loc"] else ""  # none: several fields
        problems.append(f"{where}{message[0].lower()}{message[1:]}")
    return "; ".join(problems)
