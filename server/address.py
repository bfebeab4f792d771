"""Where a server listens: this machine only, on a port that is free."""

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_loopback(host: str) -> None:
    """Refuse an address that other machines can reach.

    Raises:
        ValueError: It is not one of this machine's own.
    """
    if not is_loopback(host):
        raise ValueError(
            f"host is {host!r}; only this machine's own addresses (127.0.0.1, ::1, localhost) are served, because "
            "callers cannot be told apart and anybody who reaches the port could move the battery; the dispatcher "
            "(serve.py) serves others once GRIDPILOT_TOKENS says who may ask"
        )


def check_port(port: object) -> None:
    """Refuse what is no port; some listeners take the rest of a larger number for one.

    Raises:
        ValueError: It is no whole number from 1 to 65535.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"port is {port!r}; a whole number from 1 to 65535 is needed")


def listen(host: str, port: int) -> socket.socket:
    """Take a port before anything slow begins, so that a taken one is noticed at once.

    Args:
        host: One of this machine's own addresses.
        port: 0 takes any that is free.

    Raises:
        ValueError: The host is not one of this machine's own.
        OSError: The port cannot be had; the message says why and what to do.
    """
    check_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left by an ended process is free
    try:
        taken.bind((host, port))
        taken.listen()
    except (OSError, OverflowError) as error:
        taken.close()
        why = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host}:{port}: {why}; end what uses it or choose another port") from error
    return taken


def url_of(listening: socket.socket) -> str:
    """The HTTP address of a listening socket, with a trailing slash."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
