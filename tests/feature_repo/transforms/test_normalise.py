"""Normalisation: each step on literal texts; and properties: idempotent, never empties a text, never raises."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_repo.transforms.consonants import consonants
from feature_repo.transforms.normalise import NORMALISATION_STEPS, NormalisationStep, normalise

CASES = {
    NormalisationStep.HTML: [
        ("<b>حليب</b>&nbsp;طازج", "حليب طازج"),
        ("fish&amp;amp;chips", "fish&chips"),
        ("a < b", "a < b"),
        ("<section class='x'>Shirt <L></section>", "Shirt <L>"),
        ("Shirt <S>", "Shirt <S>"),
    ],
    NormalisationStep.COMPATIBILITY: [("ﻣﺼﺮ", "مصر"), ("ﷲ", "الله"), ("ＡＢＣ ½", "ABC 1⁄2")],
    NormalisationStep.MARKS: [
        ("مُحَمَّد", "محمد"),
        ("أإآؤئ", "ااا" + "وي"),
        ("حـــليب", "حليب"),
        ("Café\u200f\u00ad", "Cafe"),
    ],
    NormalisationStep.LETTERS: [("مستشفى", "مستشفي"), ("قهوة", "قهوه"), ("کتابی", "كتابي"), ("ماء", "ما")],
    NormalisationStep.DIGITS: [("١٢٨", "128"), ("۱۲٫۵۰", "12.50"), ("٢٬٠٠٠", "2000")],
    NormalisationStep.ZEROS: [("12.50", "12.5"), ("5.00 100", "5 100"), ("1.10.0", "1.10.0")],
    NormalisationStep.CASE: [("NIVEA", "nivea"), ("Straße", "strasse")],
    NormalisationStep.REPEATED: [("جديييييد", "جديد"), ("cool good", "cool good"), ("coool", "col"), ("1000", "1000")],
    NormalisationStep.BOUNDARIES: [("30قرص", "30 قرص"), ("128GB", "128 GB"), ("B12", "B 12"), ("2.5mg", "2.5 mg")],
    NormalisationStep.PUNCTUATION: [("س.ج (30) 2.5%", "س ج 30 2.5%"), ("S21+ / a_b", "S21+ a b"), ("٫ . .5 5.", "5 5")],
    NormalisationStep.UNITS: [("75 مجم", "75 mg"), ("1 kgs", "1 kg"), ("جيجا جرام", "gb g")],
}


@pytest.mark.parametrize("step", NORMALISATION_STEPS)
def test_each_step_alone(step: NormalisationStep) -> None:
    for text, expected in CASES[step]:
        assert normalise(text, [step]) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ذاكرة ١٢٨ جيجا", "ذاكره 128GB"),
        ("أقراصٌ  بَانَادول", "اقراص بانادول"),
        ("LA ROCHE-POSAY 50ML", "la roche posay ٥٠ مل"),
        ("حليب كامل الدسم 1.0 لتر", "حليب كامل الدسم ١لتر"),
        ("NESCAF&Eacute; Gold", "nescafe gold"),
    ],
)
def test_spellings_of_one_product_normalise_alike(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("S21+", "S21"), ("1.5 l", "15 l"), ("5%", "5"), ("حليب 1", "حليب 2")])
def test_different_products_stay_apart(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.sets(st.sampled_from(NORMALISATION_STEPS)))
@example("&amp;lt;b&amp;gt;", set(NORMALISATION_STEPS))
@example("!!!", set(NORMALISATION_STEPS))
@example("\u0640", set(NORMALISATION_STEPS))
@example(" ", set())
@example("ﷺ١٠٫٠٠&nbsp;ء", set(NORMALISATION_STEPS))
def test_is_idempotent_empties_nothing_and_never_raises(text: str, steps: set[NormalisationStep]) -> None:
    once = normalise(text, steps)
    assert normalise(once, steps) == once
    assert bool(once) == bool(text)
    if text.strip():
        assert once.strip()


def test_an_empty_text_stays_empty() -> None:
    assert normalise("") == ""


@pytest.mark.parametrize(
    ("arabic", "latin", "key"),
    [
        ("بانادول", "panadol", "bndl"),
        ("بنادول", "panadol", "bndl"),
        ("فولتارين", "voltaren", "fltrn"),
        ("شامبو", "shampoo", "xmb"),
        ("كلوركس", "clorox", "klrks"),
        ("سيتافيل", "cetaphil", "stfl"),
        ("جيليت", "gillette", "glt"),
    ],
)
def test_both_scripts_have_the_same_consonants(arabic: str, latin: str, key: str) -> None:
    assert consonants(arabic) == consonants(latin) == key


def test_numbers_and_other_scripts_have_no_consonants_to_take() -> None:
    assert consonants("1100 2.5% молоко aeiou") == "1100 2.5% молоко"
