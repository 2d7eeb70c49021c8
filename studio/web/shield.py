"""What browsers are told about every answer: where it may come from, and that nobody else may read it."""

from __future__ import annotations

from starlette.types import Message, Scope, Send

from studio.web.site import Site

# Gradio compiles its templates in the page, and writes styles into elements.
PAGE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}"
)
# Answers that are data: were one shown as a page, it could do nothing.
DATA = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
DATA_PATHS = ("/api/", "/gradio_api/")
# Gradio names these by what they hold.
NAMED_BY_CONTENT = "/assets/"


def shielded(send: Send, scope: Scope, site: Site) -> Send:
    """Send with the headers of ours, and without those that let other origins read."""
    is_data = scope["path"].startswith(DATA_PATHS)
    ancestors = " ".join(["'self'", *site.frame_ancestors])
    ours = {
        b"content-security-policy": (DATA if is_data else PAGE.format(ancestors=ancestors)).encode(),
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-resource-policy": b"same-origin",
        b"permissions-policy": b"camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    }
    if not site.frame_ancestors:
        ours[b"x-frame-options"] = b"SAMEORIGIN"
        ours[b"cross-origin-opener-policy"] = b"same-origin"

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message["headers"]
                if name.lower() not in ours and not name.lower().startswith(b"access-control-")
            ]
            said = {name.lower() for name, _ in kept}
            if b"cache-control" not in said:
                kept.append((b"cache-control", _keeping(scope["path"], message["status"], b"etag" in said)))
            message = {**message, "headers": [*kept, *ours.items()]}
        await send(message)

    return tell


def _keeping(path: str, status: int, has_mark: bool) -> bytes:
    """How long a browser keeps what does not say so itself."""
    if path.startswith(NAMED_BY_CONTENT) and status in (200, 304):
        return b"private, max-age=31536000, immutable"
    # With a mark it is asked for again and seldom sent again; without one it may show data.
    return b"no-cache" if has_mark else b"no-store"
