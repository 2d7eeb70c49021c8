"""Where the REWARD of an answer comes from: a reward model, a function, a service."""
