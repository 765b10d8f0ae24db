"""Which device models run on."""

import torch


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one; any other name is taken as it is.

    Raises:
        ValueError: The device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"inference.device is {name}, which this machine does not have; use auto or cpu")
    return torch.device(name)
