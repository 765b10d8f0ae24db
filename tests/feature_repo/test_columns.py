"""Code names columns by their constants, so that a rename is one edit.

The rule: a name of several words (`product_key`) can hardly mean anything but the column, so no product code spells it
out. A name of one word (`text`, `price`) is also an ordinary word, a JSON key, a file name, a field of a report, and no
test can tell which is meant; those are left to review.
"""

import ast
from pathlib import Path

from feature_repo import columns

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("feature_repo", "expectations", "training", "batch_jobs", "online_api")
CONSTANTS = {name: value for name, value in vars(columns).items() if name.isupper() and isinstance(value, str)}
NAMES = set(CONSTANTS.values())
COMPOUND = {name for name in NAMES if "_" in name}

# The same letters, but not our column: what others may spell as they like, and what must survive our renaming.
OTHER_THINGS = {
    "batch_jobs/ingestion/events.py": {"event_types"},  # a key of the ingest report
    "feature_repo/schema.py": {"event_types"},  # the names of the types, hashed; not the column of their codes
    "batch_jobs/ingestion/column_names.py": {"event_time", "event_timestamp"},  # how shops name their columns
    "batch_jobs/console_text.py": {"buyer_id", "product_id"},  # keys of the commands' JSON answers, a public contract
}


def literals(source: str) -> list[tuple[int, str]]:
    """Line and value of each string in the code, docstrings aside."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr):
                docstrings.add(first.value)
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    ]


def spelled_out() -> dict[str, list[tuple[int, str]]]:
    """Column names of several words found in product code, by file."""
    hits_by_name = {}
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            hits = [(line, value) for line, value in literals(path.read_text(encoding="utf-8")) if value in COMPOUND]
            name = path.relative_to(REPOSITORY).as_posix()
            if hits and name != "feature_repo/columns.py":
                hits_by_name[name] = hits
    return hits_by_name


def test_the_vocabulary_has_one_constant_per_name() -> None:
    assert len(NAMES) == len(CONSTANTS)
    assert all(name.lower() == value for name, value in CONSTANTS.items())


def test_the_search_sees_strings_but_not_docstrings() -> None:
    source = (
        '"""product_key"""\ndef f(t):\n    """product_key"""\n    return t["product_key"], f"{t[\'event_type\']}"\n'
    )
    assert literals(source) == [(4, "product_key"), (4, "event_type")]


def test_product_code_spells_no_column_out() -> None:
    violations = [
        f"{file}:{line}: {value!r}; use feature_repo.columns"
        for file, hits in spelled_out().items()
        for line, value in hits
        if value not in OTHER_THINGS.get(file, set())
    ]
    assert not violations, "\n".join(violations)


def test_every_exception_is_still_needed() -> None:
    actual = {file: {value for _, value in hits} for file, hits in spelled_out().items()}
    assert not [f"{file}: {name}" for file, names in OTHER_THINGS.items() for name in names - actual.get(file, set())]
