"""The file of merchandising rules: what it may hold, what its errors say, and how a change is taken."""

import datetime as dt
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.common.errors import ConfigError
from online_api.lists.rule_file import Rule, RuleFile, RuleSet

ROOT = Path(__file__).parents[3]
BOOST = "rules: [{name: eid, action: boost, weight: 0.2, match: {brands: [Acme]}}]"
BURY = "rules: [{name: dispute, action: bury, weight: 0.2, match: {brands: [Acme]}}]"
BROKEN = "rules: [{name: eid, action: boost, match: {brands: [Acme]}}]"


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], RuleSet]:
    def _load(text: str) -> RuleSet:
        path = tmp_path / "rules.yaml"
        path.write_text(text, encoding="utf-8")
        return RuleSet.load(path)

    return _load


def utc_ms(*moment: int) -> int:
    return int(dt.datetime(*moment, tzinfo=dt.UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


def test_the_example_loads() -> None:
    rules = RuleSet.load(ROOT / "config" / "rules.example.yaml").rules

    assert [(rule.name, rule.action) for rule in rules] == [
        ("eid-gifts", "boost"),
        ("small-treats", "boost"),
        ("dispute", "bury"),
        ("campaign", "pin"),
    ]


def test_every_example_of_the_document_loads(load: Callable[[str], RuleSet]) -> None:
    text = (ROOT / "docs" / "merchandising.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    assert examples
    for example in examples:
        assert load(example).rules


def test_the_document_describes_every_field() -> None:
    text = (ROOT / "docs" / "merchandising.md").read_text(encoding="utf-8")

    for field in [*Rule.model_fields, *Rule.model_fields["match"].annotation.model_fields]:  # type: ignore[union-attr]
        assert f"| `{field}`" in text


@pytest.mark.parametrize("text", ["", "# nothing yet", "rules:", "rules: []", "rules:\n  # - name: later"])
def test_a_file_may_hold_no_rules(load: Callable[[str], RuleSet], text: str) -> None:
    assert load(text).rules == ()


def test_values_are_read_as_they_are_written(load: Callable[[str], RuleSet]) -> None:
    book = load("rules: [{name: 7, action: bury, weight: 1, match: {product_ids: [0123, 1e3], brands: [No, null]}}]")

    assert book.rules[0].name == "7"
    assert book.rules[0].match.product_ids == ("0123", "1e3")
    assert book.rules[0].match.brands == ("No", "null")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-03-20", utc_ms(2026, 3, 20)),
        ("2026-03-20 18:30:00", utc_ms(2026, 3, 20, 18, 30)),
        ("2026-03-20T18:30:00Z", utc_ms(2026, 3, 20, 18, 30)),
        ("2026-03-20T18:30:00+03:00", utc_ms(2026, 3, 20, 15, 30)),
    ],
)
def test_times_are_iso_8601_and_utc_where_no_zone_is_given(
    load: Callable[[str], RuleSet], written: str, expected: int
) -> None:
    book = load(BOOST.replace("weight", f"start: {written}, weight"))

    assert book.rules[0].start == expected


def test_a_rule_holds_from_its_start_until_just_before_its_end(load: Callable[[str], RuleSet]) -> None:
    rule = load(BOOST.replace("weight", "start: 2026-03-20, end: 2026-03-21, weight")).rules[0]
    start, end = utc_ms(2026, 3, 20), utc_ms(2026, 3, 21)

    assert [rule.is_active(now) for now in (start - 1, start, end - 1, end)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("name: a, action: boost, match: {brands: [x]}", "rule 'a': weight is missing; a boost needs one"),
        ("name: a, action: bury, weight: 0, match: {brands: [x]}", "rule 'a': weight: Input should be greater than 0"),
        ("name: a, action: bury, weight: .nan, match: {brands: [x]}", "rule 'a': weight: Input should be a valid numb"),
        ("name: a, action: bury, weight: nan, match: {brands: [x]}", "rule 'a': weight: Input should be "),
        ("name: a, action: boost, weight: inf, match: {brands: [x]}", "rule 'a': weight: Input should be less than"),
        ("name: a, action: pin, match: {product_ids: [x]}", "rule 'a': position is missing; a pin needs one"),
        ("name: a, action: pin, position: 0, match: {product_ids: [x]}", "rule 'a': position: Input should be greater"),
        (
            "name: a, action: pin, position: 1, weight: 1, match: {product_ids: [x]}",
            "rule 'a': weight has no meaning for a pin; remove it",
        ),
        (
            "name: a, action: pin, position: 1, match: {product_ids: [x], max_price: 3}",
            "rule 'a': match: a pin takes product_ids and no other condition",
        ),
        ("name: a, action: pin, position: 1, match: {brands: [x]}", "match: a pin takes product_ids and no other"),
        ("name: a, action: boost, weight: 1", "rule 'a': match: Field required"),
        ("name: a, action: boost, weight: 1, match: {}", "rule 'a': match: has no condition; give at least one of"),
        (
            "name: a, action: boost, weight: 1, match: {brands: []}",
            "rule 'a': match.brands: Tuple should have at least",
        ),
        ("name: a, action: boost, weight: 1, match: {min_price: 9, max_price: 3}", "min_price 9 is above max_price 3"),
        ("name: a, action: boost, weight: 1, match: {brnds: [x]}", "rule 'a': match.brnds: unknown key"),
        ("name: a, action: boost, weight: 1, until: 2026, match: {brands: [x]}", "rule 'a': until: unknown key"),
        ("name: a, action: hide, weight: 1, match: {brands: [x]}", "rule 'a': action: Input should be 'pin', 'boost'"),
        ("name: a, action: boost, weight: 1, end: 2026, match: {brands: [x]}", "rule 'a': end: expected ISO 8601"),
        (
            "name: a, action: boost, weight: 1, start: 2026-03-20, end: 2026-03-20, match: {brands: [x]}",
            "rule 'a': end is not after start",
        ),
        ("action: boost, weight: 1, match: {brands: [x]}", "rule 1: name: Field required"),
    ],
)
def test_errors_name_the_rule_the_field_and_the_remedy(load: Callable[[str], RuleSet], rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(f"rules: [{{{rule}}}]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [", "is not valid YAML"),
        ("- a", "the file: Input should be a valid dictionary"),
        ("rule: []", "the file: rule: unknown key"),
        ("rules: {a: b}", "the file: rules: Input should be a valid tuple"),
        ("rules: [pin]", "rule 1: Input should be a valid dictionary"),
        (f"{BOOST[:-1]}, {BOOST[8:]}", "the file: more than one rule is called 'eid'; names must differ"),
    ],
)
def test_errors_of_the_whole_file(load: Callable[[str], RuleSet], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(text)


def test_bytes_that_are_no_text_are_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_bytes(b"rules: \xff")

    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 0xff at 7\)"):
        RuleSet.load(tmp_path / "rules.yaml")


