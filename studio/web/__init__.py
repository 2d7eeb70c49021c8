"""The page: a FastAPI application with Gradio in it, behind a guard; it starts commands and reads folders."""
