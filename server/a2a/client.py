"""Asking another agent over A2A."""

from a2a.client import ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.helpers import get_message_text, new_text_message
from a2a.types import Role, SendMessageRequest
from a2a.utils.errors import A2AError
from httpx import AsyncClient, HTTPError, InvalidURL

from server.caco.agent import Unreachable

TIMEOUT_S = 60.0


async def ask(url: str, text: str) -> str:
    """Send a command to the agent at a URL and give its answer.

    Args:
        url: Where its card is found under /.well-known/.
        text: JSON.

    Raises:
        Unreachable: Nothing that speaks A2A answers there.
    """
    request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
    try:
        # What the environment says of proxies is for the network outside; agents stand on this machine.
        async with AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
            client = await ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create_from_url(url)
            async for response in client.send_message(request):
                if response.HasField("message"):
                    return get_message_text(response.message)
    except (A2AClientError, A2AError, HTTPError, InvalidURL, ValueError) as error:
        raise Unreachable(f"{url}: {error}") from error
    raise Unreachable(f"{url} answered with no message")
