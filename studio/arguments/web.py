"""Arguments of `studio webui`: where the page is reached, and what it may reach."""

from __future__ import annotations

from studio.arguments.base import Arguments, Names, Text, arg


class WebArguments(Arguments):
    """Where the page is reached, by whom, and which folders it may use."""

    host: Text = arg("127.0.0.1", level="basic")
    """Address to listen at; 0.0.0.0 lets other machines ask. The token is demanded everywhere."""

    port: int = arg(7860, level="basic", ge=0, le=65535)
    """Port to listen at; 0 takes a free one."""

    root: Names = arg((), level="basic")
    """Further folders that the page and its jobs may use besides the workspace, such as a disk with models."""

    root_path: Text = arg("")
    """The path before the page when a proxy passes it on, such as /proxy/7860; the proxy may strip it or keep it."""

    public_host: Names = arg(())
    """Names under which browsers reach the page through a proxy: studio.example.org, with https:// before it or not."""

    frame_ancestor: Names = arg(())
    """Addresses of pages that may show this one in a frame, such as https://notebook.example.org."""

    new_token: bool = arg(False)
    """Make a new token: whoever has the old one is locked out."""

    trust_remote_code: bool = arg(False)
    """Let the page start jobs that run Python code of a model's folder, or of a function for rewards; each job still
    has to ask for it."""
