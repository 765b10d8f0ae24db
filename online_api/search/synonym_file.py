"""The file of synonyms: its schema, its validation, and what it adds to a query. docs/search.md describes the file."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from feature_repo.common.errors import ConfigError
from feature_repo.settings.section import Section
from feature_repo.transforms.light_stem import light_stem
from feature_repo.transforms.normalise import normalise
from online_api.watched_file import read_yaml_texts
from training.artifacts.search.text_search import NO_SYNONYMS, QuerySynonyms

# Each costs a comparison with all products (docs/adr/0020).
MOST_QUERIES = 5


# ---- schema ----------------------------------------------------------------------------------------------------------


def _phrase(text: str) -> str:
    if not any(map(str.isalnum, text)):
        raise ValueError(f"{text!r} has neither letters nor digits")
    return text


Phrase = Annotated[str, Field(max_length=100), AfterValidator(_phrase)]


class SynonymEntry(Section):
    """Words or phrases with the same meaning, or of which one finds the other."""

    same: Annotated[tuple[Phrase, ...], Field(min_length=2)] | None = Field(
        None, description="Words or phrases that all find each other"
    )
    query: Annotated[tuple[Phrase, ...], Field(min_length=1)] | None = Field(
        None, description="Words or phrases that find, too, what `also` says; not the other way round"
    )
    also: Annotated[tuple[Phrase, ...], Field(min_length=1)] | None = Field(
        None, description="What those of `query` find, too"
    )

    @model_validator(mode="after")
    def _one_way_or_both(self) -> "SynonymEntry":
        if (self.query is None) != (self.also is None):
            raise ValueError("query and also go together: what is typed, and what it finds, too")
        if (self.same is None) == (self.query is None):
            raise ValueError("give either same, or query and also")
        return self

    def pairs(self) -> Iterator[tuple[str, str]]:
        """What is typed, and what it finds, too."""
        for typed in self.same or self.query or ():
            yield from ((typed, other) for other in self.same or self.also or () if other != typed)


class SynonymList(Section):
    """All synonyms of a shop, in the order of their file."""

    # The YAML value is an empty string if every entry is commented out.
    synonyms: Annotated[tuple[SynonymEntry, ...], BeforeValidator(lambda value: value or ())] = ()


# ---- use -------------------------------------------------------------------------------------------------------------


class Synonyms:
    """What the shop's synonyms add to queries; safe to use from several threads."""

    def __init__(self, entries: SynonymList) -> None:
        """Indexes the entries by what is typed."""
        also: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for entry in entries.synonyms:
            for typed, other in entry.pairs():
                also[_stems(normalise(typed).split())].append(other)
        self._also = {typed: list(dict.fromkeys(others)) for typed, others in also.items()}
        self._longest = max(map(len, also), default=0)
        self._known_stems = frozenset(stem for typed in also for stem in typed)

    @classmethod
    def load(cls, path: Path) -> "Synonyms":
        """Reads a file of synonyms.

        Raises:
            ConfigError: The file is not valid; the message names each entry and field that is wrong.
            OSError: The file cannot be read.
        """
        content = read_yaml_texts(path)
        try:
            return cls(SynonymList.model_validate(content or {}))
        except ValidationError as error:
            problems = "\n  ".join(map(_explain, error.errors()))
            raise ConfigError(f"{path} is not usable:\n  {problems}") from None

    def of(self, query: str) -> QuerySynonyms:
        """What a query finds, too: itself with one phrase replaced by a synonym, for the first MOST_QUERIES of them."""
        if not self._also:
            return NO_SYNONYMS
        words = normalise(query).split()
        stems = _stems(words)
        queries = []
        for start in range(len(words)):
            for end in range(min(start + self._longest, len(words)), start, -1):
                others = self._also.get(stems[start:end], ())
                queries += [" ".join([*words[:start], other, *words[end:]]) for other in others]
        return QuerySynonyms(tuple(dict.fromkeys(queries))[:MOST_QUERIES], self._known_stems)


def _stems(words: list[str]) -> tuple[str, ...]:
    return tuple(map(light_stem, words))


def _explain(item: ErrorDetails) -> str:
    """One validation error, with the number of the entry."""
    where, place = "the file", item["loc"]
    if len(place) > 1 and isinstance(number := place[1], int):
        where, place = f"synonyms {number + 1}", place[2:]
    message = item["msg"].removeprefix("Value error, ")  # pydantic's prefix for a ValueError of a validator
    if item["type"] == "extra_forbidden":
        message = "unknown key; docs/search.md lists the known ones"
    return ": ".join(part for part in (where, ".".join(map(str, place)), message) if part)
