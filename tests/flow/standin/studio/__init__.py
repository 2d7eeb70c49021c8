"""Stands where the studio stands, for commands of jobs under test: nothing here loads a library."""
