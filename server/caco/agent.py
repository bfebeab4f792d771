"""What every agent does: take a command as JSON text, act, answer with JSON text, whatever comes."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from server.caco.answers import ErrorAnswer, Problem
from server.caco.commands import Command, name_of

logger = logging.getLogger(__name__)

MOST_PROBLEMS: Final = 10
MOST_SHOWN: Final = 60  # characters of a wrong value that are repeated to the caller

Ask = Callable[[str], Awaitable[str]]


class Refused(Exception):
    """A command that cannot be carried out; the text tells the caller why and what to do."""

    def __init__(self, message: str, problems: list[Problem] | None = None) -> None:
        """Say no."""
        super().__init__(message)
        self.problems = problems or []


class Unreachable(Exception):
    """An agent that does not answer; the text says which and why."""


class Skill(NamedTuple):
    """A command that an agent knows and what carries it out."""

    command: type[Command]
    act: Callable[[Any], Awaitable[BaseModel]]


class Agent(ABC):
    """Carries out commands.

    Attributes:
        name: What it is called.
        description: What it is for.
    """

    name: ClassVar[str]
    description: ClassVar[str]

    @property
    @abstractmethod
    def skills(self) -> tuple[Skill, ...]:
        """Every command it knows."""

    async def answer(self, text: str) -> str:
        """Carry out a command.

        Args:
            text: JSON of one of the agent's commands; anything else gets an error answer.

        Returns:
            JSON with `"status": "success"` and the result, or `"status": "error"` and what to do.
        """
        try:
            skill, command = _read(text, {name_of(skill.command): skill for skill in self.skills})
            found = await skill.act(command)
        except Refused as refusal:
            found = ErrorAnswer(message=str(refusal), problems=refusal.problems)
        except Exception:
            logger.exception("the %s agent failed", self.name)
            found = ErrorAnswer(message=f"the {self.name} agent failed; its log says why", problems=[])
        return found.model_dump_json(by_alias=True)


def _read(text: str, skills: Mapping[str, Skill]) -> tuple[Skill, Command]:
    known = f"known commands are {', '.join(skills)}"
    try:
        content = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(f'not JSON: {error}; send an object with a "command", {known}') from error
    if not isinstance(content, dict) or "command" not in content:
        raise Refused(f'no command came but {_shown(content)}; send an object with a "command", {known}')
    name = content["command"]
    skill = skills.get(name) if isinstance(name, str) else None
    if skill is None:
        raise Refused(f"unknown command {_shown(name)}; {known}")
    try:
        return skill, skill.command.model_validate(content)
    except ValidationError as error:
        problems = problems_of(error)
        first = f"{problems[0].field}: {problems[0].message}" if problems[0].field else problems[0].message
        raise Refused(f"{name} is not understood: {first}", problems) from error


def problems_of(error: ValidationError) -> list[Problem]:
    """Where each wrong value stands, what is allowed there and what came."""
    found = []
    for wrong in error.errors(include_url=False)[:MOST_PROBLEMS]:
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in wrong["loc"]]
        message = wrong["msg"].removeprefix("Value error, ")
        if wrong["type"] not in ("missing", "value_error"):
            message = f"{message}; {_shown(wrong['input'])} came"
        found.append(Problem(field=ascii("".join(steps))[1:-1].removeprefix("."), message=message))
    return found


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "..."
