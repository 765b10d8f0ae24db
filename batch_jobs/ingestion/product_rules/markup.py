"""Plain text from the HTML that shops put into titles and descriptions."""

import html
import re

# Only references that end with a semicolon: html.unescape alone would read "B&Notes" as "B¬es".
_CHARACTER_REFERENCE = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
# Files inside a text, such as a picture in base64: megabytes that say nothing.
_EMBEDDED_FILE = re.compile(
    r"\bdata:(?:image|video|audio|font|application|text)/[\w.+-]+(?:;[\w=-]+)*,[^\s\"'<>)]*", re.IGNORECASE
)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_INVISIBLE = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|svg)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
# Known elements only, because "Shirt <XL>" is no HTML. `s` is missing: in a shop, <S> is a size.
_INLINE = "a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|label|mark|o:p|q|small|span|strike|strong|sub|sup|tt|u"
_BLOCK = (
    "address|article|aside|audio|blockquote|body|br|button|caption|center|col|colgroup|dd|details|div|dl|dt|embed|"
    "fieldset|figcaption|figure|footer|form|h1|h2|h3|h4|h5|h6|head|header|hr|html|iframe|img|input|legend|li|link|main|"
    "meta|nav|noscript|object|ol|option|p|param|picture|pre|section|select|source|summary|table|tbody|td|template|"
    "textarea|tfoot|th|thead|title|tr|ul|video|wbr"
)
# A quoted attribute may contain > ; the second form also takes tags whose quotes do not match.
_ATTRIBUTES = r"(?:[\s/](?:\"[^\"]*\"|'[^']*'|[^<>\"'])*|[\s/][^<>]*)?"
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE}){_ATTRIBUTES}>", re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK}){_ATTRIBUTES}>", re.IGNORECASE)


def plain_text(text: str) -> str:
    """The text without tags, scripts, styles, comments and embedded files, its character references decoded.

    Blocks such as paragraphs become lines. A text without HTML stays as it is, but for control characters.
    """
    text = _CONTROL_CHARACTERS.sub("", text)
    # The test spares most texts the rest.
    if not ("&" in text or "<" in text or "data:" in text):
        return text
    plain = _CHARACTER_REFERENCE.sub(lambda reference: html.unescape(reference[0]), text)
    plain = _BLOCK_TAG.sub("\n", _INLINE_TAG.sub("", _EMBEDDED_FILE.sub("", _INVISIBLE.sub("\n", plain))))
    if plain == text:
        return text
    lines = (" ".join(line.split()) for line in plain.splitlines())
    return "\n".join(line for line in lines if line)
