"""Links of photos."""

import pytest

from batch_jobs.ingestion.product_rules.photos import photo_link


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://x.example/a.jpg", "https://x.example/a.jpg"),
        ("https://x.example/a.jpg, https://x.example/b.jpg", "https://x.example/a.jpg"),
        ("https://x.example/a.jpg,https://x.example/b.jpg", "https://x.example/a.jpg"),
        ("https://x.example/a.jpg|https://x.example/b.jpg", "https://x.example/a.jpg"),
        ("https://x.example/w_300,h_200/a.jpg", "https://x.example/w_300,h_200/a.jpg"),
        ("https://x.example/my photo.jpg", "https://x.example/my photo.jpg"),
        ("//cdn.example/a.jpg", "//cdn.example/a.jpg"),
        ("a.jpg, b.jpg", "a.jpg"),
        ("/m/a.jpg,/m/b.jpg", "/m/a.jpg"),
        ("a.jpg\nb.jpg", "a.jpg"),
        ("data:image/png;base64,AAAA", None),
        ("javascript:alert(1)", None),
        ("<img src=a.jpg>", None),
        ("https://x.example/" + "a" * 2030, "https://x.example/" + "a" * 2030),  # 2,048 characters
        ("https://x.example/" + "a" * 2031, None),
        (",", None),
    ],
)
def test_the_first_link_is_taken(text: str, link: str | None) -> None:
    assert photo_link(text) == link
