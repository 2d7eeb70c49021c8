"""Cleaning: rows mended, filtered and freed of duplicates, as new files with an account of all that was done."""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal

from studio.arguments.base import Arguments, Names, Text, arg
from studio.works.base import WORKS, SourceOfRows, Work, WorkSet
from studio.workspace import Workspace

_GRAM = re.compile(r"(\d{1,2}):(0?\.\d+|0|1(?:\.0*)?)")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


class CleanOutput(Arguments):
    """Where the cleaned rows go, and what they are called."""

    output_dir: Text = arg("", level="basic")
    """Folder for the cleaned rows, one .jsonl for each source, and clean.json with the recipe and its counts."""

    overwrite_output_dir: bool = arg(False)
    """Move a folder that is already there aside (it gets a date) and begin anew."""

    name: Text = arg("", level="basic")
    """Name under which the cleaned rows are registered in dataset_info.json; unset: they are not registered."""

    samples: int = arg(5, ge=0, le=100)
    """Samples that are kept for each step: rows it removed, or texts before and after it changed them."""

    skip_bad_rows: bool = arg(False)
    """Leave out rows that cannot be read, up to max_bad_rows, and list them; else stop at them."""

    max_bad_rows: float = arg(0.01, ge=0, le=10**12)
    """Most rows that skip_bad_rows may leave out: below 1 a share, from 1 on a number of rows."""

    preprocessing_num_workers: int | None = arg(None, ge=1, le=4096)
    """Processes that clean; unset: one for each core."""


class CleanRepairs(Arguments):
    """Steps that change texts and remove no row."""

    columns: Names = arg(())
    """Columns with the text to clean, in place of those that the dataset's format reads."""

    repair_encoding: bool = arg(True, level="basic")
    """Repair text that was decoded with the wrong encoding, such as UTF-8 read as Latin-1 or GBK."""

    remove_html: bool = arg(True, level="basic")
    """Take HTML tags, comments, scripts and styles out of running text, and turn entities into characters."""

    remove_control: bool = arg(True, level="basic")
    """Take control characters, invisible ones and halves of characters out."""

    tidy_space: bool = arg(True, level="basic")
    """Make one space of several, take spaces at line ends and more than one blank line out."""

    personal: Literal["keep", "mask", "remove"] = arg("mask", level="basic")
    """Personal data (see personal_kinds): put a mark such as [phone] in its place, or remove the row."""

    personal_kinds: Names = arg(("mail", "phone", "id"))
    """Which personal data: mail, phone (mobile and landline numbers), id (Chinese identity numbers)."""


class CleanFilters(Arguments):
    """Steps that remove rows of running text. Language counts for rows of every kind."""

    min_length: int = arg(10, level="basic", ge=0, le=10**9)
    """Fewest characters of a row of running text; shorter ones are removed."""

    max_length: int = arg(1_000_000, level="basic", ge=1, le=10**9)
    """Most characters of a row of running text; longer ones are removed."""

    languages: Names = arg((), level="basic")
    """Keep rows in these languages only, such as zh,en (ISO 639); unset: rows of any language."""

    language_confidence: float = arg(0.5, ge=0, le=1)
    """A row in another language is removed when the identifier is at least this sure of it."""

    max_symbols: float = arg(0.4, level="basic", ge=0, le=1)
    """Highest share of characters that are neither letters, digits nor white space; 1 keeps all."""

    max_broken: float = arg(0.01, level="basic", ge=0, le=1)
    """Highest share of characters that were lost in decoding before (U+FFFD, or 锟斤拷); 1 keeps all."""

    remove_repetition: bool = arg(True, level="basic")
    """Remove running text that repeats its lines, paragraphs or word sequences (Gopher's rules)."""

    max_repeated_lines: float = arg(0.3, ge=0, le=1)
    """Highest share of lines, and of paragraphs, that stood in the row before."""

    max_repeated_line_characters: float = arg(0.2, ge=0, le=1)
    """Highest share of characters in such lines, and in such paragraphs."""

    max_top_ngrams: Names = arg(("2:0.20", "3:0.18", "4:0.16"))
    """Highest share of characters in the most frequent sequence of n words, written n:share."""

    max_repeated_ngrams: Names = arg(("5:0.15", "6:0.14", "7:0.13", "8:0.12", "9:0.11", "10:0.10"))
    """Highest share of characters in sequences of n words that stood in the row before, written n:share."""


