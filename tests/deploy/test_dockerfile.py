"""The Dockerfile, read as text: there is no Docker engine where the tests run."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.deploy.commands import require_command

ROOT = Path(__file__).parents[2]
STAGES = ("api-packages", "batch-packages", "code", "runtime", "batch", "api")
IMAGES = ("batch", "api")
Instruction = tuple[str, str]


def instructions() -> dict[str, list[Instruction]]:
    """The instructions of each stage; those before the first FROM are of the stage ''."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    stages: dict[str, list[Instruction]] = {"": []}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            if name == "FROM":
                stages[rest.partition(" AS ")[2]] = []
            list(stages.values())[-1].append((name, rest.strip()))
    return stages


def bases(stage: str) -> list[str]:
    """The stages that a stage is made from, itself first."""
    found = instructions()
    chain = [stage]
    while (parent := found[chain[-1]][0][1].partition(" AS ")[0]) in found:
        chain.append(parent)
    return chain


def words_of(stage: str, name: str) -> list[str]:
    """The arguments of the last such instruction in exec form."""
    last = [rest for instruction, rest in instructions()[stage] if instruction == name][-1]
    return re.findall(r'"([^"]*)"', last)


def test_it_has_several_stages() -> None:
    assert tuple(instructions())[1:] == STAGES
    for stage in IMAGES:
        # The packages come as files: the images have neither pip nor what it leaves behind.
        assert bases(stage) == [stage, "runtime"]
        copied = [rest for name, rest in instructions()[stage] if name == "COPY"]
        assert copied == [f"--from={stage}-packages /opt/venv /opt/venv", "--from=code /opt/tawsiya /opt/tawsiya"]
    runtime = " ".join(rest for name, rest in instructions()["runtime"] if name == "RUN")
    assert "pip uninstall" in runtime
    assert not re.search(r"apt-get|pip install|gcc|build-essential", runtime)


def test_it_runs_as_nobody_who_may_write_the_code() -> None:
    runtime = instructions()["runtime"]
    assert [rest for name, rest in runtime if name == "USER"] == ["10001:10001"]  # a number: Kubernetes compares it
    assert "RUN" not in [name for name, _ in runtime[runtime.index(("USER", "10001:10001")) :]]
    assert all(name != "USER" for stage in IMAGES for name, _ in instructions()[stage])
    owned = [re.findall(r"chown \S+ (.*)", rest) for name, rest in runtime if name == "RUN"]
    assert owned == [[], ["var"]]


def test_what_it_copies_exists_and_is_in_the_build_context() -> None:
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for stage, lines in instructions().items():
        for name, rest in lines:
            if name == "COPY" and "--from" not in rest:
                *sources, _ = [word for word in rest.split() if not word.startswith("--")]
                for source in sources:
                    assert (ROOT / source).exists(), (stage, source)
                    assert f"!{source}" in context
    assert context[1] == "*"


def test_the_extras_exist_and_the_api_has_none_of_batch() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    extras = {}
    for stage in ("api-packages", "batch-packages"):
        (installed,) = [rest for name, rest in instructions()[stage] if name == "RUN" and " install " in rest]
        extras[stage] = set(re.findall(r"'\.\[(.*)\]'", installed)[0].split(","))
    assert extras["batch-packages"] == extras["api-packages"] | {"batch"}
    assert extras["batch-packages"] <= known.keys()


@pytest.mark.parametrize("stage", IMAGES)
def test_it_runs_a_command_with_a_configuration(stage: str) -> None:
    assert words_of("runtime", "ENTRYPOINT") == ["tawsiya"]
    words = words_of(stage, "CMD")
    require_command(words)
    assert (ROOT / words[-1]).is_file()


def test_it_names_no_host() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("http://127.0.0.1:8000/readyz", "")
    assert "://" not in text
    assert [rest for name, rest in instructions()[""]] == ["PYTHON_IMAGE=python:3.11-slim"]
