"""Choice of the device from a command-line option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import torch


def find_device(name: str) -> torch.device:
    """The device for `--device`: `auto` (CUDA if available), `cpu` or `cuda`. Imports torch when called.

    Raises:
        UserError: `cuda` is requested but not available.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device cuda: torch {torch.__version__} finds no CUDA device on this machine. Use --device cpu or auto."
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
