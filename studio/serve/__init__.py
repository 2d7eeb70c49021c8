"""Using a model: the OpenAI-compatible server, and the conversation in the terminal."""
