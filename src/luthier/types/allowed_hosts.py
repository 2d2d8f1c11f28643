"""The hosts that the operator allows requests to, by name and by the addresses that a name may resolve to."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address refers to this machine only."""
    if host == "localhost":
        return True
    try:
        return _unmapped(ipaddress.ip_address(host)).is_loopback
    except ValueError:
        return False


def _unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 socket shows as `::ffff:127.0.0.1`; any other as it is."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@dataclass(frozen=True)
class AllowedHosts:
    """The allowed hosts. `names` are in lower case; `*.example.com` stands for every name below `example.com`."""

    names: frozenset[str]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @classmethod
    def parse(cls, entries: Iterable[str]) -> "AllowedHosts":
        """Parse names, addresses and networks (`10.1.0.0/16`). Raises ValueError for any other entry."""
        names, networks = set(), []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]")))
            except ValueError:
                if not _NAME.fullmatch(entry) or entry.replace(".", "").isdigit():
                    raise ValueError(
                        f"'{entry}' is neither a host name, such as hooks.example.com, nor an address or a network; "
                        "schemes, ports and paths do not belong here"
                    ) from None
                names.add(entry.lower().rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def allows_host(self, host: str) -> bool:
        """Whether requests may be sent to `host`, a name or an address."""
        try:
            return self._is_listed(ipaddress.ip_address(host))
        except ValueError:
            name = host.lower().rstrip(".")
            parents = name.split(".")[1:]
            wildcards = {"*." + ".".join(parents[level:]) for level in range(len(parents))}
            return name in self.names or not wildcards.isdisjoint(self.names)

    def allows_address(self, host: str, address: Address) -> bool:
        """Whether the allowed `host` may resolve to `address`.

        A name may resolve to public addresses; an address of the server's own machine or network must be listed, so
        that whoever controls a name cannot point it there. `localhost` is this machine.
        """
        address = _unmapped(address)
        is_local = host.lower().rstrip(".") == "localhost" and address.is_loopback
        return is_local or self._is_listed(address) or (address.is_global and not address.is_multicast)

    def _is_listed(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)
