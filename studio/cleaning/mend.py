"""A text mended: decoded rightly, without markup, invisible characters and stray white space.

Each repair gives the text back as it is when there is nothing to mend, and a mended text stays as it is when it is
mended again; but for entities, as `&amp;lt;` is one of what is one. Time grows with the length of a text, whatever it
holds.
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
# Attributes have a value, or there is one word, or there are those that need none: what stands between `a <b` and
# `c> d` is nothing of it.
_BARE = (
    r"allowfullscreen|async|autofocus|autoplay|checked|compact|controls|default|defer|disabled|hidden|ismap|itemscope|"
    r"loop|multiple|muted|noshade|novalidate|nowrap|open|playsinline|readonly|required|reversed|selected"
)
_TAG = re.compile(
    rf"</?(?:({_BLOCKS})|{_INLINE})(?:\s+(?:[\w:@.-]+\s+)*[\w:@.-]+\s*=[^<>]*|\s+[\w-]+\s*/?|(?:\s+(?:{_BARE}))+\s*/?|\s*/?)>",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"<(?:(script|style|noscript|head|svg)\b[^<>]*>|!--)", re.IGNORECASE)
_HIDDEN_ENDS = {
    name: re.compile(rf"</{name}\s*>" if name else "-->", re.IGNORECASE)
    for name in ("", "script", "style", "noscript", "head", "svg")
}
_DECLARED = re.compile(r"<!\[CDATA\[|\]\]>|<!doctype[^<>]*>|<\?xml[^<>]*\?>", re.IGNORECASE)
# 10<sup>5</sup> is not 105, nor is km<sup>2</sup> km2; behind a year it is the mark of a note.
_POWER = re.compile(r"(?<![A-Za-z]{3})(?<=[A-Za-z0-9)])<sup>(?=[-−+]?\d+</sup>)", re.IGNORECASE)
_NOTE = re.compile(r"(?<=\b(?:18|19|20)\d\d)<sup>\d{1,3}</sup>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")

# Invisible characters that carry no meaning, and what colours a terminal. Joiners (U+200C, U+200D) stay: Persian and
# emoji need them; so do the tags behind a black flag, which say whose it is (the first group).
_INVISIBLE = re.compile(
    "(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|\x1b\\[[0-?]*[ -/]*[@-~]|"
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0001-\U000e007f]"
)
# Pages that end (U+000C) among them.
_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Nothing is given back of a run that no text follows, which would be tried from each of its places again.
_GAPS = re.compile(
    "(?<=\\S)(?:[ \t\xa0\u1680\u2000-\u200a\u202f\u205f]{2,}+|[\t\xa0\u1680\u2000-\u200a\u202f\u205f])(?=\\S)"
)
_ODD = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f]")
_LINE_ENDS = re.compile("(?<![ \t\xa0\u3000])[ \t\xa0\u3000]+$|^\u3000+", re.MULTILINE)
_ENDS_LOOSE = re.compile("[ \t\xa0](?:\n|$)|\u3000")
_BLANK_LINES = re.compile("\n{3,}")

# What UTF-8 looks like when it is read as Latin-1 or Windows-1252: a lead byte and those that follow it.
_LATIN = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013-\u203a\u20ac\u2122]"
)
_WIDE = re.compile(r"[^\x00-\x7f]{6,}")
# Not to be expected in Chinese text: letters of scripts of two bytes, radicals, what is for private use.
_UNLIKELY = re.compile("[\x00-\xb6\xb8-\u1fff\u2c00-\u2fff\ua000-\uabff\ud800-\uf8ff\ufff0-\uffff]")


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
    return found if len(found) < len(run[0]) and not _UNLIKELY.search(found) else run[0]


def broken(text: str) -> float:
    """The share of characters that stand for what an earlier decoding lost: U+FFFD, alone or read as GBK in turn."""
    lost = text.count("\ufffd") + 3 * text.count("\u951f\u65a4\u62f7")
    return lost / max(len(text), 1)


def remove_html(text: str) -> str:
    """Running text without tags, comments, scripts and styles; entities as characters."""
    if "<" in text:
        text = _DECLARED.sub("", _without_hidden(text))
        text = _TAG.sub(_gap, _POWER.sub("^", _NOTE.sub("", text)))
    if "&" in text and _ENTITY.search(text):
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return text


def _without_hidden(text: str) -> str:
    """The text without comments, scripts and the like; what nothing ends stays."""
    kept: list[str] = []
    at = place = 0
    # Looked for once: a page of openings without an end would take the square of its length.
    endless: set[str] = set()
    while found := _HIDDEN.search(text, place):
        name, place = (found[1] or "").lower(), found.end()
        if name in endless:
            continue
        end = _HIDDEN_ENDS[name].search(text, place)
        if end is None:
            endless.add(name)
            continue
        kept += [text[at : found.start()], " " if name else ""]
        at = place = end.end()
    return "".join((*kept, text[at:]))


def _gap(tag: re.Match[str]) -> str:
    return "\n" if tag[1] else ""


def remove_control(text: str) -> str:
    """The text without control and invisible characters; every line end is a newline."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub(r"\1", _ENDS.sub("\n", text))


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
