"""Words of messages for people."""


def counted(number: int, name: str) -> str:
    """A number with its noun: 1 check, 1,200 checks."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"