class CleanDuplicates(Arguments):
    """Steps that compare rows with each other. The first of several alike stays."""

    exact_duplicates: bool = arg(True, level="basic")
    """Remove rows with the same words as an earlier one, whatever their case, punctuation and white space."""

    near_duplicates: bool = arg(True, level="basic")
    """Remove rows that are nearly an earlier one (MinHash finds them, their words are then compared)."""

    near_threshold: float = arg(0.8, level="basic", ge=0.3, le=1)
    """Rows are near duplicates when they share this much of their word sequences (Jaccard similarity)."""

    shingle_words: int = arg(5, ge=1, le=50)
    """Words in such a sequence."""

    shingle_characters: int = arg(5, ge=1, le=50)
    """Characters in such a sequence for languages without spaces, such as Chinese."""

    held_out: Names = arg((), level="basic")
    """Datasets or files that a model will be measured on: rows that are, or nearly are, theirs are removed."""


class CleanSet(WorkSet):
    """The arguments of `studio data clean`."""

    source: SourceOfRows = SourceOfRows()
    output: CleanOutput = CleanOutput()
    repairs: CleanRepairs = CleanRepairs()
    filters: CleanFilters = CleanFilters()
    duplicates: CleanDuplicates = CleanDuplicates()

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        said = []
        if not self.source.dataset and not self.source.train_file:
            said.append("--dataset: name the datasets to clean, or files with --train_file.")
        if not self.output.output_dir:
            said.append("--output_dir: name a folder for the cleaned rows.")
        kinds = ("mail", "phone", "id")
        for kind in self.repairs.personal_kinds:
            if kind not in kinds:
                said.append(f"--personal_kinds {kind}: must be one of {', '.join(kinds)}. Take it out.")
        if self.filters.min_length > self.filters.max_length:
            said.append(
                f"--min_length {self.filters.min_length}: must be at most max_length, {self.filters.max_length}, "
                "or every row is removed. Lower it."
            )
        for code in self.filters.languages:
            if not _LANGUAGE.fullmatch(code):
                said.append(f"--languages {code}: must be codes of ISO 639 such as zh, en or yue. Write the code.")
        for flag, shares in (
            ("max_top_ngrams", self.filters.max_top_ngrams),
            ("max_repeated_ngrams", self.filters.max_repeated_ngrams),
        ):
            for share in shares:
                if not _GRAM.fullmatch(share) or share.startswith(("0:", "00:")):
                    said.append(f"--{flag} {share}: must be n:share with a share from 0 to 1, such as 5:0.15.")
        return said


def shares(written: tuple[str, ...]) -> dict[int, float]:
    """Written `n:share` → {n: share}."""
    return {int(n): float(share) for n, _, share in (each.partition(":") for each in written)}


def facts(asked: Any, place: Workspace) -> dict[str, Any]:
    """For the page before the start: the sources with their sizes in bytes. Raises what can be told already."""
    found: dict[str, Any] = importlib.import_module("studio.cleaning.sources").facts(asked, place)
    return found


WORKS.add(
    "clean",
    Work(
        name="clean",
        words=("data", "clean"),
        asked=CleanSet,
        kind="data",
        does="studio.cleaning.work",
        about="mend texts, remove unfit rows, duplicates and rows of held-out files\n\n"
        "Every step says how many rows it changed or removed, and shows some. The result is a folder with one\n"
        ".jsonl for each source, and clean.json with the recipe, its counts and the hashes of the sources.",
        output="output_dir",
        facts=facts,
    ),
)
