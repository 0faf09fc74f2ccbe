# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Google API's discovery document, as google-api-python-client ships it: what its methods take and answer.

Source: https://developers.google.com/discovery/v1/reference/apis: schemas are of JSON Schema's draft 3, with `$ref` as a bare name.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

__all__ = ["Api", "Method", "load"]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_BOUNDS = {"int32": (-(1 << 31), (1 << 31) - 1), "uint32": (0, (1 << 32) - 1)}
# 64 bits are texts in JSON.
_LONG = {"int64": re.compile(r"-?[0-9]{1,19}"), "uint64": re.compile(r"[0-9]{1,20}")}


@dataclass(frozen=True)
class Method:
    """One method: ``id`` as in compute.routers.get, ``place`` the parameters of its path."""

    id: str
    place: Mapping[str, str]
    definition: Mapping[str, Any]


class Api:
    """One document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas = document["schemas"]
        base = "/" + document["servicePath"]
        self._methods = [(_pattern(base, method), method) for method in _methods(document)]
        # Parameters that each method takes: alt, fields and so on.
        self._common = document.get("parameters", {})

    def route(self, verb: str, path: str) -> Method | None:
        """The method of a request; None where there is none."""
        for pattern, method in self._methods:
            match = pattern.fullmatch(path) if method["httpMethod"] == verb else None
            if match:
                return Method(method["id"], match.groupdict(), method)
        return None

    def request_problems(self, method: Method, query: str, body: Any) -> Iterator[str]:
        """What of a request is not as the document has it."""
        known = {**self._common, **method.definition["parameters"]}
        for name, values in parse_qs(query, keep_blank_values=True).items():
            parameter = known.get(name)
            if parameter is None:
                yield f"{method.id}: no parameter {name}"
            elif len(values) > 1 and not parameter.get("repeated"):
                yield f"{method.id}: {name} given {len(values)} times"
            else:
                yield from self._parameter_problems(f"{method.id}: {name}", parameter, values)
        request = method.definition.get("request")
        if body is not None and request is None:
            yield f"{method.id}: takes no body"
        if request is not None:
            yield from self.problems(request["$ref"], body, method.id)

    def response_problems(self, method: Method, body: Any) -> Iterator[str]:
        """What of an answer is not."""
        yield from self.problems(method.definition["response"]["$ref"], body, f"{method.id} answered")

    def problems(self, schema: str, value: Any, where: str) -> Iterator[str]:
        """What of a value is not as a schema has it; a field that it does not have is one."""
        yield from self._check(self._schemas[schema], value, where)

    def _parameter_problems(self, where: str, parameter: Mapping[str, Any], values: list[str]) -> Iterator[str]:
        for value in values:
            if parameter["type"] == "integer" and not value.isdecimal():
                yield f"{where}: {value!r} is no number"
            if "enum" in parameter and value not in parameter["enum"]:
                yield f"{where}: {value!r} is none of {parameter['enum']}"

    def _check(self, schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
        if "$ref" in schema:
            yield from self._check(self._schemas[schema["$ref"]], value, where)
            return
        kind = schema.get("type", "any")
        if kind == "any":
            return
        # A bool is an int in Python, and none in JSON.
        if type(value) not in _TYPES[kind]:
            yield f"{where}: {value!r} is no {kind}"
            return
        if kind == "object":
            yield from self._check_object(schema, value, where)
        elif kind == "array":
            for number, item in enumerate(value):
                yield from self._check(schema["items"], item, f"{where}[{number}]")
        else:
            yield from self._check_scalar(schema, value, where)

    def _check_object(self, schema: Mapping[str, Any], value: Mapping[str, Any], where: str) -> Iterator[str]:
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, each in value.items():
            if name in properties:
                yield from self._check(properties[name], each, f"{where}.{name}")
            elif more is not None:
                yield from self._check(more, each, f"{where}.{name}")
            else:
                yield f"{where}: no field {name}"

    def _check_scalar(self, schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
        if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
            yield f"{where}: {value!r} does not match {schema['pattern']}"
        low, high = _BOUNDS.get(schema.get("format", ""), (value, value))
        if not low <= value <= high:
            yield f"{where}: {value} is beyond {schema['format']}"
        long = _LONG.get(schema.get("format", ""))
        if long is not None and not long.fullmatch(value):
            yield f"{where}: {value!r} is no {schema['format']}"


def _methods(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from part.get("methods", {}).values()
    for resource in part.get("resources", {}).values():
        yield from _methods(resource)


def _pattern(base: str, method: Mapping[str, Any]) -> re.Pattern[str]:
    path = re.escape(base + method.get("flatPath", method["path"])).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"\{([a-zA-Z]+)\}", r"(?P<\1>[^/]+)", path))


@functools.cache
def load(name: str) -> Api:
    """The document of an API and its version, as in ``compute.v1``."""
    package = importlib.util.find_spec("googleapiclient")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "discovery_cache/documents" / f"{name}.json"
    return Api(json.loads(file.read_text()))
