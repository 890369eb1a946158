"""The public interface as a whole: names, imports, signatures and the examples in docstrings."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil

import pytest

import atomsim
from atomsim import api
from atomsim.api import glass, hops, md, migration, orderings, oxygen, paths, relax, vibrations
from atomsim.execution.job import Engine
from atomsim.tasks import amorphize, barriers, delithiate, dimerize, neb
from atomsim.tasks import md as md_step
from atomsim.tasks import phonons as phonon_step
from atomsim.tasks import relax as relax_step

VERBS = [name for name in atomsim.__all__ if name[0].islower() and name[0] != "_"]


def test_no_public_name_is_a_module():
    modules = {m.name for m in pkgutil.iter_modules(atomsim.__path__)}
    assert not modules & set(atomsim.__all__)
    for name in VERBS:
        assert callable(getattr(atomsim, name))


SIGNATURES = [
    (atomsim.relax, relax_step.Settings, relax.RELAX_KEYS),
    (atomsim.dimerize, dimerize.Settings, oxygen.DIMER_KEYS),
    (atomsim.md, md_step.Settings, md.MD_KEYS),
    (atomsim.amorphize, amorphize.Settings, glass.AMORPHIZE_KEYS),
    (atomsim.neb, neb.Settings, paths.NEB_KEYS),
    (atomsim.hops, barriers.Settings, hops.HOP_KEYS),
    (atomsim.migration, barriers.Settings, migration.MIGRATION_KEYS),
    (atomsim.delithiate, delithiate.Settings, orderings.DELITHIATE_KEYS),
    (atomsim.phonons, phonon_step.Settings, vibrations.PHONON_KEYS),
]


@pytest.mark.parametrize(("verb", "model", "keys"), SIGNATURES, ids=[v.__name__ for v, _, _ in SIGNATURES])
def test_a_signature_says_what_the_settings_say(verb, model, keys):
    """Names, order and defaults; what a call needs comes first and may stand elsewhere."""
    parameters = inspect.signature(verb).parameters
    taken = {"structures", "parent", "start", "end"} if verb is not atomsim.amorphize else {"formula", "n_atoms"}
    if verb in (atomsim.relax, atomsim.neb):  # here the call itself asks further potentials, not each task
        taken |= {"check_with", "check_relax"}
    assert [k for k in parameters if k in model.model_fields and k not in taken] == list(keys)
    if verb is not atomsim.hops:
        assert set(model.model_fields) - set(keys) <= taken
    named = [k for k in keys if parameters[k].kind is inspect.Parameter.KEYWORD_ONLY]
    assert named == [k for k in model.model_fields if k in named]
    for key in keys:
        default = model.model_fields[key].get_default(call_default_factory=True)
        given = parameters[key].default
        if given is not inspect.Parameter.empty:
            assert (list(given) if isinstance(given, tuple) else given) == default, key


@pytest.mark.parametrize("name", VERBS)
def test_a_signature_shows_values_not_names(name):
    """Documentation is made from the source: a default there is a value that a reader can use."""
    function = inspect.unwrap(getattr(atomsim, name))
    (definition,) = ast.parse(inspect.getsource(function)).body
    defaults = [*definition.args.defaults, *(d for d in definition.args.kw_defaults if d is not None)]
    for default in defaults:
        ast.literal_eval(default)
    parameters = inspect.signature(function).parameters
    if "potential" in parameters and name not in ("electrode", "run_campaign"):
        assert parameters["potential"].default == Engine().potential


@pytest.mark.parametrize("name", VERBS)
def test_a_public_function_is_documented(name):
    text = inspect.getdoc(getattr(atomsim, name)) or ""
    for part in ("Returns:" if "Yields:" not in text else "Yields:", "Raises:", "Examples:", ">>> "):
        assert part in text
    parameters = [p for p in inspect.signature(getattr(atomsim, name)).parameters if p != "self"]
    for parameter in parameters:
        assert f"{parameter}: " in text, parameter


@pytest.mark.parametrize("module", sorted(m.name for m in pkgutil.iter_modules(api.__path__)))
def test_examples_in_docstrings_are_true(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(f"atomsim.api.{module}"), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0
