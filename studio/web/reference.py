"""The page at /api/docs: every route of ours, with what it takes. No script, nothing from another host."""

from __future__ import annotations

import html
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin: 2rem 0 .5rem; } code { font-size: .95em; } p { margin: .1rem 0 .8rem; }
dt { margin-top: .8rem; } dd { margin: 0 0 0 1.5rem; } b { display: inline-block; min-width: 4.2rem; }
"""
FIRST = (
    "Each answer is JSON. Send the token as <code>Authorization: Bearer …</code>. What is refused is answered with "
    '<code>{"error": "…", "complaints": ["…"]}</code>. For programs: <a href="openapi.json">openapi.json</a>.'
)


def add_reference(app: FastAPI) -> None:
    """The route of the page."""

    @app.get("/api/docs", include_in_schema=False, response_class=HTMLResponse)
    def docs() -> str:
        """The page."""
        return page(app.openapi())


def page(schema: dict[str, Any]) -> str:
    """The page of an OpenAPI schema."""
    subjects: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            subjects.setdefault((told.get("tags") or ["studio"])[0], []).append(_route(method, path, told, schema))
    parts = [f"<h2>{html.escape(name)}</h2><dl>{''.join(routes)}</dl>" for name, routes in subjects.items()]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>studio: API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>studio: API</h1><p>{FIRST}</p>{''.join(parts)}</body></html>"
    )


def _route(method: str, path: str, told: dict[str, Any], schema: dict[str, Any]) -> str:
    takes = [
        f"<code>{html.escape(each['name'])}</code> ({each['in']}{_type(each.get('schema', {}))})"
        for each in told.get("parameters", [])
    ]
    for kind, content in told.get("requestBody", {}).get("content", {}).items():
        takes.append(f"{html.escape(kind)}: {_fields(content.get('schema', {}), schema)}")
    text = html.escape(" ".join((told.get("description") or told.get("summary") or "").split()))
    shown = f"<br>takes {'; '.join(takes)}" if takes else ""
    return f"<dt><b>{method.upper()}</b> <code>{html.escape(path)}</code></dt><dd>{text}{shown}</dd>"


def _fields(body: dict[str, Any], schema: dict[str, Any]) -> str:
    name = body.get("$ref", "").rpartition("/")[2]
    found = schema.get("components", {}).get("schemas", {}).get(name, body)
    needed = found.get("required", [])
    fields = [
        f"<code>{html.escape(field)}</code>{_type(kind)}{'' if field in needed else ', optional'}"
        for field, kind in found.get("properties", {}).items()
    ]
    return "; ".join(fields) or "any"


def _type(kind: dict[str, Any]) -> str:
    found = kind.get("type") or " or ".join(each.get("type", "") for each in kind.get("anyOf", []))
    return f", {html.escape(str(found))}" if found else ""
