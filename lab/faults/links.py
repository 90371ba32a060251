"""Faults of a host's network: the cable, its speed, and what is let through."""

from __future__ import annotations

from pathlib import Path

from lab.faults.catalogue import FaultError
from lab.faults.handler import Handler, Kept, Target
from lab.power import cable

_IFF_UP = 1


class Cable(Handler):
    """The cable is pulled: the machine's end of it is down, so the host's interface has no carrier."""

    survives_reboot = True
    lies_outside = True

    def apply(self, target: Target) -> Kept:
        target.machine("ip", "link", "set", cable(target.host.name), "down")
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        flags = Path("/sys/class/net", cable(target.host.name), "flags").read_text(encoding="ascii")
        return not int(flags, 16) & _IFF_UP

    def undo(self, target: Target, kept: Kept) -> None:
        target.machine("ip", "link", "set", cable(target.host.name), "up")


class Shaped(Handler):
    """Both ends of the cable get the queueing discipline `qdisc`."""

    survives_reboot = True
    lies_outside = True

    def apply(self, target: Target) -> Kept:
        qdisc = self.settings["qdisc"].split()
        try:
            target.machine("tc", "qdisc", "replace", "dev", cable(target.host.name), "root", *qdisc)
        except FaultError as error:
            if "qdisc kind is unknown" not in str(error):
                raise
            raise FaultError(f"this machine's kernel has no {qdisc[0]}, so {self.fault} does not exist here") from None
        target.run("tc", "qdisc", "replace", "dev", "eth0", "root", *qdisc)
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        kind = self.settings["qdisc"].split()[0]
        shown = target.machine("tc", "qdisc", "show", "dev", cable(target.host.name), "root")
        return f"qdisc {kind} " in shown and f"qdisc {kind} " in target.run(
            "tc", "qdisc", "show", "dev", "eth0", "root"
        )

    def undo(self, target: Target, kept: Kept) -> None:
        kind = self.settings["qdisc"].split()[0]
        device = cable(target.host.name)
        if f"qdisc {kind} " in target.machine("tc", "qdisc", "show", "dev", device, "root"):
            target.machine("tc", "qdisc", "del", "dev", device, "root")
        if f"qdisc {kind} " in target.run("tc", "qdisc", "show", "dev", "eth0", "root"):
            target.run("tc", "qdisc", "del", "dev", "eth0", "root")


class Firewall(Handler):
    """An nftables table of its own on the host drops packets: `rules` are its chains."""

    @property
    def _table(self) -> str:
        return f"lab_fault_{self.fault}"

    def apply(self, target: Target) -> Kept:
        target.run("nft", "--file", "-", text=f"table inet {self._table} {{\n{self.settings['rules']}\n}}\n")
        return {}

    def active(self, target: Target, kept: Kept) -> bool:
        return target.succeeds("nft", "list", "table", "inet", self._table)

    def undo(self, target: Target, kept: Kept) -> None:
        if self.active(target, kept):
            target.run("nft", "delete", "table", "inet", self._table)
