"""Read all nodes of a cluster in pages and throw them away: what no reader can be faster than. `python -m tools.bench.paged_get FILE`."""

from __future__ import annotations

import re
import ssl
import sys
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import yaml

PAGE_SIZE = 250
"""As the module asks for."""

_CONTINUE = re.compile(rb'"continue":"([^"]+)"')


def main(kubeconfig: Path) -> None:
    """Print how many bytes were read."""
    data = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = data["clusters"][0]["cluster"], data["users"][0]["user"]
    address = urlsplit(cluster["server"])
    trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
    connection = HTTPSConnection(address.hostname or "", address.port, context=trust)
    headers = {"Authorization": f"Bearer {user['token']}", "Accept": "application/json"}
    token, read = "", 0
    while True:
        more = f"&continue={quote(token)}" if token else ""
        connection.request("GET", f"/api/v1/nodes?limit={PAGE_SIZE}{more}", headers=headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(f"HTTP {response.status}: {body[:300]!r}")
        read += len(body)
        # A list's metadata stands before its items.
        found = _CONTINUE.search(body[:4096])
        if not found:
            print(read)
            return
        token = found.group(1).decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
