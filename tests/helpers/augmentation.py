"""Augmentation chains used by several tests."""

from ltbench.benchmarks.recipe import Recipe, load_recipe

CHAINS = [
    {"augment": "basic"},
    {"augment": "basic", "cutout": 6},
    {"augment": "simclr"},
    {"augment": "simclr", "cutout": 6},
    {"augment": "simclr", "cutout": 6, "cutout_position": "after", "channels_last": "false"},
    {"augment": "autoaugment"},
    {"augment": "autoaugment", "keep_base": "true", "cutout": 6},
]


def recipe_of(**changes: object) -> Recipe:
    return load_recipe("cifar", {key: str(value) for key, value in changes.items()})[0]
