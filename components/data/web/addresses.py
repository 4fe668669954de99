"""Which addresses a URL source may connect to: public ones, unless its block says otherwise.

A name is looked up once, what it stands for is judged, and the connection goes to the very address that was judged; so a name whose answer changes
between the two is no way round.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from components.errors import UserError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Refused(Exception):
    """An address that is not to be connected to; the message is half a sentence."""


def is_public(address: str) -> bool:
    """Whether ``address`` is one of the public internet, in whichever form it is written."""
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = _inner(found) if isinstance(found, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    if isinstance(found, ipaddress.IPv6Address) and found.is_site_local:
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_loopback or found.is_link_local or found.is_unspecified)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The older address that a newer one only wraps."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def allowed_addresses(host: str, port: int, allow_private: bool) -> list[str]:
    """The addresses of ``host`` that may be connected to, in the resolver's order.

    Raises:
        Refused: there is none.
        OSError: the name is not known.
    """
    found = list(dict.fromkeys(str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    allowed = [address for address in found if allow_private or is_public(address)]
    if not allowed:
        where = host if host == found[0] else f"{host} is at {found[0]}, which"
        raise Refused(f"{where} is no public address (source.allow_private: true allows it)")
    return allowed


def connections(allow_private: bool, number: int, connect_timeout_s: float, read_timeout_s: float) -> PoolManager:
    """Connections that go nowhere else; proxies of the environment are left aside, for behind one nobody could tell where they go."""
    manager = PoolManager(num_pools=64, maxsize=number, retries=False, timeout=Timeout(connect=connect_timeout_s, read=read_timeout_s))
    plain = _pool_class(HTTPConnectionPool, _connection_class(HTTPConnection, allow_private, read_timeout_s))
    secure = _pool_class(HTTPSConnectionPool, _connection_class(HTTPSConnection, allow_private, read_timeout_s))
    manager.pool_classes_by_scheme = {"http": plain, "https": secure}
    return manager


def _pool_class(pool: Any, connection: Any) -> Any:
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


def _connection_class(base: Any, allow_private: bool, headers_within_s: float) -> Any:
    class Guarded(base):
        """Connects to an address that was judged; the name stays what the server is asked and its certificate is checked for."""

        def _new_conn(self) -> socket.socket:
            error: OSError | None = None
            for address in allowed_addresses(self._dns_host, self.port, allow_private):
                try:
                    return socket.create_connection((address, self.port), timeout=self.timeout)
                except OSError as failed:
                    error = failed
            raise NewConnectionError(self, f"no connection to {self.host} ({error})")

        def getresponse(self) -> Any:
            with cut_after(headers_within_s, self._cut):
                return super().getresponse()

        def _cut(self) -> None:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)

    return Guarded


@contextmanager
def cut_after(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` if what is inside has not ended within ``seconds``; a timeout of a socket is of one byte, so that what drips would never end."""

    def end() -> None:
        with suppress(OSError, RuntimeError):  # it has ended by itself in the same moment
            cut()

    timer = threading.Timer(max(0.0, seconds), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def refuse_url(url: str) -> None:
    """Refuse what is no plain web address, or carries a secret that would be recorded.

    Raises:
        UserError: with the fix.
    """
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        parsed = parse_url(url)
    except LocationParseError:
        parsed = None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
        raise UserError(f"{url!r} is no http or https address: write it in full, like https://example.org/images.zip.")
    if parsed.auth:
        raise UserError(f"the address of {parsed.host} carries a password, which would be recorded: take it out, and set source.token_env.")