WORDS = st.sampled_from(["", "a", "boost", "pin", "1", "-1", ".nan", "!!int x", "2026-03-20", "9999-12-31", "~", "[a]"])
FIELDS = st.sampled_from([*Rule.model_fields, "brands", "x"])


@given(st.dictionaries(FIELDS, WORDS | st.dictionaries(FIELDS, WORDS).map(str)))
def test_a_file_loads_or_says_why_not(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any_rules.yaml"
    path.write_text(f"rules: [{{{', '.join(f'{name}: {value}' for name, value in fields.items())}}}]", encoding="utf-8")

    # Any other exception would leave a reload half done.
    with suppress(ConfigError):
        RuleSet.load(path)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A file and its watcher; each write has a modification time of its own."""

    def __init__(self, path: Path, text: str | None) -> None:
        self.path = path
        self._writes = 0
        if text is not None:
            self.write(text)
        self.clock = Clock()
        self.file = RuleFile(path, self.clock)

    def write(self, text: str) -> None:
        self._writes += 1
        self.path.write_text(text, encoding="utf-8")
        os.utime(self.path, ns=(0, self._writes * 1_000_000))

    def names(self, after: float) -> list[str]:
        self.clock.now += after
        return [rule.name for rule in self.file.content().rules]


def test_a_changed_file_is_read_again_at_most_once_a_second(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "rules.yaml", BOOST)
    assert watched.names(after=0) == ["eid"]

    watched.write(BURY)

    assert watched.names(after=0.9) == ["eid"]
    assert watched.names(after=0.1) == ["dispute"]


def test_a_change_that_keeps_the_size_is_seen(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "rules.yaml", BOOST)

    watched.write(BOOST.replace("eid", "new"))

    assert watched.names(after=1) == ["new"]


def test_a_restored_file_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "rules.yaml", BOOST)
    status = watched.path.stat()
    backup = tmp_path / "backup.yaml"
    backup.write_text(BOOST.replace("eid", "old"), encoding="utf-8")
    os.utime(backup, ns=(status.st_atime_ns, status.st_mtime_ns))

    backup.replace(watched.path)  # as `cp -p` or a restored backup leaves it

    assert watched.names(after=1) == ["old"]


def test_an_unchanged_file_gives_the_same_rules(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "rules.yaml", BOOST)
    before = watched.file.content()

    watched.clock.now += 60

    assert watched.file.content() is before


def test_a_broken_file_leaves_the_old_rules_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(tmp_path / "rules.yaml", BOOST)

    watched.write(BROKEN)

    assert watched.names(after=1) == ["eid"]
    assert watched.names(after=1) == ["eid"]
    assert watched.file.error is not None
    assert "rule 'eid': weight is missing" in watched.file.error
    assert [record.levelname for record in caplog.records if "stay as they were" in record.message] == ["ERROR"]

    watched.write(BURY)

    assert watched.names(after=1) == ["dispute"]
    assert watched.file.error is None


def test_a_file_that_is_broken_from_the_start_means_no_rules_and_an_error(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "rules.yaml", BROKEN)

    assert watched.names(after=0) == []
    assert watched.file.error is not None


def test_a_missing_file_means_no_rules(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "rules.yaml", None)
    assert watched.names(after=0) == []
    assert watched.file.error is None

    watched.write(BOOST)
    assert watched.names(after=1) == ["eid"]

    watched.path.unlink()
    assert watched.names(after=1) == []
    assert watched.file.error is None


def test_what_cannot_be_read_leaves_the_old_rules_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "rules.yaml"
    real.write_text(BOOST, encoding="utf-8")
    link.symlink_to(real)
    watched = Watched(link, None)

    link.unlink()
    link.symlink_to(link)  # a loop: there is something, and nobody can open it

    assert [watched.names(after=1), watched.names(after=1)] == [["eid"], ["eid"]]
    assert watched.file.error is not None
    assert "symbolic links" in watched.file.error
    assert [record.levelname for record in caplog.records if "stay as they were" in record.message] == ["ERROR"]

    link.unlink()
    link.symlink_to(real)  # the very same file as before

    assert watched.names(after=1) == ["eid"]
    assert watched.file.error is None
