"""A page with a 3D view alone, for notebooks and files."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atomsim.errors import InputError
from atomsim.io.files import write_atomically
from atomsim.report.html import HERE, vendored_viewer
from atomsim.report.scenes import Scene, scenes_json

HEIGHT = 540
"""Height of the frame in a notebook, pixels."""
STYLE = "body { background: white; } #view { padding: 0.5rem; }"


@dataclass(frozen=True, eq=False)
class View:
    """Structures in three dimensions: shown in a notebook, or saved as a page that needs no network."""

    scenes: Sequence[Scene] = field(repr=False)
    title: str = ""

    @property
    def html(self) -> str:
        """The page."""
        head = f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(self.title)}</title>"
        style = f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}{STYLE}</style></head>"
        data = f'<script type="application/json" class="view-data" data-for="view">{scenes_json(self.scenes)}</script>'
        script = f"<script>{(HERE / 'viewer.js').read_text(encoding='utf-8')}</script>"
        body = f"<body><div id='view' class='view'></div><script>{vendored_viewer()}</script>{data}{script}</body>"
        return f"{head}{style}{body}</html>"

    def save(self, path: str | Path) -> Path:
        """Write the page and return its path.

        Raises:
            AtomsimError: if it cannot be written.
        """
        target = Path(path).expanduser()
        write_atomically(target, self.html)
        return target

    def _repr_html_(self) -> str:
        source = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{source}" style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'


def view_of(scenes: Sequence[Scene], title: str) -> View:
    """Return a view of scenes.

    Raises:
        InputError: if there is nothing to show.
    """
    if not scenes:
        raise InputError(f"{title}: found no structure to show; 'message' says why there is none")
    return View(scenes, title)
