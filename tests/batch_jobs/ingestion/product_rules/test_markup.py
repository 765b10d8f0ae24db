"""Plain text from HTML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs.ingestion.product_rules.markup import plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Bulb &amp; co", "Bulb & co"),
        ("Caf&#233; &#x642;هوة", "Café قهوة"),
        ('<p>One.</p>\n<p>5" tall</p>', 'One.\n5" tall'),
        ("<b>Bold</b>er, H<sub>2</sub>O<br/>next", "Bolder, H2O\nnext"),
        ("&lt;p&gt;escaped&lt;/p&gt;", "escaped"),
        ('<p title="a > b">text</p>', "text"),
        ('<img alt="5" tall" src=a.jpg>text', "text"),
        ("<style>p {color: red}</style>text<script>alert('<p>')</script>", "text"),
        ("<!-- wp:paragraph --><p>text</p><!-- /wp:paragraph -->", "text"),
        ('<img src="data:image/png;base64,' + "A" * 2_000_000 + '">text', "text"),
        ("before data:image/png;base64,iVBORw0KGgo= after", "before after"),
        ("<script>never closed", ""),
        # No HTML: sizes, signs and names that only look like it.
        ("Shirt <XL>", "Shirt <XL>"),
        ("Shirt <S>", "Shirt <S>"),
        ("a < b and c > d", "a < b and c > d"),
        ("B&Notes &copy 5, R&D", "B&Notes &copy 5, R&D"),
        ("metadata: none", "metadata: none"),
        ("two  spaces\nand a line", "two  spaces\nand a line"),
    ],
)
def test_html_becomes_text(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@given(
    st.text(st.characters(exclude_characters="<&", exclude_categories=["Cc", "Cs"]), max_size=200).filter(
        lambda text: "data:" not in text
    )
)
def test_a_text_without_html_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == text


@given(st.text(st.sampled_from("<>/&;pb \n!-\"'ab=:,"), max_size=80))
def test_any_text_is_read(text: str) -> None:
    assert "<p>" not in plain_text(text)
