"""Destinations that lead inside, in every spelling known to have fooled a check.

`{port}` is the port that a test listens on. Of each group: what is written, and the words that the refusal
must hold. A number that only resolvers read as an address is refused for its form where a URL is checked, and
for its address where it is dialled.
"""

# ruff: noqa: RUF001  letters that look like others are the point

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PUBLIC_ADDRESS: Final = "203.0.114.7"  # a public address that no test connects to

# ---- addresses, as a URL writes them: why the guard refuses them
_ADDRESSES: Final = {
    "loopback": """
        127.0.0.1 127.0.0.2 127.0.1.1 127.8.8.8 127.127.127.127 127.255.255.254 127。0。0。1
        127．0．0．1 127｡0｡0｡1 127。0.0．1 [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001]
        [::0001] [0::1] [::0.0.0.1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:127.8.8.8]
        [0:0:0:0:0:ffff:127.0.0.1] [0:0:0:0:0:FFFF:7F00:0001] [::ffff:7fff:fffe]
    """,
    "this network": "0.0.0.0 0.0.0.1 0.1.2.3 0.255.255.255 [::ffff:0.0.0.0] [::ffff:0:1]",
    "unspecified": "[::] [0:0:0:0:0:0:0:0] [0::0]",
    "private": """
        10.0.0.1 10.96.0.1 10.255.255.254 172.16.0.1 172.17.0.1 172.31.255.254 192.168.0.1 192.168.65.2
        192.168.255.254 [::ffff:10.0.0.1] [::ffff:172.17.0.1] [::ffff:c0a8:101] [fc00::1] [fd00::1]
        [fd12:3456:789a::1] [fd00:a9fe:a9fe::1] [fd00:42::42] [fdff:ffff::1]
    """,
    "shared": "100.64.0.1 100.100.100.100 100.127.255.254 [::ffff:100.64.0.1]",
    "metadata": """
        169.254.169.254 169.254.170.2 168.63.129.16 100.100.100.200 192.0.0.192 169。254。169。254
        [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::FFFF:A9FE:AA02] [::ffff:168.63.129.16]
        [::ffff:6464:64c8] [fd00:ec2::254] [fd00:ec2::23] [fd00:0ec2:0:0:0:0:0:254] [fd20:ce::254]
    """,
    "link-local": """
        169.254.0.1 169.254.0.23 169.254.42.42 169.254.169.250 169.254.170.23 [::ffff:169.254.1.1]
        [fe80::1] [fe80::a9fe:a9fe] [fe80:0:0:0:1:2:3:4] [febf::1]
    """,
    "embedded IPv4": "[::127.0.0.1] [::7f00:1] [::10.0.0.1] [::169.254.169.254] [::8.8.8.8] [::2]",
    "NAT64 of loopback": "[64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [0064:ff9b:0:0:0:0:127.0.0.1]",
    "NAT64 of private": "[64:ff9b::10.0.0.1] [64:ff9b::172.16.0.1] [64:ff9b::c0a8:1]",
    "NAT64 of metadata": "[64:ff9b::169.254.169.254] [64:ff9b::a9fe:a9fe]",
    "NAT64 of this network": "[64:ff9b::] [64:ff9b::0.0.0.1]",
    "local NAT64": """
        [64:ff9b:1::1] [64:ff9b:1::127.0.0.1] [64:ff9b:1::a9fe:a9fe] [64:ff9b:1:fffe::7f00:1]
        [64:ff9b:1::8.8.8.8]
    """,
    "6to4 of loopback": "[2002:7f00:1::] [2002:7f00:1::1] [2002:7f00:0001:1:2:3:4:5]",
    "6to4 of private": "[2002:a00:1::] [2002:0a00:0001::1] [2002:c0a8:101::1] [2002:ac10:1::]",
    "6to4 of metadata": "[2002:a9fe:a9fe::] [2002:a9fe:a9fe::1]",
    "6to4": "[2002:808:808::] [2002:cb00:7207::1]",
    "Teredo": """
        [2001::1] [2001:0:7f00:1::] [2001:0:4136:e378:8000:63bf:3fff:fdd2] [2001:0:a9fe:a9fe:0:0:80ff:fffe]
        [2001:0000:7f00:0001:0:ffff:80ff:fffe]
    """,
    "reserved": """
        [::ffff:0:127.0.0.1] [::ffff:0:7f00:1] [::1:127.0.0.1] [1::1] [4000::1] [2001:10::1] [2001:20::1]
        [2001:1::1] [2620:4f:8000::1] 192.0.0.1 192.0.0.8 192.0.0.170 192.31.196.1 192.52.193.1 192.175.48.1
        240.0.0.1 250.250.250.250 [::ffff:240.0.0.1]
    """,
    "broadcast": "255.255.255.255 [::ffff:255.255.255.255]",
    "multicast": "224.0.0.1 224.0.0.251 239.255.255.250 [ff02::1] [ff02::fb] [ff05::2] [::ffff:224.0.0.1]",
    "site-local": "[fec0::1] [feff::1]",
    "segment routing": "[5f00::1]",
    "discard": "[100::1]",
    "documentation": "192.0.2.1 198.51.100.1 203.0.113.1 [2001:db8::1] [3fff::1]",
    "benchmarking": "198.18.0.1 198.19.255.254 [::ffff:198.18.0.1]",
    "6to4 relay": "192.88.99.1",
}  # fmt: skip

