"""Personal data is found, and numbers that are none stay."""

import pytest

from studio.cleaning.personal import is_identity, mask

EVERY = ("mail", "phone", "id")


@pytest.mark.parametrize(
    "number",
    ["13800138000", "138 0013 8000", "138-0013-8000", "+8613800138000", "+86 13800138000", "0086-13800138000",
     "010-62345678", "(0755)26543210", "+44 20 7946 0958", "+33 1 42 68 53 00", "(212) 555-0123", "212-555-0123",
     "1-800-555-0123", "+1-800-555-0123"],
)  # fmt: skip
def test_a_telephone_number_is_masked(number: str) -> None:
    assert mask(f"电话{number}，请来电", EVERY) == "电话[phone]，请来电"
    assert mask(f"call {number} now", EVERY) == "call [phone] now"


@pytest.mark.parametrize(
    "text",
    ["2023-10-12 12:30:45", "1.2.3.4", "978-7-302-51162-3", "3.14159265358979", "1,234,567.89", "订单13912345678901号",
     "1234567", "12800138000", "2024-2025", "QQ 1380013", "0.13800138000", "1380013800012", "+1", "18-24-30", "24/7",
     "x+1234567=?", "5 +12345678", "472547338\n+960397912423686", "3 * +12345678", "1e+13800138000", "2^13800138001",
     "UTC+8 2024-05-06", "UTC +7 2024-05-06", "+12.5 13.5 14.5", "营收13512345678元", "人口 13500000000",
     "$13812345678", "sha 1a2b13812345678c9d",
     "https://x.com/item/13812345678.html", "+5 -3 +2 1000 2000", "15412345678",
     "scores: +12 15 18 20", "growth +10 20 30 40 50", "Price change was +12345678", "+61 2020-2021"],
)  # fmt: skip
def test_other_numbers_stay(text: str) -> None:
    assert mask(text, EVERY) == text


def test_a_mail_address_is_masked_also_between_chinese_characters() -> None:
    assert mask("邮箱zhang.san+1@mail.qq.com。", EVERY) == "邮箱[mail]。"
    assert mask("user@host, @alex, a@b, me@example.com", EVERY) == "user@host, @alex, a@b, me@example.com"
    assert mask("a@b.com-张三，c@d.cn--", EVERY) == "[mail]-张三，[mail]--"
    assert mask("git@github.com:a/b icon@2x.png", EVERY) == "git@github.com:a/b icon@2x.png"


def test_numbers_that_stand_close_to_others_are_found() -> None:
    assert mask("0571-88888881/13800138000", EVERY) == "[phone]/[phone]"
    assert mask("tel13800138000 uid=13800138000&x", EVERY) == "tel[phone] uid=[phone]&x"


def test_an_identity_number_counts_by_birthday_and_check_character() -> None:
    # The number that GB 11643-1999 has as its example, and the one of its appendix.
    assert is_identity("11010519491231002X")
    assert is_identity("440524188001010014")
    assert not is_identity("110105194912310021")
    assert not is_identity("11010519491331002X")
    assert mask("身份证11010519491231002X，订单110105194912310021。", EVERY) == "身份证[id]，订单110105194912310021。"


def test_the_check_character_is_that_of_the_norm() -> None:
    # ISO 7064 MOD 11-2, computed as the norm defines it: the sum over all 18 is 1 modulo 11.
    for number in ("11010519491231002X", "440524188001010014", "110101199003070134"):
        digits = [10 if sign == "X" else int(sign) for sign in number]
        whole = sum(digit * pow(2, 17 - place, 11) for place, digit in enumerate(digits)) % 11
        assert is_identity(number) == (whole == 1)


def test_only_the_kinds_that_are_asked_for_are_masked() -> None:
    text = "13800138000 a@mail.cn"
    assert mask(text, ("mail",)) == "13800138000 [mail]"
    assert mask(text, ("phone",)) == "[phone] a@mail.cn"


@pytest.mark.parametrize(
    "text",
    ["Phone (mobile) +1 212 555 0123", "Tel (office) +44 20 7946 0958", "CONTACT +44 20 7946 0958",
     "Tel+44 20 7946 0958", "Tel/13800138000", "wx_13800138000", "13800138000email", "+33 6 12 34 56 78"],
)  # fmt: skip
def test_numbers_beside_words_are_found(text: str) -> None:
    assert "[phone]" in mask(text, EVERY) and "38000" not in mask(text, EVERY)
