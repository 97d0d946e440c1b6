"""Settings: frozen dataclasses read from the environment, every fault named at once.

A room declares its settings in one dataclass, each field by ``setting(...)``; ``load`` reads them and ``describe``
feeds the table in the README.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, get_type_hints

SettingsType = TypeVar("SettingsType")


class BadSettings(ValueError):
    """Raised with every missing or unreadable setting named in the message."""


def setting(
    name: str,
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    check: Callable[[Any], None] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
) -> Any:
    """Declare one setting: its environment variable, default (none: it must be given), one sentence, and its limits.

    ``check`` raises ``ValueError`` on a value that cannot be used. A ``secret`` value is in no error message.
    """
    metadata = {
        "name": name,
        "doc": doc,
        "check": check,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
    }
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def load(kind: type[SettingsType], environ: Mapping[str, str]) -> SettingsType:
    """Read the settings of one room. Raises ``BadSettings``."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = field.metadata["name"]
        text = environ.get(name)
        if text is None:
            if field.default is dataclasses.MISSING:
                faults.append(f"{name} is missing: {field.metadata['doc']}")
            continue
        try:
            values[field.name] = _checked(_parse(text, hints[field.name]), field.metadata)
        except ValueError as error:
            shown = "..." if field.metadata["secret"] else repr(_without_password(text))
            faults.append(f"{name}={shown}: {error}")
    if faults:
        raise BadSettings("\n".join(faults))
    return kind(**values)


def _without_password(text: str) -> str:
    """Return a setting as it may be shown: of a URL, the login is left out."""
    return re.sub(r"://.*@", "://…@", text)


def check_or_exit(environ: Mapping[str, str], *kinds: type[Any]) -> None:
    """For a program that reads several kinds: every bad setting of all of them in one message, and exit code 2."""
    faults = []
    for kind in kinds:
        try:
            load(kind, environ)
        except BadSettings as error:
            faults.append(str(error))
    if faults:
        exit_with("bad settings:\n" + "\n".join(faults))


def exit_with(message: str) -> NoReturn:
    """Print what is wrong with how the program was called and end it with code 2."""
    print(message, file=sys.stderr)
    raise SystemExit(2)


def describe(kind: type[Any]) -> list[tuple[str, str, str]]:
    """Return (name, default, sentence) of every setting of a room, in order of declaration."""
    rows = []
    for field in dataclasses.fields(kind):
        default = "(required)" if field.default is dataclasses.MISSING else str(field.default)
        rows.append((field.metadata["name"], default, field.metadata["doc"]))
    return rows


def _parse(text: str, hint: Any) -> Any:
    if hint is bool:
        if text.lower() not in ("0", "1", "false", "true", "no", "yes"):
            raise ValueError("must be 0 or 1")
        return text.lower() in ("1", "true", "yes")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise ValueError("must be a whole number" if hint is int else "must be a number") from None
    return text


def _checked(value: Any, metadata: Mapping[str, Any]) -> Any:
    minimum, maximum = metadata["minimum"], metadata["maximum"]
    # Written so that NaN fails too.
    if minimum is not None and not value >= minimum:
        raise ValueError(f"must be at least {minimum}")
    if maximum is not None and not value <= maximum:
        raise ValueError(f"must be at most {maximum}")
    if metadata["check"] is not None:
        metadata["check"](value)
    return value
