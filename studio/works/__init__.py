"""Long work other than training: each file declares its arguments and names what does it."""
