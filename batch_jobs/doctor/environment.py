"""The machine and what is installed on it."""

import os
import platform
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from batch_jobs.doctor.diagnosis import GOOD, PROBLEM, WARNING, Diagnosis, judged

_GROUP = "environment"
CONSTRAINTS = Path("constraints.txt")
MIN_MEMORY_GB = 4  # as README.md says
SHOWN_PACKAGES = 5
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def environment_checks() -> Iterator[Diagnosis]:
    """Python, packages, processor, memory and threads."""
    about = metadata.metadata("tawsiya")
    yield python_check(platform.python_version(), about["Requires-Python"])
    yield packages_check(metadata.requires("tawsiya") or ())
    if CONSTRAINTS.is_file():
        yield pins_check(CONSTRAINTS.read_text(encoding="utf-8"))
    yield memory_check(memory_bytes())
    yield _processor_check()
    yield threads_check(os.environ.get("OMP_NUM_THREADS"), cores())


def python_check(version: str, wanted: str) -> Diagnosis:
    """Whether this Python is one that Tawsiya is made for."""
    if SpecifierSet(wanted).contains(version):
        return Diagnosis(_GROUP, "python", GOOD, version)
    return Diagnosis(_GROUP, "python", PROBLEM, f"{version}, needed is {wanted}", f"make a new .venv with {wanted}")


def packages_check(requirements: Iterable[str]) -> Diagnosis:
    """Whether the packages that every command needs are installed in versions that fit."""
    wanted = [Requirement(text) for text in requirements]
    # Those of an extra are missing where nobody asked for it.
    needed = [item for item in wanted if item.marker is None or item.marker.evaluate({"extra": ""})]
    wrong = [item for item in needed if not item.specifier.contains(_installed(item.name) or "0", prereleases=True)]
    if not wrong:
        return Diagnosis(_GROUP, "packages", GOOD, f"{len(needed)} needed, all of them fit")
    found = ", ".join(f"{item.name} {_installed(item.name) or 'missing'}" for item in wrong[:SHOWN_PACKAGES])
    names = " ".join(f"'{item.name}{item.specifier}'" for item in wrong)
    return Diagnosis(_GROUP, "packages", PROBLEM, f"do not fit: {found}", f"pip install {names}")


def pins_check(constraints: str) -> Diagnosis:
    """Whether the installed packages are those that the tests ran with; another version may give other results."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE))
    others = {name: found for name, pin in pins.items() if (found := _installed(name)) and not _is_pinned(found, pin)}
    if not others:
        return Diagnosis(_GROUP, "pins", GOOD, f"as {CONSTRAINTS} says")
    first = list(others)[:SHOWN_PACKAGES]
    shown, names = ", ".join(f"{name} {others[name]} instead of {pins[name]}" for name in first), " ".join(first)
    text = f"{len(others)} other than in {CONSTRAINTS}: {shown}"
    return Diagnosis(_GROUP, "pins", WARNING, text, f"pip install --constraint {CONSTRAINTS} --upgrade {names}")


def _is_pinned(found: str, pin: str) -> bool:
    """As pip compares: 2.13.0+cpu is 2.13.0."""
    return SpecifierSet(f"=={pin}").contains(found, prereleases=True)


def memory_check(n_bytes: int) -> Diagnosis:
    """Whether there is enough memory for the demo and small shops."""
    gigabytes = n_bytes / 2**30
    remedy = f"give it {MIN_MEMORY_GB} GB or more, or set resources.memory_limit" if gigabytes < MIN_MEMORY_GB else None
    return judged(_GROUP, "memory", f"{gigabytes:.1f} GB", remedy)


def threads_check(variable: str | None, n_cores: int) -> Diagnosis:
    """Whether torch may start more threads than there are cores, which then wait for each other."""
    too_many = variable is not None and variable.isdecimal() and int(variable) > n_cores
    text = f"OMP_NUM_THREADS={variable} on {n_cores} cores" if variable else f"one for each of {n_cores} cores"
    return judged(_GROUP, "threads", text, "unset OMP_NUM_THREADS" if too_many else None)


def memory_bytes() -> int:
    """The memory that this process may take: the machine's, or what its container limits."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [int(text) for file in _CGROUP_LIMITS if file.is_file() and (text := file.read_text().strip()).isdecimal()]
    return min([total, *limits])


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor_check() -> Diagnosis:
    import torch  # takes seconds

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    capability = torch.backends.cpu.get_cpu_capability()
    return Diagnosis(_GROUP, "processor", GOOD, f"{platform.machine()}, {cores()} cores, {capability}; {gpu}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
