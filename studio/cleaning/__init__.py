"""Cleaning of rows: texts mended, unfit rows and duplicates taken out, and an account of all of it."""
