"""WHAT may be asked: every argument, declared once, with nothing heavy imported."""
