"""The file of synonyms: what it may hold, what its errors say, what a query finds, too, and how a change is taken."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.common.errors import ConfigError
from online_api.search.synonym_file import MOST_QUERIES, SynonymEntry, SynonymList, Synonyms
from online_api.watched_file import WatchedFile
from training.artifacts.search.text_search import NO_SYNONYMS

ROOT = Path(__file__).parents[3]
PHONES = "synonyms: [{same: [mobile, جوال, cell phone]}, {query: [iphone], also: [smartphone]}]"


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Synonyms]:
    def _load(text: str) -> Synonyms:
        path = tmp_path / "synonyms.yaml"
        path.write_text(text, encoding="utf-8")
        return Synonyms.load(path)

    return _load


@pytest.mark.parametrize(
    ("query", "also"),
    [
        ("mobile", ("جوال", "cell phone")),
        ("Mobiles", ("جوال", "cell phone")),  # in any form
        ("الجوال", ("mobile", "cell phone")),
        ("cell phones", ("mobile", "جوال")),
        ("red mobile case", ("red جوال case", "red cell phone case")),
        ("iphone", ("smartphone",)),
        ("smartphone", ()),  # one way
        ("phone", ()),
        ("automobile", ()),  # whole words
        ("!!!", ()),
    ],
)
def test_what_a_query_finds_too(load: Callable[[str], Synonyms], query: str, also: tuple[str, ...]) -> None:
    assert load(PHONES).of(query).queries == also


def test_words_of_the_file_need_no_correction(load: Callable[[str], Synonyms]) -> None:
    assert {"mobile", "جوال", "cell", "phone", "iphone"} == set(load(PHONES).of("anything").known_stems)


def test_the_number_of_queries_is_limited(load: Callable[[str], Synonyms]) -> None:
    words = [f"word{letter}" for letter in "abcdefghij"]
    assert load(f"synonyms: [{{same: [{', '.join(words)}]}}]").of("worda").queries == tuple(words[1 : MOST_QUERIES + 1])


@pytest.mark.parametrize("text", ["", "# nothing yet", "synonyms:", "synonyms: []"])
def test_a_file_may_hold_no_synonyms(load: Callable[[str], Synonyms], text: str) -> None:
    assert load(text).of("mobile") == NO_SYNONYMS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synonyms: [", "is not valid YAML"),
        ("synonym: []", "the file: synonym: unknown key; docs/search.md lists the known ones"),
        ("synonyms: [{same: [a]}]", "synonyms 1: same: Tuple should have at least 2 items"),
        ("synonyms: [{same: [a, b]}, {same: [c, '!!']}]", "synonyms 2: same.1: '!!' has neither letters nor digits"),
        ("synonyms: [{query: [a]}]", "synonyms 1: query and also go together"),
        ("synonyms: [{same: [a, b], query: [a], also: [b]}]", "synonyms 1: give either same, or query and also"),
        ("synonyms: [{}]", "synonyms 1: give either same, or query and also"),
        ("synonyms: [{same: [a, b], weight: 2}]", "synonyms 1: weight: unknown key"),
        ("synonyms: [mobile]", "synonyms 1: Input should be a valid dictionary"),
        ("- mobile", "the file: Input should be a valid dictionary"),
    ],
)
def test_errors_name_the_entry_the_field_and_the_remedy(
    load: Callable[[str], Synonyms], text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(text)


def test_a_broken_file_leaves_the_old_synonyms_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.yaml"
    now = [100.0]
    watched = WatchedFile(path, Synonyms.load, Synonyms(SynonymList()), "synonyms", lambda: now[0])

    def found(text: str) -> tuple[str, ...]:
        path.write_text(text, encoding="utf-8")
        now[0] += 1
        return tuple(watched.content().of("mobile").queries)

    assert watched.error is None
    assert found(PHONES) == ("جوال", "cell phone")
    assert found("synonyms: [{same: [mobile]}]") == ("جوال", "cell phone")
    assert watched.error is not None
    assert "synonyms 1: same" in watched.error
    assert found("synonyms: [{same: [mobile, telephone]}]") == ("telephone",)
    assert watched.error is None


def test_the_examples_load_and_every_field_is_described(load: Callable[[str], Synonyms]) -> None:
    Synonyms.load(ROOT / "config" / "synonyms.example.yaml")
    text = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert load(example).of("جوال").queries
    for field in SynonymEntry.model_fields:
        assert f"| `{field}`" in text
