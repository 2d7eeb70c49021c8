"""Which language a text seems to be in: by its script, and among Latin ones by its most frequent small words.

A guess for counting, fast enough for every row of a large dataset; it is no classifier. Scripts are Unicode's. A text
in Latin letters without such words is told as `latin`, one with hardly a letter as `none`.
"""

from __future__ import annotations

import re
from collections import Counter

# Enough to tell; a long text is looked at where it begins.
_HEAD = 600
# Fewer letters tell nothing.
_FEWEST = 2
_SCRIPTS = re.compile(
    "(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)|(?P<kana>[\u3041-\u30ff\uff66-\uff9d]+)"
    "|(?P<ko>[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]+)|(?P<cyrillic>[\u0400-\u052f]+)|(?P<ar>[\u0600-\u06ff\u0750-\u077f]+)"
    "|(?P<hi>[\u0900-\u097f]+)|(?P<bn>[\u0980-\u09ff]+)|(?P<ta>[\u0b80-\u0bff]+)|(?P<th>[\u0e00-\u0e7f]+)|(?P<el>[\u0370-\u03ff]+)"
    "|(?P<he>[\u0590-\u05ff]+)|(?P<latin>[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+)"
)  # fmt: skip
# A word of several languages counts for each.
_WORDS = {
    "en": "the of and to in is that for it with as was on are this be by an or from at not have you what how which",
    "de": "der die und das ist nicht ein eine zu den mit sich des auf für von dem im als auch wie ich sie es wird",
    "fr": "le la les des et est une que dans pour pas sur du au qui par avec ce il vous nous sont plus être",
    "es": "el los las una que es por con para del se no como más su al lo está son pero esta y",
    "pt": "o os as uma que não para com do da em por é um mais no na se dos das como são ao",
    "it": "il lo gli che di è un una per non con del della sono si nel alla come più anche i e",
    "nl": "de het een en van is dat niet op te zijn voor met die in aan ook er maar als wordt",
    "pl": "w i na nie się jest do że to z jak po od za przez czy są dla o ale",
    "tr": "ve bir bu için ile da de çok ne var olarak daha gibi en olan kadar değil mi sonra",
    "vi": "và là của có không được cho các một trong người những với này để khi đã từ",
    "id": "yang dan di dengan untuk dari ini tidak itu dalam pada adalah ke akan atau juga oleh",
    "sv": "och att det som en är på för med av inte den till har om ett jag var",
}
_OWNERS: dict[str, tuple[str, ...]] = {}
for _language, _list in _WORDS.items():
    for _word in _list.split():
        _OWNERS[_word] = (*_OWNERS.get(_word, ()), _language)
# Letters that Ukrainian has and Russian has not.
_UKRAINIAN = re.compile("[іїєґІЇЄҐ]")
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """An ISO 639 code, `latin` for another language in Latin letters, or `none`."""
    head = text[:_HEAD]
    if head.isascii():
        return _latin(head) if sum(map(str.isalpha, head[:80])) >= _FEWEST else "none"
    letters: Counter[str] = Counter()
    for found in _SCRIPTS.finditer(head):
        letters[str(found.lastgroup)] += found.end() - found.start()
    # A character of these scripts stands for about a word's half, four Latin letters.
    dense = letters["han"] + letters["kana"] + letters["ko"]
    total = sum(letters.values()) + 3 * dense
    if total < _FEWEST:
        return "none"
    if 4 * dense >= total / 2:
        if letters["ko"] > letters["han"] + letters["kana"]:
            return "ko"
        return "ja" if letters["kana"] > (letters["han"] + letters["kana"]) / 10 else "zh"
    script = max(letters, key=letters.__getitem__)
    if script == "cyrillic":
        return "uk" if _UKRAINIAN.search(head) else "ru"
    return _latin(head) if script in ("latin", "han", "kana") else script


def _latin(text: str) -> str:
    """Among languages in Latin letters the one whose small words are most frequent."""
    votes: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        for language in _OWNERS.get(word, ()):
            votes[language] += 1
    return votes.most_common(1)[0][0] if votes else "latin"
