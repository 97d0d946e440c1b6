"""An OpenAPI document as one page for people: plain HTML made here, no script, nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { font-size: 1.05rem; margin: 0; display: inline; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid #8886; border-radius: .3rem; }
details { border: 1px solid #8886; border-radius: .3rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #8884; }
td { overflow-wrap: anywhere; }
"""
# What the page may load: its own style and nothing else.
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(document: Mapping[str, Any]) -> str:
    """Return the page. Serve it with ``CONTENT_SECURITY_POLICY``."""
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    operations = [
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    records = [
        f'<details id="{name}"><summary><h2><code>{name}</code></h2></summary>{_record(schema)}</details>'
        for name, schema in document["components"]["schemas"].items()
    ]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>",
            '<p>Generated from <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>',
            *operations,
            "<h1>Records</h1>",
            *records,
            "</main></body></html>",
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    name, summary = f"{method.upper()} {escape(path)}", escape(operation["summary"])
    parts = [f"<details><summary><h2><code>{name}</code></h2> {summary}</summary>"]
    if operation["parameters"]:
        rows = [
            (
                one["name"],
                one["in"] + (", required" if one["required"] else ""),
                _type(one["schema"]),
                one["description"],
            )
            for one in operation["parameters"]
        ]
        parts.append(_table(("parameter", "in", "type", "what it says"), rows))
    if "requestBody" in operation:
        for media, content in operation["requestBody"]["content"].items():
            parts.append(f"<p>Body, <code>{escape(media)}</code>:</p>{_record(content['schema'])}")
            if "example" in content:
                parts.append(f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>")
    answers = [
        (status, media, _type(content["schema"]), answer["description"])
        for status, answer in operation["responses"].items()
        for media, content in answer["content"].items()
    ]
    parts.append(_table(("status", "media type", "record", "what it means"), answers))
    return "".join([*parts, "</details>"])


def _record(schema: Mapping[str, Any]) -> str:
    if "properties" not in schema:
        return f"<p>{_type(schema)}</p>"
    required = schema.get("required", [])
    rows = [
        (name, "required" if name in required else "", _type(member), member.get("description", ""))
        for name, member in schema["properties"].items()
    ]
    return f"<p>{escape(schema.get('description', ''))}</p>{_table(('member', '', 'type', 'what it says'), rows)}"


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type in a few words, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        words = " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    elif schema.get("type") == "array" and "items" in schema:
        words = f"list of {_type(schema['items'])}" if schema["items"] else "list"
    elif schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        words = f"object of {_type(schema['additionalProperties'])}"
    else:
        words = escape(str(schema.get("type", "anything")))
    limits = [
        f"{label} {escape(str(schema[key]))}"
        for key, label in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
            ("maxItems", "at most"),
            ("default", "otherwise"),
        )
        if key in schema
    ]
    return words + (f" ({', '.join(limits)})" if limits else "")


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str, str]]) -> str:
    """Return a table; the third column is HTML already."""
    body = "".join(
        f"<tr><td><code>{escape(one)}</code></td><td>{escape(two)}</td><td>{three}</td><td>{escape(four)}</td></tr>"
        for one, two, three, four in rows
    )
    return (
        f"<table><thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr></thead><tbody>{body}</tbody></table>"
    )
