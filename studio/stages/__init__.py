"""Each WAY OF LEARNING is a file: its arguments on top, its rows and its trainer below."""
