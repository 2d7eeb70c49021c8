"""What must be true before a run starts. `--plan` shows it; a start goes through the same checks."""