# ---- numbers that no URL writes so, and every resolver reads: 127.0.0.1 and others in old clothes
_LEGACY_NUMBERS: Final = """
    127.1 127.0.1 127.0.0.1. 127.65535 2130706433 2130706433. 0x7f000001 0X7F000001 0x7f.1 0x7f.0.0.1
    0x7f.0x0.0x0.0x1 0x7f.0.1 0x00000000007f000001 017700000001 0177.1 0177.0.1 00000000177.1 127.0x1
    127.0x7f 127.0.0x1 0 0x0 00 0.0 0.0.0 1 0x1 10.1 10.0.1 167772161 0xa000001 012.1 192.168.257
    3232235777 0xc0a80101 0300.0250.0401 172.16.1 2886729729 169.254.43518 2852039166 0xa9fea9fe
    0xa9.0xfe.0xa9.0xfe 0251.0376.0124776 025177524776 169.16689662 0xA9FEA9FE. 1684301000 2822734096
    4294967295 3758096385 4026531841
"""

# ---- what is neither a name nor an address
_NO_HOST: Final = """
    1.2.3.4.5 127.0.0.1.1 0xffffffff7f000001 4294967296 18446744073709551617 127.0.0.1.. 127..1 127.0.0.1%2e
    127%2e0%2e0%2e1 127%E3%80%820%E3%80%820%E3%80%821 localhost%00.shop.example localhost%20 %6c%6fcalhost
    %31%32%37.0.0.1 shop.example%23.localhost a,localhost localhost; (localhost) -localhost
    localhost- .localhost a..localhost 0x 256.1 [fe80::1%25lo] [fe80::1%lo] [fe80::1%251] [::1%25lo]
    [fe80::a9fe:a9fe%25eth0] [fe80::1%2525lo] [::ffff:127.0.0.1%25lo]
"""

# ---- what cannot be read as a URL at all
_UNREADABLE: Final = (
    "http://0177.0.0.1:{port}/", "http://0177.0000.0000.0001:{port}/", "http://127.0.0.256:{port}/",
    "http://256.256.256.256:{port}/", "http://１２７.０.０.１:{port}/", "http://①②⑦.⓪.⓪.①:{port}/",
    "http://①②⑦.0.0.1:{port}/", "http://１２７。０。０。１:{port}/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/", "http://𝟭𝟮𝟳.𝟬.𝟬.𝟭:{port}/", "http://𝓵𝓸𝓬𝓪𝓵𝓱𝓸𝓼𝓽:{port}/",
    "http://²１.1:{port}/",
    "http://loc\u00adalhost:{port}/", "http://local\u034fhost:{port}/",
    "http://[::1]x:{port}/", "http://[::1].:{port}/", "http://[::1:{port}/", "http://::1]:{port}/",
    "http://[127.0.0.1]:{port}/", "http://[localhost]:{port}/", "http://[v1.127]:{port}/",
    "http://[]:{port}/",
    "http://[::ⅰ]:{port}/", "http://[::ffff:127.1]:{port}/", "http://[::ffff:0177.0.0.1]:{port}/",
    "http://[::1]]:{port}/", "http://[[::1]]:{port}/", "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1:0x50/", "http://127.0.0.1:8o/",
)  # fmt: skip

