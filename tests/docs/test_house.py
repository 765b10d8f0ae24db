"""House rules that a reader relies on: one meaning per name, small folders, no import circle, true paths in docs."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("feature_repo", "expectations", "training", "batch_jobs", "online_api")
MOST_FILES_OF_A_FOLDER = 15
# Not the decision records: those tell what was, paths included.
DOCUMENTS = [page for folder in (".", "start", "how-to") for page in sorted((ROOT / "docs" / folder).glob("*.md"))]
PAGES = ("README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in DOCUMENTS))


def modules() -> Iterator[Path]:
    for package in (*PACKAGES, "benchmarks"):
        yield from (path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py")


def public_names(tree: ast.Module) -> Iterator[str]:
    """Public classes, type aliases and constants that the module defines, not those of its functions."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            targets = [item for target in node.targets for item in getattr(target, "elts", [target])]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if name[0].isupper())


def test_a_public_name_has_one_meaning() -> None:
    places = defaultdict(set)
    for path in modules():
        for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
            if path.parts[len(ROOT.parts)] != "benchmarks":
                places[name].add(str(path.relative_to(ROOT)))
    assert {name: sorted(paths) for name, paths in places.items() if len(paths) > 1} == {}


def test_folders_are_small() -> None:
    counts: dict[str, int] = defaultdict(int)
    for path in modules():
        counts[str(path.parent.relative_to(ROOT))] += 1
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES_OF_A_FOLDER} == {}


def imported(path: Path, names: set[str]) -> set[str]:
    """The project's modules that a module imports when it is loaded, those for type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & names


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}
    graph = {name: imported(path, set(paths)) - {name} for name, path in paths.items()}
    size = 0
    while size != len(graph):  # drop whatever imports nothing that is left, or is imported by nothing that is left
        size = len(graph)
        wanted = set().union(*graph.values())
        graph = {name: targets & graph.keys() for name, targets in graph.items() if name in wanted}
        graph = {name: targets for name, targets in graph.items() if targets}
    assert graph == {}


def glossary() -> list[str]:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    cells = [row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| ")]
    return [word for cell in cells if cell != "word" for word in cell.split(", ")]


def test_every_word_of_the_glossary_is_used() -> None:
    pages = [ROOT / page for page in PAGES if page != "docs/glossary.md"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in (*modules(), *pages)).lower()
    text = re.sub(r"[\s_-]+", " ", text)  # an identifier uses the word too, and a line may break within it
    assert [word for word in glossary() if re.sub(r"[\s-]+", " ", word) not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_a_gap_to_fill(page: str) -> None:
    assert "@@" not in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_documents_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    roots = "|".join((*PACKAGES, "benchmarks", "reference", "tests", "docs", "config"))
    paths = {path.rstrip("/") for path in re.findall(rf"`((?:{roots})/[\w./-]*)`", text)}
    made_by_the_user = {"config/rules.yaml", "config/synonyms.yaml", "config/sources/my_shop.yaml"}
    assert [path for path in sorted(paths - made_by_the_user) if not (ROOT / path).exists()] == []
