"""A lab host's root with simulated hardware, its programs and its driver stand-in, below a temporary folder."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from lab.simulation import hardware
from lab.simulation.host import command, driver
from lab.simulation.host.state import Place, Values, read


class KernelLog:
    """Reads what is written into a host's kernel log, in place of simulated-kmsg."""

    def __init__(self, place: Place) -> None:
        place.kernel_log.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(place.kernel_log)
        self.fifo = os.open(place.kernel_log, os.O_RDWR | os.O_NONBLOCK)

    def lines(self) -> list[str]:
        """What came since the last call."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.fifo, 1 << 20).decode().splitlines()
        return []


class SimulatedHost:
    """A host's root with the hardware of a profile installed."""

    def __init__(self, root: Path, name: str, built: Path) -> None:
        self.profile = hardware.install(root, name, built)
        self.root = root
        self.place = Place(root)
        self.state = root / hardware.state_file(self.profile)
        self.kernel_log = KernelLog(self.place)
        self.socket = Path("/nonexistent")
        """Where the driver stand-in listens; a UNIX socket's path is short, so it is not below the root."""

    def run(self, *arguments: str) -> int:
        """`simulated-hardware` with these arguments; its exit code."""
        return command.main(list(arguments), self.place)

    def set(self, *assignments: str) -> None:
        assert self.run("set", *assignments) == 0

    def values(self) -> Values:
        return read(self.place)

    def smi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"SIMULATED_HARDWARE_STATE": str(self.state), "SIMULATED_HARDWARE_DRIVER": str(self.socket)}
        program = [str(self.root / "usr/bin/nvidia-smi"), *arguments]
        return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)

    def nvml(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(self.root / hardware.library_folder() / "libnvidia-ml.so.1"))

    @contextlib.contextmanager
    def driver(self) -> Iterator[None]:
        """The socket that tools send their changes to, as systemd would serve it."""
        folder = tempfile.TemporaryDirectory()
        self.socket = Path(folder.name) / "driver"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.socket))
        listener.listen()
        served = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        served.start()
        former = os.environ.get("SIMULATED_HARDWARE_DRIVER")
        os.environ["SIMULATED_HARDWARE_DRIVER"] = str(self.socket)
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            served.join()
            folder.cleanup()
            self.socket = Path("/nonexistent")
            if former is None:
                del os.environ["SIMULATED_HARDWARE_DRIVER"]
            else:
                os.environ["SIMULATED_HARDWARE_DRIVER"] = former

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    driver.serve(self.place, connection)
