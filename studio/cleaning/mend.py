"""A text mended: decoded rightly, without markup, invisible characters and stray white space.

Each repair gives the text back as it is when there is nothing to mend, and a mended text stays as it is when it is
mended again.
"""

from __future__ import annotations

import html
import re

# Elements of HTML that end a line, table cells among them, so that words do not grow together, and those within one.
# Other things in angle brackets, such as List<int> or a <b, stay.
_BLOCKS = (
    r"blockquote|figcaption|fieldset|address|article|caption|details|section|center|dialog|figure|footer|"
    r"header|option|select|aside|table|tbody|tfoot|thead|title|form|main|menu|div|nav|pre|br|dd|dl|dt|h1|"
    r"h2|h3|h4|h5|h6|hr|li|ol|td|th|tr|ul|p"
)
_INLINE = (
    r"basefont|colgroup|datalist|frameset|noframes|noscript|optgroup|progress|template|textarea|acronym|"
    r"marquee|picture|summary|applet|button|canvas|hgroup|iframe|legend|object|output|source|strike|strong|"
    r"audio|blink|embed|frame|input|label|meter|param|small|track|video|abbr|area|base|body|cite|code|data|"
    r"font|head|html|link|mark|meta|nobr|ruby|samp|span|path|time|bdi|bdo|big|col|del|dfn|dir|img|ins|kbd|"
    r"map|sub|sup|svg|var|wbr|em|rp|rt|tt|a|b|i|q|s|u"
)
_TAG = re.compile(rf"</?(?:({_BLOCKS})|{_INLINE})(?:\s[^<>]*|\s*/)?>", re.IGNORECASE)
_DROPPED = re.compile(r"<(script|style|noscript|head|svg)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->|<!\[CDATA\[|\]\]>|<!doctype[^>]*>|<\?xml[^>]*\?>", re.IGNORECASE | re.DOTALL)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")

# Invisible characters that carry no meaning. Joiners (U+200C, U+200D) stay: Persian and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0001-\U000e007f]"
)
_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")
_GAPS = re.compile("(?<=\\S)(?:[ \t]*[\t\xa0\u1680\u2000-\u200a\u202f\u205f]+[ \t\xa0\u2000-\u200a]*|  +)(?=\\S)")
_ODD = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f]")
_LINE_ENDS = re.compile("[ \t\xa0\u3000]+$|^\u3000+", re.MULTILINE)
_ENDS_LOOSE = re.compile("[ \t\xa0](?:\n|$)|\u3000")
_BLANK_LINES = re.compile("\n{3,}")

# What UTF-8 looks like when it is read as Latin-1 or Windows-1252: a lead byte and those that follow it.
_LATIN = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013-\u203a\u20ac\u2122]"
)
_WIDE = re.compile(r"[^\x00-\x7f]{6,}")


def repair_encoding(text: str) -> str:
    """Text that was decoded with the wrong encoding, decoded rightly where that is beyond doubt.

    UTF-8 read as Latin-1 or Windows-1252 and the like through ftfy (R. Speer, `ftfy.fix_encoding`); UTF-8 read as
    GBK, which ftfy does not know, where a run of six characters or more gives valid UTF-8 when it is encoded again.
    """
    if text.isascii():
        return text
    if _LATIN.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    return _WIDE.sub(_from_gbk, text) if _WIDE.search(text) else text


def _from_gbk(run: re.Match[str]) -> str:
    """The run as it was before UTF-8 was read as GBK; itself when it was not."""
    try:
        # Chinese text as GBK is next to never valid UTF-8 over six characters: its second bytes do not fit.
        found = run[0].encode("gb18030").decode()
    except UnicodeError:
        return run[0]
    return found if found.isprintable() and len(found) < len(run[0]) else run[0]


def broken(text: str) -> float:
    """The share of characters that stand for what an earlier decoding lost: U+FFFD, alone or read as GBK in turn."""
    lost = text.count("\ufffd") + 3 * text.count("\u951f\u65a4\u62f7")
    return lost / max(len(text), 1)


def remove_html(text: str) -> str:
    """Running text without tags, comments, scripts and styles; entities as characters."""
    if "<" in text:
        text = _COMMENT.sub("", _DROPPED.sub(" ", text))
        text = _TAG.sub(_gap, text)
    if "&" in text and _ENTITY.search(text):
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return text


def _gap(tag: re.Match[str]) -> str:
    return "\n" if tag[1] else ""


def remove_control(text: str) -> str:
    """The text without control and invisible characters; every line end is a newline."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub("", _ENDS.sub("\n", text))


def tidy_space(text: str) -> str:
    """One space for several inside a line, none at its end, at most one blank line; indents stay."""
    odd = not text.isascii() and _ODD.search(text)
    if odd or "  " in text or "\t" in text:
        text = _ODD.sub(" ", _GAPS.sub(" ", text))
    return tidy_ends(text).strip("\n").rstrip()


def tidy_ends(text: str) -> str:
    """No white space at line ends and at most one blank line: what is safe in code and tables."""
    # Looks for plain text are many times faster than patterns, and most texts are tidy.
    if " \n" in text or "\t\n" in text or text[-1:].isspace() or not text.isascii():
        text = _LINE_ENDS.sub("", text) if _ENDS_LOOSE.search(text) else text
    return _BLANK_LINES.sub("\n\n", text) if "\n\n\n" in text else text
