"""Personal data in a text: mail addresses, telephone numbers, Chinese identity numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date

_MAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z]{2,24}(?!-?[A-Za-z0-9])"
)
# 18 characters: 6 of the region, 8 of the birthday, 3 of the order, a check character (GB 11643-1999).
_IDENTITY = re.compile(r"(?<![0-9A-Za-z])[1-9]\d{5}(?:18|19|20)\d{9}[0-9Xx](?![0-9A-Za-z])")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"

# Calling codes of countries (ITU-T E.164) but China's, whose numbers have patterns of their own.
_COUNTRY = (
    r"(?:1|7|2[07]|2[1-689]\d|3[0-469]|3[578]\d|4[013-9]|42\d|5[1-8]|5[09]\d|6[0-6]|6[7-9]\d|8[124]|8[058]\d|9[0-58]|"
    r"9[679]\d)"
)
_PHONE = re.compile(
    # Mobile numbers in China, with or without +86: 138 0013 8000, 138-0013-8000. No arithmetic, no sum of money.
    r"(?<![\d.+^*$¥￥€£-])(?:(?:\+|00)?86[ -]?)?"
    r"1(?:[38]\d|4[014-9]|5[0-35-9]|6[2567]|7[0-8]|9[0-35-9])(?:\d{8}|([ -])\d{4}\1\d{4})"
    r"(?!\d|[.-]\d| ?(?:[元万亿吨%％]|美元|人民币|欧元|日元))"
    # Landlines in China: an area code, and seven or eight digits behind a hyphen.
    r"|(?<![\d.-])(?:\(0\d{2,3}\)|（0\d{2,3}）|0\d{2,3}[-－])[2-8]\d{6,7}(?!\d|[.-]\d)"
    # Anywhere, with the country before it: +44 20 7946 0958. A sum such as 5 +12345678 is none.
    rf"|(?<![0-9_+^*])(?<![0-9*]\s)\+{_COUNTRY}[ .-]?\(?\d{{1,4}}\)?(?:[ .-]?\(?\d{{2,4}}\)?){{1,4}}(?!\d)"
    # North America: (212) 555-0123, 212-555-0123.
    r"|(?<![\d.-])(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(?!\d|[.-]\d)"
)
# Domains that are nobody's (RFC 2606), accounts of version control, and pictures for fine screens (icon@2x.png).
_NOBODY = re.compile(
    r"(@|\.)(example\.(com|net|org)|(example|test|invalid))$|^git@|@[1-4]x\.(png|jpe?g|gif|webp|svg)$", re.IGNORECASE
)
_DIGITS = re.compile(r"\d")


def is_identity(number: str) -> bool:
    """Whether 18 characters are a Chinese identity number: a birthday that was, and the right check character."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return born.year >= 1850 and born <= date.today() and _CHECKS[total % 11] == number[17].upper()


# What stands before a number that is none: a letter of a formula, the zone of a time, 2) of a list; in the path of a
# page; and characters of a hash on both sides.
_NO_CALL = re.compile(r"(?:(?:^|[^A-Za-z])[A-Za-z]|(?:UTC|GMT)\s?|\d\s*\)\s?)$")
_PATH = re.compile(r"(?:://|\w\.\w+/)\S*/$")
_HEX, _HEX_END = re.compile("[0-9a-f]*"), re.compile("[0-9a-f]*$")
_YEARS = re.compile(r"(?:19|20)\d\d[- ](?:19|20)\d\d$")
_AROUND = 64


def _is_phone(found: re.Match[str]) -> bool:
    # Seven to fifteen digits (ITU-T E.164); a number as round as 13,500,000,000 counts something.
    number, digits = found[0], "".join(_DIGITS.findall(found[0]))
    if not 7 <= len(digits) <= 15 or digits.endswith("00000"):
        return False
    before = found.string[max(found.start() - _AROUND, 0) : found.start()]
    if number.startswith("+"):
        # Numbers of North America and of Russia and Kazakhstan have ten digits behind the country.
        whole = len(digits) == 11 if digits[0] in "17" else len(digits) >= 8
        return whole and not _NO_CALL.search(before) and not _YEARS.search(number)
    after = found.string[found.end() : found.end() + _AROUND]
    left, right = _hex(before, _HEX_END), _hex(after, _HEX)
    in_hash = len(left + right) >= (4 if left and right else 8)
    return not in_hash and not _PATH.search(before)


def _hex(text: str, pattern: re.Pattern[str]) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


# What most texts lack, and each of a kind has: a look for it is cheaper than the pattern.
_SIGNS = {"mail": re.compile("@"), "id": re.compile(r"\d{17}"), "phone": re.compile(r"\d{3}|\+\d")}
_KINDS: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], bool]]] = {
    "mail": (_MAIL, lambda found: not _NOBODY.search(found[0])),
    # Before telephone numbers: a part of one can look like one of them.
    "id": (_IDENTITY, lambda found: is_identity(found[0])),
    "phone": (_PHONE, _is_phone),
}


def mask(text: str, kinds: Sequence[str]) -> str:
    """The text with [mail], [id] and [phone] in place of each that it holds."""
    for kind, (pattern, holds) in _KINDS.items():
        if kind in kinds and _SIGNS[kind].search(text):
            text = pattern.sub(lambda found, k=kind, h=holds: f"[{k}]" if h(found) else found[0], text)  # type: ignore[misc]
    return text
