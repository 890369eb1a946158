"""Ends the build where a page would fetch something: the site is read on machines without internet."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//[^\s"'>]+|"""
    r"""<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect))[^>]*href=["']?(?:https?:)?//[^\s"'>]+"""
)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Return the page as it is.

    Raises:
        PluginError: if it has a script, style, font or image of another host.
    """
    found = FETCHED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri}: would fetch {found.group()!r}; put a copy under docs/")
    return output
