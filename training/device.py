"""Selects the device that models run on."""

import torch


def resolve_device(name: str) -> torch.device:
    """The named torch device; `auto` selects a GPU if there is one, else the CPU.

    Raises:
        ValueError: This machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"inference.device is {name}, which this machine does not have; use auto or cpu")
    return torch.device(name)
