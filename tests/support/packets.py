"""Real packets against a ruleset, in network namespaces of their own. Runs as a program on a lab host, with Python's standard library only.

Five namespaces stand around the guarded one: an outsider and a node on its LAN, a peer behind its tailnet's interface, a machine behind a
link, and a container behind docker0 whose ports are published by DNAT. What comes through is what a TCP handshake or a datagram's echo says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

GUARDED = "bgx-host"
LAN4, LAN6 = "192.0.2", "2001:db8:1:"
# Namespace: interface inside the guarded one, network, last number of its address there, last number of its own.
PLACES: dict[str, tuple[str, str, str, int, int]] = {
    "bgx-outsider": ("lan0", "192.0.2", "2001:db8:1:", 1, 9),
    "bgx-tailnet": ("tailscale0", "100.64.0", "fd7a:115c:a1e0:", 1, 9),
    "bgx-link": ("enp1s0f0np0", "192.168.100", "2001:db8:2:", 1, 9),
    "bgx-container": ("docker0", "172.17.0", "2001:db8:3:", 1, 9),
    "bgx-pod": ("cni0", "10.42.0", "2001:db8:42:", 1, 9),
}
# Further addresses of the outsider: it may be told apart by them, or only say so.
NODE, SOURCE, PRETENDED_POD = 20, 30, "10.42.9.9"

SERVER = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for text in sys.argv[1:]:
    kind, port = text.split("/")
    for family in (socket.AF_INET, socket.AF_INET6):
        made = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("", int(port)))
        if kind == "tcp":
            made.listen(64)
        chosen.register(made, selectors.EVENT_READ, kind)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.data == "tcp":
            key.fileobj.accept()[0].close()
        else:
            data, sender = key.fileobj.recvfrom(64)
            key.fileobj.sendto(data, sender)
"""
CLIENT = """
import json, select, socket, sys, time
wait, source, targets = float(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
waiting, came = {}, set()
for kind, address, port, sport in targets:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    made.setblocking(False)
    if source or sport:
        made.bind((source, sport))
    waiting[made] = (kind, address, port)
    if kind == "tcp":
        made.connect_ex((address, port))
    else:
        made.connect((address, port))
        made.send(b"x")
deadline = time.monotonic() + wait
while waiting and time.monotonic() < deadline:
    poll = select.poll()
    by_number = {made.fileno(): made for made in waiting}
    for made, (kind, _, _) in waiting.items():
        poll.register(made, select.POLLOUT if kind == "tcp" else select.POLLIN)
    for number, _ in poll.poll(100):
        made = by_number[number]
        error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if waiting[made][0] == "udp" and not error:
            try:
                made.recv(64)
            except OSError as refused:
                error = refused.errno
        if not error:
            came.add(waiting[made])
        waiting.pop(made).__len__()
        made.close()
print(json.dumps(sorted(came)))
"""


def run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)[:200]}: {done.stdout}{done.stderr}")
    return done.stdout


def inside(namespace: str, *words: str, check: bool = True) -> str:
    return run("ip", "netns", "exec", namespace, *words, check=check)


def build() -> None:
    remove()
    for name in (GUARDED, *PLACES):
        run("ip", "netns", "add", name)
        inside(name, "ip", "link", "set", "lo", "up")
    for number, (name, (device, four, six, here, there)) in enumerate(PLACES.items()):
        run("ip", "link", "add", f"bgx{number}", "type", "veth", "peer", "name", f"bgy{number}")
        for namespace, end, wanted, last in (
            (GUARDED, f"bgx{number}", device, here),
            (name, f"bgy{number}", "eth0", there),
        ):
            run("ip", "link", "set", end, "netns", namespace)
            inside(namespace, "ip", "link", "set", end, "name", wanted)
            inside(namespace, "ip", "address", "add", f"{four}.{last}/24", "dev", wanted)
            inside(namespace, "ip", "address", "add", f"{six}:{last}/64", "dev", wanted, "nodad")
            inside(namespace, "ip", "link", "set", wanted, "up")
        inside(name, "ip", "route", "add", "default", "via", f"{four}.{here}")
        inside(name, "ip", "-6", "route", "add", "default", "via", f"{six}:{here}")
    for last in (NODE, SOURCE):
        inside("bgx-outsider", "ip", "address", "add", f"{LAN4}.{last}/24", "dev", "eth0")
        # Taken only where a connection asks for it.
        inside(
            "bgx-outsider", "ip", "address", "add", f"{LAN6}:{last}/64", "dev", "eth0", "nodad", "preferred_lft", "0"
        )
    inside("bgx-outsider", "ip", "address", "add", f"{PRETENDED_POD}/32", "dev", "eth0")
    inside(GUARDED, "ip", "route", "add", f"{PRETENDED_POD}/32", "via", f"{LAN4}.9")
    for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
        inside(GUARDED, "sysctl", "-qw", key)
    # As Docker publishes: 8080 of every address that is the host's leads to a container's 80.
    rules = "".join(
        f"add table {family} dockerlike\nadd chain {family} dockerlike pre {{ type nat hook prerouting priority dstnat; }}\n"
        f"add rule {family} dockerlike pre fib daddr type local {kind} dport 8080 dnat to {target}\n"
        for family, target in (("ip", "172.17.0.9:80"), ("ip6", "[2001:db8:3::9]:80"))
        for kind in ("tcp", "udp")
    )
    subprocess.run(["ip", "netns", "exec", GUARDED, "nft", "-f", "-"], input=rules, text=True, check=True)


