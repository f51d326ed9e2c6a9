"""The JSON Schema of a report, made from the same type hints that write and read it."""

import inspect
import json
import re
from dataclasses import is_dataclass
from typing import Any

from onesigma.report._codec import NONFINITE, get_hints, required, shape_of, wire_fields
from onesigma.report.json import SCHEMA, Document

__all__ = ["schema"]

SCALARS: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    float: {"anyOf": [{"type": "number"}, {"enum": list(NONFINITE)}]},
    type(None): {"type": "null"},
}


def schema() -> str:
    """The text of `docs/report.schema.json` (JSON Schema, draft 2020-12)."""
    definitions: dict[str, Any] = {}
    document = _record(Document, definitions=definitions)
    head = {"schema": {"const": SCHEMA}}
    # A nested report carries no "schema" of its own.
    definitions["Document"] = {**document}
    document = {**document, "properties": head | document["properties"], "required": ["schema", *document["required"]]}
    text = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of onesigma",
        **document,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(text, indent=2, ensure_ascii=False) + "\n"


def _record(kind: type, *, definitions: dict[str, Any]) -> dict[str, Any]:
    described = _descriptions(kind)
    properties = {}
    for field in wire_fields(kind):
        told = {"description": described[field.name]} if field.name in described else {}
        properties[field.name] = told | _typed(get_hints(kind)[field.name], definitions=definitions)
    summary = {"description": (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")}
    return summary | {
        "type": "object",
        "properties": properties,
        "required": [field.name for field in wire_fields(kind) if required(field)],
    }


def _typed(kind: Any, *, definitions: dict[str, Any]) -> dict[str, Any]:
    shape, parts = shape_of(kind)
    if shape == "any":
        return {"anyOf": [_typed(part, definitions=definitions) for part in parts]}
    if shape == "list":
        return {"type": "array", "items": _typed(parts[0], definitions=definitions)}
    if shape == "pair":
        items = [_typed(part, definitions=definitions) for part in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if shape == "map":
        return {"type": "object", "additionalProperties": _typed(parts[1], definitions=definitions)}
    if shape == "words":
        return {"enum": list(parts)}
    if is_dataclass(kind):
        return _reference(kind, definitions=definitions)
    return SCALARS[kind]


def _reference(kind: Any, *, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind is not Document and kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # stands in while the record is walked, in case it holds itself
        definitions[kind.__name__] = _record(kind, definitions=definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _descriptions(kind: type) -> dict[str, str]:
    """The lines under "Attributes:" of a docstring, by name."""
    attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^ {4}(?=\w+: )", attributes, flags=re.MULTILINE)
    pairs = (entry.partition(": ") for entry in entries if entry.strip())
    return {name: " ".join(text.split()) for name, _, text in pairs}
