"""What the doctor says of Python, packages, memory and threads."""

import pytest

from batch_jobs.doctor import environment
from batch_jobs.doctor.diagnosis import Diagnosis
from batch_jobs.doctor.environment import (
    cores,
    environment_checks,
    memory_bytes,
    memory_check,
    packages_check,
    pins_check,
    python_check,
    threads_check,
)


def found(item: Diagnosis) -> tuple[str, str, str | None]:
    return item.state, item.text, item.remedy


def test_this_environment_has_what_it_needs() -> None:
    states = {item.name: item.state for item in environment_checks()}
    assert states | {"pins": "", "memory": "", "threads": ""} == {
        "python": "ok", "packages": "ok", "processor": "ok", "pins": "", "memory": "", "threads": "",
    }  # fmt: skip


def test_an_older_python_is_a_problem() -> None:
    assert found(python_check("3.10.2", ">=3.11")) == (
        "problem",
        "3.10.2, needed is >=3.11",
        "make a new .venv with >=3.11",
    )
    assert python_check("3.13.0", ">=3.11").state == "ok"


def test_packages_that_do_not_fit_are_named_with_the_command_that_mends_them() -> None:
    requirements = ["pytest<2", "typer>=0.1", "no-such-package>=3", "also-missing; extra == 'spark'"]
    item = packages_check(requirements)
    assert item.state == "problem"
    assert item.text.startswith("do not fit: pytest ")
    assert item.text.endswith(", no-such-package missing")
    assert item.remedy == "pip install 'pytest<2' 'no-such-package>=3'"
    assert found(packages_check(["typer>=0.1"])) == ("ok", "1 needed, all of them fit", None)


def test_packages_other_than_the_pinned_ones_are_a_warning() -> None:
    item = pins_check("# exact versions\npytest==1.0\nnot-installed==3\n")
    assert item.state == "warning"
    assert item.text.startswith("1 other than in constraints.txt: pytest ")
    assert item.text.endswith(" instead of 1.0")
    assert item.remedy == "pip install --constraint constraints.txt --upgrade pytest"


def test_a_build_of_the_pinned_version_is_that_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_installed", {"torch": "2.13.0+cpu"}.get)
    assert pins_check("torch==2.13.0\n").state == "ok"
    assert pins_check("torch==2.13.1\n").state == "warning"


def test_little_memory_and_too_many_threads_are_warnings() -> None:
    assert found(memory_check(3 * 2**30)) == (
        "warning",
        "3.0 GB",
        "give it 4 GB or more, or set resources.memory_limit",
    )
    assert found(memory_check(4 * 2**30)) == ("ok", "4.0 GB", None)
    assert memory_bytes() > 2**28
    assert found(threads_check("16", 2)) == ("warning", "OMP_NUM_THREADS=16 on 2 cores", "unset OMP_NUM_THREADS")
    assert found(threads_check("2", 2)) == ("ok", "OMP_NUM_THREADS=2 on 2 cores", None)
    assert found(threads_check(None, cores()))[0] == "ok"
