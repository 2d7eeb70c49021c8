"""ROWS: from a name in `dataset_info.json` to examples, and from examples to tokens.

The way of a row: `catalog` finds the entry, `source` streams raw rows out of its file, `formats`
makes each an `Example`, and the chat template renders that to tokens with a loss mask.
"""