# ---- who is the host, and who only looks like it; the word of the reason
_AUTHORITIES: Final = {
    "user name": (
        "http://user@127.0.0.1:{port}/", "http://user:secret@127.0.0.1:{port}/",
        "http://@127.0.0.1:{port}/",
        "http://:@[::1]:{port}/", "http://shop.example@127.0.0.1:{port}/",
        "http://shop.example:443@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}@shop.example/", "http://shop.example%2f@localhost:{port}/",
        "http://shop.example%40@127.0.0.1:{port}/", "http://a@b@127.0.0.1:{port}/",
        "http://shop.example:@[::1]:{port}/",
        "http://127.0.0.1:{port}%23@shop.example/",
    ),
    "backslash": (
        "http://shop.example\\@127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}\\",
        "http://127.0.0.1:{port}\\@shop.example/",
        "http:/\\127.0.0.1:{port}/", "http://shop.example\\.127.0.0.1/", "\\\\127.0.0.1\\share",
    ),
    "fragment": (
        "http://127.0.0.1:{port}#@shop.example/", "http://shop.example#@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}/#",
        "http://127.0.0.1:{port}/#/",
    ),
    "control characters": (
        "http://127.0.0.1:{port}/ HTTP/1.1", " http://127.0.0.1:{port}/", "http://127.0.0.1\t:{port}/",
        "ht\ttp://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}/\r\nX: y", "http://127.0.0.1:{port}/\nHost: shop.example",
        "http://shop.example\r\n.127.0.0.1/",
        "http://127.0.0.1\x01.shop.example/", "http://127.0.0.1:{port}/\x7f",
        "http://local\u200bhost:{port}/",
        "http://local\u2060host:{port}/", "http://localhost\u3000:{port}/",
        "http://localhost\u00a0:{port}/",
        "http://\u202elocalhost:{port}/", "http://127.0.0.1\u2028:{port}/",
        "\ufeffhttp://127.0.0.1:{port}/",
    ),
    "must name a host": (
        "http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/",
        "http://?@127.0.0.1:{port}/",
        "http:////127.0.0.1/", "http://:{port}/",
    ),
    "must begin with": (
        "//127.0.0.1:{port}/", "127.0.0.1:{port}/", "localhost", "/127.0.0.1", "ftp://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1:{port}/_POST", "dict://127.0.0.1:{port}/",
        "ws://127.0.0.1:{port}/",
        "ldap://127.0.0.1:{port}/", "unix:///var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "jar:http://127.0.0.1!/",
        "url:http://127.0.0.1:{port}/", "javascript:alert(1)", "data:text/html,x",
        "view-source:http://127.0.0.1/", "",
    ),
    "port": (
        "http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:99999/", "http://127.0.0.1:-1/",
        "http://shop.example:0/", "https://shop.example:65536/", "http://127.0.0.1:18446744073709551696/",
        "http://[::1]:0/",
    ),
}  # fmt: skip

