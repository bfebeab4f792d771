"""Parameters as one record, the way compiled code is called fastest, and as named tuples again inside it."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray


def as_record(parameters: Any) -> NDArray[np.void]:
    """A NamedTuple of numbers and of such NamedTuples as a structured array of one element, same field names.

    Numba takes a NamedTuple apart number by number at every call from Python: 8 of the 11 microseconds of stepping one
    lane of the whole site. A record it passes as a pointer.
    """
    return np.array([_values(parameters)], _layout(parameters))


def as_tuple(record: Any, kind: Any) -> Any:
    """What `as_record` was made from: an instance of `kind`, a NamedTuple class, also inside compiled code.

    Fields of a record are memory that any store might change, so compiled code reads them again in every lane and
    repeats all that follows from them. A tuple's are constants of the loop: divisions by them are done before it.
    """
    hints = kind.__annotations__
    parts = [as_tuple(record[n], hints[n]) if issubclass(hints[n], tuple) else record[n] for n in kind._fields]
    return kind(*parts)


@overload(as_tuple, inline="always")
def _as_tuple(record: Any, kind: Any) -> Any:
    def compiled(record: Any, kind: Any) -> Any:
        return _load(record, kind)  # type: ignore[call-arg]  # the first argument is the compiler's

    return compiled


@intrinsic
def _load(typing_context: Any, record: Any, kind: Any) -> Any:
    """Read every field once."""
    whole = _tuple_type(record, kind.instance_class)

    def load(context: Any, builder: Any, record: Any, pointer: Any, kind: Any) -> Any:
        values = []
        for name, part in zip(kind.fields, kind.types, strict=True):
            value = context.get_getattr(record, name)(context, builder, record, pointer, name)
            nested = isinstance(part, types.BaseTuple)
            values.append(load(context, builder, record.typeof(name), value, part) if nested else value)
        return context.make_tuple(builder, kind, values)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return load(context, builder, record, arguments[0], whole)

    return whole(record, kind), generate


def _tuple_type(record: Any, kind: Any) -> Any:
    found = [(name, record.typeof(name)) for name in kind._fields]
    parts = [_tuple_type(f, kind.__annotations__[n]) if isinstance(f, types.Record) else f for n, f in found]
    return types.BaseTuple.from_types(parts, kind)


def _layout(part: Any) -> np.dtype[Any]:
    if not isinstance(part, tuple):
        return np.dtype(type(part))
    fields = [(name, _layout(value)) for name, value in part._asdict().items()]  # type: ignore[attr-defined]  # NamedTuples only
    return np.dtype((np.record, fields))  # a plain record has no attributes when numba is disabled


def _values(part: Any) -> Any:
    return tuple(_values(value) for value in part) if isinstance(part, tuple) else part
