"""Parts of a potential's card: citation, weights, origin of a student, what it learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator


class Strict(BaseModel):
    """A part that takes no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Citation(Strict):
    """The paper to cite when a result rests on this potential."""

    text: str
    doi: str = ""


class Weights(Strict):
    """Where the weights come from, and the one set of bytes that is accepted."""

    origin: Literal["package", "file", "url", "none"]
    """``package``: a file inside an installed Python package; ``file``: beside the card, or given
    by path; ``url``: to be fetched once; ``none``: an analytic form, its numbers are the card's
    ``parameters``."""
    package: str = ""
    """Python package that holds the file."""
    file: str = ""
    """Path inside the package or relative to the card; for ``url`` its name once it is here."""
    url: str = ""
    """Where the authors publish the file."""
    sha256: str = ""
    """SHA-256 of the file, 64 hexadecimal digits. Empty for ``url`` only, where the authors publish
    none: it is then recorded when the file is fetched first, with the user's consent."""
    size_bytes: int = 0
    """Size of the file; 0 if not known."""

    @model_validator(mode="after")
    def _complete(self) -> Weights:
        if self.origin == "none":
            return self
        wanted = {"package": ("package", "file", "sha256"), "file": ("file", "sha256"), "url": ("url", "file")}
        missing = [key for key in wanted[self.origin] if not getattr(self, key)]
        if missing:
            raise ValueError(f"origin {self.origin!r} needs {', '.join(missing)}")
        if ".." in Path(self.file).parts or Path(self.file).is_absolute():
            raise ValueError("wanted a file inside the card's folder")
        if self.origin == "url" and (Path(self.file).name != self.file or not self.url.startswith("https://")):
            raise ValueError("origin 'url' wants an https:// address and a file name without folders")
        return self

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        if value and (len(value) != 64 or set(value) - set("0123456789abcdef")):
            raise ValueError("wanted 64 lower-case hexadecimal digits")
        return value


class Distilled(Strict):
    """Origin of a potential that was learned from another one."""

    teacher: str
    """Name of the potential that labelled all frames."""
    teacher_sha256: str
    """SHA-256 of the teacher's weights."""
    recipe: str
    """File that ``atomsim distill`` made it from."""
    recipe_sha256: str
    frames: int
    """Frames that it learned from."""
    epochs: int
    network: str
    """Architecture in one line."""
    command: str
    """Command that makes it again, and measures its errors."""


class Familiar(Strict):
    """Summary of what a potential learned from, by which unlike structures are flagged (``models.familiarity``)."""

    file: str
    """File of the summary, beside the weights."""
    sha256: str
    """SHA-256 of that file."""
    times: float
    """A structure counts as wrongly described if its error in energy per atom or in forces is so many times that of the
    card on held-out crystals."""
    precision: float
    """Share of the flagged that are wrongly described, on frames that the limit was not chosen on."""
    recall: float
    """Share of the wrongly described that are flagged."""
    structures: int
    """Frames that this was counted on."""
