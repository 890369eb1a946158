"""A setting that a campaign's step and a function of the library both have is one: its name, default and values."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError

from atomsim.api.arguments import DEFAULTS_ELSEWHERE
from atomsim.errors import InputError
from atomsim.mep.path import PathSettings
from atomsim.relaxation import RelaxSettings
from atomsim.tasks import barriers, neb, relax

PAIRS = [(RelaxSettings, relax.Settings), (PathSettings, barriers.Settings), (PathSettings, neb.Settings)]
NEEDED = {"structures": ["Li"], "start": "a.cif", "end": "b.cif", "ion": "Li"}
NUMBERS = (-1, 0, 1, 2, 21, -0.1, 0.0, 0.05, 0.6, float("nan"), float("inf"))
VALUES = (*NUMBERS, "newton", "springs", "band", "idpp", "other", True)


def shared(library, step):
    return [f for f in dataclasses.fields(library) if f.name in step.model_fields]


@pytest.mark.parametrize(("library", "step"), PAIRS)
def test_names_and_defaults_are_the_same(library, step):
    assert {f.name for f in dataclasses.fields(library)} - set(step.model_fields) <= DEFAULTS_ELSEWHERE | {"seed"}
    for field in shared(library, step):
        assert step.model_fields[field.name].get_default() == field.default, field.name


@pytest.mark.parametrize(("library", "step"), PAIRS)
def test_what_a_step_takes_the_library_takes(library, step):
    """Not the other way round: a step also refuses what only a mistake explains, such as noise of 1 Å."""
    needed = {key: value for key, value in NEEDED.items() if key in step.model_fields}
    for field in shared(library, step):
        for value in VALUES:
            if taken(step, needed | {field.name: value}):
                assert taken(library, {field.name: value}), f"{field.name}={value!r}"


def taken(model, values):
    try:
        model(**values)
    except (InputError, ValidationError):
        return False
    return True