def remove() -> None:
    for name in (GUARDED, *PLACES):
        run("ip", "netns", "delete", name, check=False)


def serve(namespace: str, *listeners: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", SERVER, *listeners], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{namespace} does not listen")
    return process


def reached(namespace: str, targets: list[list[Any]], source: str = "", wait_s: float = 3.0) -> list[str]:
    """Which ports answered, as ``tcp/22`` for IPv4 and ``tcp6/22`` for IPv6."""
    told = json.loads(inside(namespace, sys.executable, "-c", CLIENT, str(wait_s), source, json.dumps(targets)))
    return sorted(f"{kind}{'6' if ':' in address else ''}/{port}" for kind, address, port in told)


def targets(four: str, six: str, ports: list[str]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for text in ports:
        kind, port = text.split("/")
        found += [[kind, address, int(port), 0] for address in (four, six)]
    return found


def look(listeners: list[str], published: list[str]) -> dict[str, list[str]]:
    """What each place reaches."""
    everything = [*listeners, *published]
    lan = f"{LAN4}.1", f"{LAN6}:1"
    fourth, sixth = (
        [target for target in targets(*lan, everything) if (":" in target[1]) == six] for six in (False, True)
    )
    # Past the host's own ports: straight to a container and a pod, whose networks the outsider routes to the host.
    straight = [["tcp", address, 80, 0] for address in ("172.17.0.9", "2001:db8:3::9", "10.42.0.9", "2001:db8:42::9")]
    asked: dict[str, tuple[str, list[list[Any]], str]] = {
        name.removeprefix("bgx-"): (name, targets(f"{four}.{here}", f"{six}:{here}", everything), "")
        for name, (_device, four, six, here, _there) in PLACES.items()
    }
    for label, last in (("node", NODE), ("source", SOURCE)):
        asked[label] = ("bgx-outsider", fourth, f"{LAN4}.{last}")
        asked[label + "6"] = ("bgx-outsider", sixth, f"{LAN6}:{last}")
    asked["pretended pod"] = ("bgx-outsider", fourth, PRETENDED_POD)
    asked["outsider to containers"] = ("bgx-outsider", straight, "")
    asked["tailnet to containers"] = ("bgx-tailnet", straight, "")
    world = targets(f"{LAN4}.9", f"{LAN6}:9", ["tcp/7000", "udp/7000"])
    asked["container to the world"] = ("bgx-container", world, "")
    asked["host to the world"] = (GUARDED, world, "")
    # An answer to a DHCP client, which no request of ours made known.
    asked["dhcp"] = ("bgx-outsider", [["udp", f"{LAN4}.1", 68, 67]], "")
    with ThreadPoolExecutor(len(asked)) as pool:
        seen = dict(zip(asked, pool.map(lambda question: reached(*question), asked.values()), strict=True))
    seen["ping"] = [
        family
        for family, address in (("-4", lan[0]), ("-6", lan[1]))
        if "1 received" in inside("bgx-outsider", "ping", family, "-c1", "-W1", address, check=False)
    ]
    return seen


def scan(count: int) -> dict[str, int]:
    """At how many of a sample of ports, on which nobody listens, a refusal tells that a packet came through, for IPv4 and IPv6."""
    step = 65535 // count
    ports = list(range(7, 65535, step))[:count]
    program = (
        "import json, socket, sys, time\n"
        "told = []\n"
        "for address in sys.argv[2:]:\n"
        "    waiting = []\n"
        "    for port in json.loads(sys.argv[1]):\n"
        "        made = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)\n"
        "        made.setblocking(False); made.connect_ex((address, port)); waiting.append((port, made))\n"
        "    time.sleep(1.5)\n"
        "    for port, made in waiting:\n"
        "        error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)\n"
        "        if error == 111: told.append(port)\n"
        "        made.close()\n"
        "print(len(told))\n"
    )
    return {
        name.removeprefix("bgx-"): int(
            inside(
                name,
                "prlimit",
                "--nofile=9000",
                sys.executable,
                "-c",
                program,
                json.dumps(ports),
                f"{four}.1",
                f"{six}:1",
            )
        )
        for name, (_device, four, six, _here, _there) in PLACES.items()
        if name in ("bgx-outsider", "bgx-tailnet")
    }


def main() -> None:
    """``packets.py RULESET``: what came through before and after the ruleset was loaded, as JSON."""
    listeners = ["tcp/22", "tcp/443", "tcp/6443", "tcp/10250", "tcp/31000", "udp/8472", "udp/41641", "udp/53", "udp/68"]
    published = ["tcp/8080", "udp/8080"]
    processes = []
    began = time.monotonic()
    try:
        build()
        processes = [
            serve(GUARDED, *listeners),
            serve("bgx-container", "tcp/80", "udp/80"),
            serve("bgx-pod", "tcp/80"),
            serve("bgx-outsider", "tcp/7000", "udp/7000"),
        ]
        # Link-local addresses are tentative for a while, and nobody finds the way to a neighbour meanwhile.
        time.sleep(2)
        before = look(listeners, published)
        inside(GUARDED, "nft", "-f", sys.argv[1])
        # Flows that were there before go on; these are about new ones.
        inside(GUARDED, "conntrack", "-F", check=False)
        after = look(listeners, published)
        scanned = scan(2000)
        tables = inside(GUARDED, "nft", "list", "tables").split("\n")
        print(
            json.dumps(
                {"before": before, "after": after, "scan": scanned, "tables": tables, "s": time.monotonic() - began}
            )
        )
    finally:
        for process in processes:
            process.kill()
        remove()


if __name__ == "__main__":
    main()
