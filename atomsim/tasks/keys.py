"""Says to a person which keys a table takes, and what is wrong with those given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from atomsim.errors import nearest


def explain(error: ValidationError, model: type[BaseModel], where: str, extra: Iterable[str] = ()) -> list[str]:
    """Say each problem that pydantic found in one line: found, wanted, nearest."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            *tables, name = problem["loc"]
            known = _keys_of(model, tables) if tables else [*extra, *model.model_fields]
            lines.append(f"unknown key {key!r} in {where};{nearest(str(name), known)}".rstrip(";"))
        elif problem["type"] == "missing":
            lines.append(f"{where} has no {key!r}: it must be given")
        else:
            wanted = wanted_of(problem)
            prefix = "" if problem["type"] == "value_error" else f"found {problem['input']!r}, wanted "
            lines.append(": ".join(filter(None, (where, key, f"{prefix}{wanted}"))))  # no key: of the whole table
    return lines


def wanted_of(problem: Mapping[str, Any]) -> str:
    """Return what pydantic wanted, in words that a user has."""
    if problem["type"] in ("too_short", "too_long"):
        least, most = problem["ctx"].get("min_length"), problem["ctx"].get("max_length")
        return f"{least} or more" if problem["type"] == "too_short" else f"{most} at most"
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")


def _keys_of(model: type[BaseModel], tables: Sequence[str | int]) -> list[str]:
    """Keys of a table inside a table, by its path; numbers in a path count tables of one name."""
    for table in tables:
        if isinstance(table, int) or table not in model.model_fields:  # a number, or a name that the user chose
            continue
        annotation = model.model_fields[table].annotation
        inner = [t for t in (annotation, *get_args(annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def describe_settings(model: type[BaseModel]) -> list[dict[str, str]]:
    """Return type, default and meaning of every key of a table."""
    rows = []
    for key, info in model.model_fields.items():
        default = "must be given" if info.is_required() else json.dumps(info.get_default(call_default_factory=True))
        rows.append(
            {
                "key": key,
                "type": _type_name(info.annotation),
                "default": "not given" if default == "null" else default,
                "description": info.description or "",
            }
        )
    return rows


def _type_name(annotation: Any) -> str:
    """Return a type as a person would say it: ``list of float``, ``"lbfgs" or "fire"``."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(json.dumps(value) for value in inner)
    if get_origin(annotation) is dict:
        return f"table of {_type_name(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"tables of {', '.join(annotation.model_fields)}"
    if get_origin(annotation) is list:
        return f"list of {_type_name(inner[0])}"
    if get_origin(annotation) is Annotated:
        return _type_name(inner[0])
    if inner:
        return " or ".join(_type_name(part) for part in inner if part is not type(None))
    name: str = annotation.__name__
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(name, name)
