"""Vocabularies: trained, extended, looked at, and models that begin with one. Imported to do a work, never before."""
