"""What this machine has, and whether all that a run needs is here and works."""
