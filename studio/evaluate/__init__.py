"""How good a model is: its answers, its choices, its probabilities, each with an interval and beside its base."""
