"""Every type that crosses the wire comes back from JSON as it went, and takes no field that it does not name."""

import importlib
import json
import pkgutil
import types
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Len, Lt, MaxLen, MinLen
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ValidationError

import server
from server.schemas import Wire
from server.tokens import Token


def wire_types() -> list[type[BaseModel]]:
    """All of them, in whatever module of the server."""
    for module in pkgutil.walk_packages(server.__path__, "server."):
        importlib.import_module(module.name)
    found, waiting = [], [Wire]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += children
        waiting += children
    return sorted({*found, Token}, key=lambda each: each.__name__)


def values(kind: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Values of a type within what its annotations allow."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values(arguments[0], (*arguments[1:], *metadata))
    if origin in (Union, types.UnionType):
        return st.one_of([values(each, metadata) for each in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        low, high = _length(metadata)
        lists = st.lists(values(arguments[0]), min_size=low, max_size=min(high, low + 3))
        return lists if origin is list else lists.map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, arguments))
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), values(arguments[1]), max_size=3)
    if kind is type(None):
        return st.none()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return models(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    low, high = _range(metadata)
    if kind is float:
        return st.floats(low, high, allow_nan=False, allow_infinity=False)
    if kind is int:
        return st.integers(None if low is None else int(low), None if high is None else int(high))
    if kind in (datetime, AwareDatetime):
        return st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))
    patterns = [rule.pattern for rule in metadata if getattr(rule, "pattern", None)]
    if kind is str:
        shortest, longest = _length(metadata)
        plain = st.text(st.characters(codec="utf-8"), min_size=shortest, max_size=min(longest, shortest + 12))
        return st.from_regex(patterns[0], fullmatch=True) if patterns else plain
    return {bool: st.booleans(), Any: st.none()}[kind]


def models(model: type[BaseModel]) -> st.SearchStrategy[BaseModel]:
    """Models of a type; combinations that its own checks refuse are not drawn."""
    fields = {name: values(field.annotation, tuple(field.metadata)) for name, field in model.model_fields.items()}

    def build(drawn: dict[str, Any]) -> BaseModel:
        try:
            return model(**drawn)
        except ValidationError:
            assume(False)
            raise

    return st.fixed_dictionaries(fields).map(build)


def _range(metadata):
    low = next((rule.ge if isinstance(rule, Ge) else rule.gt for rule in metadata if isinstance(rule, Ge | Gt)), None)
    high = next((rule.le if isinstance(rule, Le) else rule.lt for rule in metadata if isinstance(rule, Le | Lt)), None)
    return low, high


def _length(metadata):
    low = max([rule.min_length for rule in metadata if isinstance(rule, MinLen | Len)], default=0)
    high = min([rule.max_length for rule in metadata if isinstance(rule, MaxLen | Len) and rule.max_length], default=99)
    return low, high


@pytest.mark.parametrize("model", wire_types(), ids=lambda model: model.__name__)
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_it_comes_back_as_it_went(model, data):
    sent = data.draw(models(model))
    text = sent.model_dump_json()
    assert model.model_validate_json(text) == sent
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("model", wire_types(), ids=lambda model: model.__name__)
def test_a_field_that_it_does_not_name_is_refused(model):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model.model_validate({"a_misspelt_field": 1})


def test_there_are_many():
    assert len(wire_types()) > 10
