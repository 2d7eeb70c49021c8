"""What a client is told when a request cannot be served, in the form that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse

from studio.errors import RowError, StudioError, UsageError
from studio.model.answer import BusyError, EndedError, TooLongError

# A client is asked to wait so long before it comes again.
RETRY_S = 1


class Refusal(Exception):
    """A request that is not served: status, sentence, and where in the request the reason lies."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        # What is quoted may hold halves of characters, which no body can.
        self.message = message.encode(errors="backslashreplace").decode()
        self.headers = {"Retry-After": str(RETRY_S)} if retry else {}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body, self.status, self.headers)


def refusal_of(error: StudioError) -> Refusal:
    """The refusal for what the engine or the template says."""
    sentence = _sentence(str(error))
    if isinstance(error, TooLongError):
        return Refusal(400, sentence, param="messages", code="context_length_exceeded")
    if isinstance(error, RowError):
        return Refusal(400, sentence, param="messages", code="invalid_value")
    if isinstance(error, UsageError):
        return Refusal(400, sentence, code="unsupported_parameter")
    if isinstance(error, BusyError):
        return Refusal(429, sentence, code="queue_full", retry=True)
    if isinstance(error, EndedError):
        return Refusal(503, sentence, code="shutting_down", retry=True)
    return Refusal(500, sentence, code="engine_failed")


def refusal_of_fields(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """The refusal for a request whose fields do not fit the schema; the first complaint counts."""
    first = errors[0]
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", "it cannot be read")
        return Refusal(400, f"the body must be JSON; {why} at character {first['loc'][-1]}.", code="invalid_json")
    if first["type"] == "refused_field":
        named, reason = first["ctx"]["param"], first["ctx"]["why"]
        return Refusal(400, f"{named}: {reason}", param=named, code="unsupported_parameter")
    # The first part says that it was the body.
    param = path_of(first["loc"][1:])
    if not param:
        return Refusal(400, "the body must be a JSON object, sent as application/json.", code="invalid_json")
    if first["type"] == "value_error":
        sentence = _sentence(str(first["msg"]).removeprefix("Value error, "))
        return Refusal(400, f"{param}: {sentence}", param=param, code="invalid_value")
    if first["type"] == "missing":
        return Refusal(400, f"{param}: is missing.", param=param, code="missing_required_parameter")
    why = str(first["msg"]).replace("Input should", "must")
    why = why[:1].lower() + why[1:]
    return Refusal(400, f"{param}: {why}; got {_shown(first['input'])}.", param=param, code="invalid_value")


def path_of(places: Sequence[int | str]) -> str:
    """Where in a request: messages[0].content."""
    path = ""
    for place in places:
        path += f"[{place}]" if isinstance(place, int) else f".{place}"
    return path.removeprefix(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."
