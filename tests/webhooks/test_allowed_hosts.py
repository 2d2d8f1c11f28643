"""Which hosts and addresses a webhook may go to: only those that were listed, and no way around by a name."""

import ipaddress

import pytest

from luthier.types.allowed_hosts import AllowedHosts
from luthier.types.errors import BadRequestError
from luthier.webhooks import check_url

ALLOWED = AllowedHosts.parse(["hooks.example.com", "*.team.example", "localhost", "10.1.0.0/16", "[fd00::7]"])


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/a?b=c",
        "https://HOOKS.example.com./",
        "http://a.team.example:8080/",
        "https://a.b.team.example/",
        "http://localhost:9000/hook",
        "http://10.1.2.3/",
        "http://[fd00::7]/",
    ],
)
def test_listed_hosts_are_allowed(url: str) -> None:
    check_url(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://team.example/",
        "https://hooks.example.com.evil.test/",
        "https://evilhooks.example.com/",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://10.2.0.1/",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_other_hosts_are_refused(url: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        check_url(url, ALLOWED)
    assert refused.value.code == "host_not_allowed"
    assert "--webhook-hosts" in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///a",
        "hooks.example.com",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com/#a",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:port/",
        "https://hooks.example.com\n.evil.test/",
        "http://[::1/",
        "http://[]/",
        "http://::1/",
        "https://hooks.example.com:99999999999999/",
        "https://xn--/",
        "https://" + "a" * 70_000,
    ],
)
def test_what_is_no_target_at_all_is_refused(url: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        check_url(url, ALLOWED)
    assert refused.value.code == "invalid_url"
    assert str(refused.value).startswith("Invalid URL: it must begin with https:// or http:// and a host")


@pytest.mark.parametrize(
    ("host", "address", "is_allowed"),
    [
        ("hooks.example.com", "93.184.216.34", True),
        ("hooks.example.com", "2606:2800:220:1::1", True),
        ("hooks.example.com", "127.0.0.1", False),
        ("hooks.example.com", "::ffff:127.0.0.1", False),
        ("hooks.example.com", "169.254.169.254", False),
        ("hooks.example.com", "192.168.1.1", False),
        ("hooks.example.com", "100.64.0.1", False),
        ("hooks.example.com", "0.0.0.0", False),
        ("hooks.example.com", "224.0.0.1", False),
        ("hooks.example.com", "ff02::1", False),
        ("hooks.example.com", "fd00::8", False),
        ("hooks.example.com", "fd00::7", True),
        ("hooks.example.com", "10.1.9.9", True),
        ("localhost", "127.0.0.1", True),
        ("localhost", "::1", True),
        ("localhost", "192.168.1.1", False),
    ],
)
def test_a_name_leads_to_public_or_listed_addresses_only(host: str, address: str, is_allowed: bool) -> None:
    assert ALLOWED.allows_address(host, ipaddress.ip_address(address)) is is_allowed


@pytest.mark.parametrize(
    "entry", ["https://a.example", "a.example:80", "a.example/hook", "a b", "", "*", "10.1.0.1/16", "1.2.3"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host name"):
        AllowedHosts.parse([entry])


def test_nothing_is_allowed_unless_it_is_listed() -> None:
    with pytest.raises(BadRequestError):
        check_url("http://localhost/", AllowedHosts.parse([]))
