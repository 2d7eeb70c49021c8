"""What a request says about who asks, read once and strictly."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

# A name, or an address of IPv6 in brackets; then a port.
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::([0-9]{1,5}))?")
# Of an address behind its question mark; one with more is read as if it had none.
MOST_PARTS = 200
PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class Visitor:
    """One request, as far as the guard needs it. `headers` have one value a name."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    address: str
    host_name: str
    """The host that is asked, without port and brackets; "" when it is said twice, not at all, or wrongly."""
    host_port: str
    origin: str
    """As it is sent; "" for none, "null" or what cannot be read for a foreign one."""
    site: str
    """What the browser says of the page that asks: same-origin, same-site, cross-site, none; "" for no browser."""
    mode: str
    bearer: str
    """The token that a program sends."""

    @property
    def host_is_address(self) -> bool:
        """Whether the host is an address, not a name."""
        try:
            ipaddress.ip_address(self.host_name)
        except ValueError:
            return False
        return True

    @property
    def origin_place(self) -> tuple[str, str, str]:
        """Name, port and the port that its scheme has by itself, of the Origin; empty for one that is nobody's."""
        scheme, _, place = self.origin.partition("://")
        found = HOST.fullmatch(place.lower())
        if found is None or scheme not in PORTS:
            return "", "", ""
        return found[1].strip("[]"), found[2] or "", PORTS[scheme]

    @property
    def wants_page(self) -> bool:
        """Whether a person looks at the answer."""
        return "text/html" in self.headers.get("accept", "")


def read(scope: Scope) -> Visitor:
    """Read a request."""
    headers: dict[str, str] = {}
    doubled: set[str] = set()
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if name in headers:
            doubled.add(name)
        headers[name] = raw_value.decode("latin-1")
    host = HOST.fullmatch(headers.get("host", "").strip().lower()) if "host" not in doubled else None
    # Two keys, or two origins: neither counts.
    kind, _, key = ("" if "authorization" in doubled else headers.get("authorization", "")).partition(" ")
    query = scope["query_string"].decode("latin-1")
    return Visitor(
        method=scope["method"],
        path=scope["path"],
        query=urllib.parse.parse_qs(query, keep_blank_values=True, max_num_fields=200)
        if query.count("&") < 200
        else {},
        headers=headers,
        address=(scope.get("client") or ("", 0))[0],
        host_name=host[1].strip("[]") if host else "",
        host_port=(host[2] or "") if host else "",
        origin="null" if "origin" in doubled else headers.get("origin", ""),
        site=headers.get("sec-fetch-site", "").lower(),
        mode=headers.get("sec-fetch-mode", "").lower(),
        bearer=key.strip() if kind.lower() == "bearer" else "",
    )
