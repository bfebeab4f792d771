"""What an agent publishes about itself."""

import json
from typing import Final

from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from a2a.utils.constants import PROTOCOL_VERSION_0_3, PROTOCOL_VERSION_1_0, TransportProtocol

from server.caco.agent import Agent, Skill
from server.caco.commands import example_of, name_of

MEDIA_TYPES: Final = ("application/json", "text/plain")
VERSION: Final = "1.0.0"  # of the commands; raise it when they change


def card_of(agent: Agent, url: str) -> AgentCard:
    """The agent card: one skill per command, both protocol versions at one URL.

    Args:
        agent: Whose card it is.
        url: Where its JSON-RPC endpoint is reached.
    """
    interfaces = [
        AgentInterface(url=url, protocol_binding=TransportProtocol.JSONRPC, protocol_version=version)
        for version in (PROTOCOL_VERSION_1_0, PROTOCOL_VERSION_0_3)
    ]
    return AgentCard(
        name=f"GridPilot {agent.name} agent",
        description=agent.description,
        version=VERSION,
        supported_interfaces=interfaces,
        capabilities=AgentCapabilities(streaming=False, push_notifications=False),
        default_input_modes=MEDIA_TYPES,
        default_output_modes=MEDIA_TYPES,
        skills=[_skill(skill, agent.name) for skill in agent.skills],
    )


def _skill(skill: Skill, agent: str) -> AgentSkill:
    name = name_of(skill.command)
    return AgentSkill(
        id=name,
        name=name.replace("_", " "),
        description=" ".join((skill.command.__doc__ or "").split()),
        tags=["energy", agent],
        examples=[json.dumps(example_of(skill.command))],
    )
