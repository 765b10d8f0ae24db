"""One finding of the doctor, and how a check that fails becomes one."""

from collections.abc import Callable
from dataclasses import dataclass

from feature_repo.common.errors import GateRefusedError

GOOD, WARNING, PROBLEM = "ok", "warning", "problem"
# The types with messages for users, as in commands/job_runner.py.
EXPLAINED = (GateRefusedError, ValueError, RuntimeError, OSError, ImportError)


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        group: What it belongs to, such as `disk`.
        name: What was checked.
        state: GOOD, WARNING or PROBLEM.
        text: What was found, with its value.
        remedy: What to do about it, most often a command; None if nothing is wrong.
    """

    group: str
    name: str
    state: str
    text: str
    remedy: str | None = None


def checked(group: str, name: str, find: Callable[[], str], remedy: str, otherwise: str = PROBLEM) -> Diagnosis:
    """GOOD with what `find` returns, or else its error, as `otherwise` and with the remedy."""
    try:
        return Diagnosis(group, name, GOOD, find())
    except EXPLAINED as error:
        return Diagnosis(group, name, otherwise, str(error).partition("\n")[0], remedy)


def judged(group: str, name: str, text: str, remedy: str | None) -> Diagnosis:
    """A warning if there is a remedy, and good without."""
    return Diagnosis(group, name, WARNING if remedy else GOOD, text, remedy)
