"""Stand-in for dcgm-exporter: serves the DCGM_FI_* series of this host's simulated GPUs as Prometheus text."""

from __future__ import annotations

import argparse
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .dcgm import metrics
from .state import Place, read

PORT = 9400
"""Where dcgm-exporter listens."""


class Handler(BaseHTTPRequestHandler):
    """Answers /metrics from the state file as it is at that moment, and /health."""

    place = Place()

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, metrics(read(self.place), socket.gethostname()))
        elif self.path == "/health":
            self._answer(200, "OK\n")
        else:
            self._answer(404, "not found\n")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Scrapes are not logged."""


def server(place: Place, address: tuple[str, int]) -> ThreadingHTTPServer:
    """A server that shows the host at `place`; the caller runs it."""
    return ThreadingHTTPServer(address, type("PlacedHandler", (Handler,), {"place": place}))


def main(arguments: list[str]) -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="simulated-dcgm-exporter", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    server(Place(), ("", parser.parse_args(arguments).port)).serve_forever()
    return 0
