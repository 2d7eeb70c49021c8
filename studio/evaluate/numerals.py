"""The number that an answer comes to, as arithmetic problems are marked: GSM8K's "#### 42", CMATH's last number. Light.

Read are digits with thousands separators (1,234), decimals, powers of ten (1.5e-3, 1.5 × 10^3), fractions (3/4, 1 1/2,
4分之3, LaTeX's \\frac), percents (25%, 百分之25), 万 and 亿 behind digits, full-width digits, and Chinese numerals
(一百二十三, 三点五, 四分之三) where a text has no digits. Other powers (m², cm^2) and digits behind a letter are no
numbers of their own.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

MARK = "####"
# Decimals of a third, a seventh and so on are written with few places.
_NEAR = Fraction(1, 1_000_000)
# A model that loops writes digits without end, which are no number that anybody asked for.
_LONGEST = 400

_PLAIN = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3}(?!\w))?"
_SIGN = r"(?:(?<![A-Za-z0-9)\]])-)?"
_FREE = r"(?<![A-Za-z0-9_])(?<!\d\.)"
_OF = rf"(?:(?P<whole>{_PLAIN})又)?(?P<under>{_PLAIN})分之(?P<over>{_PLAIN})"
_SLASH = rf"(?:(?P<before>{_PLAIN})(?:又|\s))?(?P<top>{_PLAIN})\s*/\s*(?P<bottom>{_PLAIN})"
_NUMBER = re.compile(
    rf"{_FREE}(?P<sign>{_SIGN})(?:百分之(?P<hundredth>{_PLAIN})|{_OF}|{_SLASH}|(?P<plain>{_PLAIN}))"
    r"\s*(?P<unit>%|万亿|万|亿|thousand\b|million\b|billion\b)?"
)
_UNITS = {"万": 10**4, "亿": 10**8, "万亿": 10**12, "thousand": 10**3, "million": 10**6, "billion": 10**9}

_DIGITS = {mark: value for value, marks in enumerate(("零〇", "一壹", "二两贰", "三叁", "四肆", "五伍", "六陆", "七柒",
                                                      "八捌", "九玖")) for mark in marks}  # fmt: skip
_TENS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_MYRIADS = {"万": 10**4, "亿": 10**8}
_HAN = f"[{''.join((*_DIGITS, *_TENS, *_MYRIADS))}]+(?:点[{''.join(_DIGITS)}]+)?"
_CHINESE = re.compile(
    rf"(?P<sign>负)?(?:百分之(?P<hundredth>{_HAN})|(?:(?P<whole>{_HAN})又)?(?P<under>{_HAN})分之(?P<over>{_HAN})"
    rf"|(?P<plain>{_HAN}))"
)

_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_RAISED = re.compile(r"(?<=10)[⁺⁻]?[⁰¹²³⁴-⁹]{1,3}")
_LOWERED = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+-0123456789")
_TENFOLD = re.compile(
    r"(?<=\d)(?:\s*(?:×|·|⋅|∙|\\times|\\cdot|\*)\s*|\s*[xX]\s*(?=10\s*\^))10\s*\^\s*\{?([+-]?\d{1,3})\}?"
)
_POWERS = re.compile(r"[⁰¹²³⁴-⁹]+|\^\{?-?\d+\}?")
_VULGAR = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")


@dataclass(frozen=True)
class Number:
    """A number as it was written: of "25%" `value` is 1/4 and `written` 25; else both are the same."""

    value: Fraction
    written: Fraction

    def same(self, other: Number) -> bool:
        """Whether both are the same number, to a millionth; 25% is the same as 0.25 and as 25."""
        pairs = [(self.value, other.value), (self.written, other.value), (self.value, other.written)]
        return any(abs(one - two) <= _NEAR * max(Fraction(1), abs(two)) for one, two in pairs)


def number_of(text: str) -> Number | None:
    """The number that an answer comes to; None when it holds none.

    Behind the last "####" the first number, else the last one in the last \\boxed{}, else the last one of the text.
    """
    before, mark, after = text.rpartition(MARK)
    if mark and (found := numbers_in(after)):
        return found[0]
    if boxed := _BOXED.findall(text):
        inside = numbers_in(boxed[-1])
        if inside:
            return inside[-1]
    found = numbers_in(before if mark else text)
    return found[-1] if found else None


def numbers_in(text: str) -> list[Number]:
    """All numbers of a text in their order; Chinese numerals only where it has no digits."""
    text = _plain(text)
    found = [number for match in _NUMBER.finditer(text) if _short(match) and (number := _arabic(match))]
    if found or re.search(r"\d", text):
        return found
    return [number for match in _CHINESE.finditer(text) if _short(match) and (number := _chinese(match))]


def _short(match: re.Match[str]) -> bool:
    return match.end() - match.start() <= _LONGEST


def _plain(text: str) -> str:
    """The text with one way to write each thing: half-width marks, no signs of money, no powers."""
    text = _RAISED.sub(lambda raised: "^" + raised[0].translate(_LOWERED), text)
    text = _VULGAR.sub(" ", _POWERS.sub("", _TENFOLD.sub(r"e\1", text)))
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2044", "/")
    text = _FRACTION.sub(r" \1/\2", text)
    text = text.replace("{,}", ",").replace("\\,", "").replace("\\%", "%")
    return re.sub(r"[$¥€£\\]", "", text)


def _arabic(match: re.Match[str]) -> Number | None:
    part = match.groupdict()
    top, bottom = part["over"] or part["top"], part["under"] or part["bottom"]
    if top:
        value = _over(_decimal(top), _decimal(bottom), _decimal(part["whole"] or part["before"] or "0"))
    else:
        value = _decimal(part["plain"] or part["hundredth"])
    if value is None:
        return None
    unit = part["unit"] or ""
    value *= (-1 if part["sign"] else 1) * _UNITS.get(unit, 1)
    return Number(value / 100, value) if unit == "%" or part["hundredth"] else Number(value, value)


def _chinese(match: re.Match[str]) -> Number | None:
    part = match.groupdict()
    sign = -1 if part["sign"] else 1
    if part["over"]:
        over = _over(chinese(part["over"]), chinese(part["under"]), chinese(part["whole"] or "零"))
        return Number(sign * over, sign * over) if over is not None else None
    value = sign * chinese(part["plain"] or part["hundredth"])
    return Number(value / 100, value) if part["hundredth"] else Number(value, value)


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _over(top: Fraction, bottom: Fraction, whole: Fraction) -> Fraction | None:
    return whole + top / bottom if bottom else None


def chinese(text: str) -> Fraction:
    """The value of a Chinese numeral, such as 三千零五十, 二零二四, 十二, 一百五 (150) or 三点一四."""
    whole, _, places = text.partition("点")
    value = Fraction(_whole(whole))
    for power, mark in enumerate(places, 1):
        value += Fraction(_DIGITS[mark], 10**power)
    return value


def _whole(text: str) -> int:
    if all(mark in _DIGITS for mark in text):
        return int("".join(str(_DIGITS[mark]) for mark in text) or "0")
    total = section = 0
    digit: int | None = None
    unit = 1
    for mark in text:
        if mark in _DIGITS:
            digit = _DIGITS[mark]
            unit = 1 if digit == 0 else unit
        elif mark in _TENS:
            unit = _TENS[mark]
            section += (1 if digit is None else digit) * unit
            digit = None
        else:
            unit = _MYRIADS[mark]
            # 一万亿: the larger unit takes all that stands before it.
            total = (total + section + (digit or 0)) * unit if unit > 10**4 else total + (section + (digit or 0)) * unit
            section, digit = 0, None
    # 一百五 is 150, 十五 is 15.
    last = (digit or 0) * (unit // 10 if unit > 10 else 1)
    return total + section + last
