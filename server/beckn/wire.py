"""What travels: strict JSON in, acknowledgements out, and the ways to say no.

Sources: Beckn core 0.9.4 (core.yaml) for the shapes, BECKN-005 (Draft 01) for the codes.
"""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, NoReturn

DEEPEST: Final = 32  # levels of nesting; the deepest message of the schema has 12
ACK: Final = {"message": {"ack": {"status": "ACK"}}}


class Code(StrEnum):
    """Error codes of BECKN-005 that we use; the last is an extension that ONDC publishes."""

    INVALID_REQUEST = "30000"
    ITEM_NOT_FOUND = "30004"
    ORDER_NOT_FOUND = "30010"
    INVALID_UPDATE_TARGET = "30012"
    UPDATE_INCONSISTENT = "30013"
    INVALID_RATING = "30015"
    BUSINESS = "40000"
    NOT_APPLICABLE = "40001"
    QUANTITY_UNAVAILABLE = "40002"
    QUOTE_UNAVAILABLE = "40003"
    CANCELLATION_NOT_POSSIBLE = "50001"
    UPDATE_NOT_POSSIBLE = "50002"
    STALE = "30022"


class Kind(StrEnum):
    """Error types of core 0.9.4."""

    CONTEXT = "CONTEXT-ERROR"
    CORE = "CORE-ERROR"
    DOMAIN = "DOMAIN-ERROR"
    POLICY = "POLICY-ERROR"
    SCHEMA = "JSON-SCHEMA-ERROR"


class Problem(Exception):
    """Why a message is not acted on: answered as NACK, or later as an error in the callback."""

    def __init__(self, kind: Kind, code: Code, text: str, path: str = "") -> None:
        """Say no.

        Args:
            kind: Which part of the agreement is broken.
            code: Which error.
            text: What came, what is allowed, what to do.
            path: The field, such as `context.bap_id`; empty for the whole.
        """
        super().__init__(text)
        self.kind, self.code, self.text, self.path = kind, code, text, path


def nack(problem: Problem) -> dict[str, Any]:
    """The answer to a message that will not be acted on, 0.9.4."""
    return {"message": {"ack": {"status": "NACK"}}, "error": error(problem)}


def error(problem: Problem) -> dict[str, str]:
    """An error object, 0.9.4; no path where the whole message is meant."""
    said = {"type": problem.kind.value, "code": problem.code.value, "message": problem.text}
    return {**said, "path": problem.path} if problem.path else said


def parse(raw: bytes) -> dict[str, Any]:
    """Read a body as a JSON object without duplicate names, NaN or endless nesting.

    Raises:
        Problem: It is none.
    """
    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except Problem:
        raise
    except RecursionError:
        raise _unreadable("it is nested too deeply") from None
    except ValueError as problem:  # bad UTF-8, bad JSON, an integer of a million digits
        raise _unreadable(f"it is no JSON in UTF-8 ({problem})") from problem
    if not isinstance(body, dict):
        raise _unreadable(f"it is {type(body).__name__}, not an object")
    if _depth(body) > DEEPEST:
        raise _unreadable(f"it is nested more than {DEEPEST} levels deep")
    if b"\\u" in raw and not all(_can_be_kept(text) for text in _texts(body)):
        raise _unreadable("a text holds the character 0 or half of a character")
    return body


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _unreadable(f"the name {twice[:40]!r} stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _unreadable(f"{name} is not JSON")


def _unreadable(why: str) -> Problem:
    return Problem(Kind.SCHEMA, Code.INVALID_REQUEST, f"the body cannot be read: {why}; send one Beckn message as JSON")


def _texts(value: Any) -> Iterator[str]:
    """Every text and name in a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _can_be_kept(text: str) -> bool:
    """Whether a text can be encoded, signed and stored: JSON may escape what no database and no UTF-8 takes."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return deepest
