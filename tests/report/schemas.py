"""What JSON Schema says of a value, and what the standards ask of the forms that other tools read."""

import math
from typing import Any

__all__ = ["SARIF", "violations"]

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def violations(value: Any, rule: dict[str, Any], *, root: dict[str, Any], at: str = "$") -> Any:
    """Where a value breaks a schema: the part of JSON Schema that the published one uses, and no other."""
    known = {"$schema", "title", "description", "$defs", "$ref", "type", "properties", "required", "items"}
    known |= {"prefixItems", "minItems", "maxItems", "additionalProperties", "anyOf", "enum", "const", "minimum"}
    assert set(rule) <= known, set(rule) - known
    if "$ref" in rule:
        yield from violations(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root=root, at=at)
    if "anyOf" in rule and all(any(violations(value, part, root=root, at=at)) for part in rule["anyOf"]):
        yield f"{at}: none of {rule['anyOf']}"
    if ("enum" in rule and value not in rule["enum"]) or ("const" in rule and value != rule["const"]):
        yield f"{at}: {value!r}"
    kind = rule.get("type")
    if kind == "boolean" or isinstance(value, bool):
        if kind and not (kind == "boolean" and isinstance(value, bool)):
            yield f"{at}: {value!r} is no {kind}"
    elif kind and not isinstance(value, TYPES[kind]):
        yield f"{at}: {value!r} is no {kind}"
    if "minimum" in rule and value < rule["minimum"]:
        yield f"{at}: {value} is below {rule['minimum']}"
    if isinstance(value, dict):
        yield from (f"{at}.{name} is missing" for name in rule.get("required", ()) if name not in value)
        for name, item in value.items():
            part = rule.get("properties", {}).get(name, rule.get("additionalProperties", {}))
            if part is False:
                yield f"{at}.{name} is not known"
                continue
            yield from violations(item, part, root=root, at=f"{at}.{name}")
    if isinstance(value, list):
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", math.inf):
            yield f"{at}: {len(value)} items"
        for index, item in enumerate(value):
            parts = rule.get("prefixItems", [])
            part = parts[index] if index < len(parts) else rule.get("items", {})
            yield from violations(item, part, root=root, at=f"{at}[{index}]")


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object that has these properties and no other: SARIF allows others in property bags alone."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}
MESSAGE = closed({"text": TEXT, "markdown": TEXT}, "text")
RULE = closed({"id": TEXT, "name": TEXT, "shortDescription": MESSAGE, "help": MESSAGE}, "id")
REGION = closed({"startLine": {"type": "integer", "minimum": 1}})
PLACE = closed({"artifactLocation": closed({"uri": TEXT}), "region": REGION})
LOCATION = closed(
    {
        "logicalLocations": {"type": "array", "items": closed({"fullyQualifiedName": TEXT, "kind": TEXT})},
        "physicalLocation": PLACE,
    }
)
RESULT = closed(
    {
        "ruleId": TEXT,
        "ruleIndex": NUMBER,
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": MESSAGE,
        "locations": {"type": "array", "items": LOCATION},
        "partialFingerprints": {"type": "object", "additionalProperties": TEXT},
    },
    "message",
)
DRIVER = closed({"name": TEXT, "version": TEXT, "rules": {"type": "array", "items": RULE}}, "name")
RUN = closed(
    {
        "tool": closed({"driver": DRIVER}, "driver"),
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {"type": "array", "items": RESULT},
    },
    "tool",
)
SARIF = closed(
    {"$schema": TEXT, "version": {"const": "2.1.0"}, "runs": {"type": "array", "items": RUN}}, "version", "runs"
)
"""Of the schema of SARIF 2.1.0, sections 3.13 to 3.52: the properties that are used here, and those that must be."""