# ---- names, and what a name server says of them
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "localhost": ("127.0.0.1", "::1"),
    "localhost.": ("127.0.0.1", "::1"),
    "LOCALHOST": ("127.0.0.1",),
    "lOcAlHoSt.": ("::1",),
    "localhost.localdomain": ("127.0.0.1",),
    "localhost6": ("::1",),
    "ip6-localhost": ("::1",),
    "ip6-loopback": ("::1",),
    "anything.localhost": ("127.0.0.1",),
    "broadcasthost": ("255.255.255.255",),
    "localtest.me": ("127.0.0.1",),
    "127.0.0.1.nip.io": ("127.0.0.1",),
    "app-10-0-0-1.sslip.io": ("10.0.0.1",),
    "169-254-169-254.sslip.io": ("169.254.169.254",),
    "metadata": ("169.254.169.254",),
    "metadata.google.internal": ("169.254.169.254",),
    "metadata.google.internal.": ("169.254.169.254",),
    "metadata.goog": ("169.254.169.254", "fd20:ce::254"),
    "instance-data": ("169.254.169.254",),
    "instance-data.ec2.internal": ("169.254.169.254",),
    "metadata.azure.internal": ("169.254.169.254",),
    "metadata.azure.com": ("169.254.169.254",),
    "wireserver.azure.internal": ("168.63.129.16",),
    "metadata.tencentyun.com": ("169.254.0.23",),
    "api.metadata.cloud.ibm.com": ("169.254.169.254",),
    "rancher-metadata": ("169.254.169.250",),
    "kubernetes.default.svc": ("10.96.0.1",),
    "kubernetes.default.svc.cluster.local": ("10.96.0.1",),
    "host.docker.internal": ("192.168.65.2",),
    "gateway.docker.internal": ("192.168.65.1",),
    "consul.service.consul": ("127.0.0.1",),
    "router.home.arpa": ("192.168.1.1",),
    "printer.local": ("169.254.3.4",),
    "intranet": ("10.1.2.3",),
    "db_primary.corp.example": ("172.16.3.4",),
    "bücher.example": ("10.0.0.9",),  # asked for by its other name
    "xn--bcher-kva.example": ("10.0.0.9",),
    "ｅｘａｍｐｌｅ。com": (),  # refused for its letters before anybody is asked
    "mapped.example": ("::ffff:127.0.0.1",),
    "compatible.example": ("::127.0.0.1",),
    "nat64.example": ("64:ff9b::7f00:1",),
    "local-nat64.example": ("64:ff9b:1::a00:1",),
    "sixtofour.example": ("2002:7f00:1::",),
    "teredo.example": ("2001:0:7f00:1::",),
    "zoned.example": ("fe80::1%lo",),
    "numbered-zone.example": ("fe80::1%1",),
    "odd-answer.example": ("2130706433",),
    "empty-answer.example": ("",),
    "named-answer.example": ("localhost",),
    # one inside among others condemns them all
    "last-inside.example": (PUBLIC_ADDRESS, "127.0.0.1"),
    "first-inside.example": ("127.0.0.1", PUBLIC_ADDRESS),
    "middle-inside.example": (PUBLIC_ADDRESS, "10.0.0.1", "203.0.114.8"),
    "six-inside.example": (PUBLIC_ADDRESS, "2606:4700::1111", "::1"),
    "metadata-inside.example": (PUBLIC_ADDRESS, "169.254.169.254"),
    "mapped-inside.example": (PUBLIC_ADDRESS, "::ffff:10.0.0.1"),
    "zone-inside.example": (PUBLIC_ADDRESS, "fe80::1%eth0"),
    "late-inside.example": (*(f"203.0.114.{n}" for n in range(1, 200)), "127.0.0.1"),
    "multicast-inside.example": (PUBLIC_ADDRESS, "224.0.0.1"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attack:
    """A destination of the corpus: of which kind, and a word of why it is refused."""

    kind: str
    url_template: str
    reason: str

    def url(self, port: int) -> str:
        """The URL, with the port that is listened on."""
        return self.url_template.replace("{port}", str(port))


def _iter_attacks() -> Iterator[Attack]:
    for why, hosts in _ADDRESSES.items():
        yield from (Attack("address", f"http://{host}:{{port}}/", why) for host in hosts.split())
    for host in _LEGACY_NUMBERS.split():
        yield Attack("number", f"http://{host}:{{port}}/", "neither a valid name nor an address")
    for host in _NO_HOST.split():
        yield Attack("no host", f"http://{host}:{{port}}/", "neither a valid name nor an address")
    yield from (Attack("unreadable", form, "cannot be read") for form in _UNREADABLE)
    for why, forms in _AUTHORITIES.items():
        yield from (Attack("authority", form, why) for form in forms)
    for name, answers in NAMES.items():
        why = "may not be dialled" if answers else "cannot be read"
        yield Attack("name", f"http://{name}:{{port}}/", why)


CORPUS: Final = tuple(_iter_attacks())


async def resolve_hostile_name(host: str) -> Sequence[str]:
    """Answer as a hostile name server would; and numbers in old clothes as the system's resolver does."""
    for name, answers in NAMES.items():
        if host in {name.lower(), name.lower().rstrip(".")}:
            return answers
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(sockaddr[0]) for *_, sockaddr in found]
