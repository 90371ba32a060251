#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Images from archives into containerd, when they are absent or different."""

from __future__ import annotations

DOCUMENTATION = r"""
module: containerd_images
short_description: Import image archives into containerd when their images are absent or different
version_added: "0.1.0"
description:
  - Reads which images the archives hold (of C(docker save), or an OCI layout in a tar file) and compares the digests of
    their configs with those of the images that containerd has under the same names. Archives with an image that is absent or
    different are imported.
  - Needs no registry. Archives must already lie on the host.
  - In check mode, a host without containerd has no images, and an archive that is not there yet is predicted to be imported.
options:
  archives:
    description: Paths of the archives on the host.
    type: list
    elements: path
    required: true
  address:
    description: Address of containerd's socket.
    type: path
    default: /run/containerd/containerd.sock
  namespace:
    description: Namespace of the images in containerd. The kubelet uses V(k8s.io).
    type: str
    default: k8s.io
  ctr:
    description: containerd's client as a program and its first arguments, for example V([k3s, ctr]).
    type: list
    elements: str
    default: [ctr]
  import_timeout_s:
    description: How long the import of one archive may take, in seconds.
    type: float
    default: 600
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    description: Target systems.
    platforms: linux
    support: full
extends_documentation_fragment:
  - baremetal.gpu.attributes
author:
  - baremetal.gpu contributors (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Import the control plane's images
  baremetal.gpu.containerd_images:
    archives:
      - /var/lib/baremetal-gpu/images/kubernetes-amd64.tar

- name: Import images into the containerd of k3s
  baremetal.gpu.containerd_images:
    archives:
      - /var/lib/baremetal-gpu/images/gpu-operands-amd64.tar
    ctr: [k3s, ctr]
    address: /run/k3s/containerd/containerd.sock
"""

RETURN = r"""
images:
  description: The images of the archives that could be read, with what containerd had before.
  returned: success
  type: list
  elements: dict
  sample:
    - reference: registry.example/pause:3.10
      config_digest: sha256:2c1e...
      archive: /var/lib/baremetal-gpu/images/kubernetes-amd64.tar
      found: []
imported:
  description: Archives that were imported, or in check mode would be.
  returned: success
  type: list
  elements: str
"""

import os
from typing import Any, Dict, FrozenSet, List, Mapping, Sequence, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.baremetal.gpu.plugins.module_utils import bounded
from ansible_collections.baremetal.gpu.plugins.module_utils.containerd_store import (
    Containerd,
    Observed,
    compare,
    no_client,
)
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError
from ansible_collections.baremetal.gpu.plugins.module_utils.image_archive import ArchivedImage, read_archive

ARGUMENTS: Dict[str, Any] = {
    "archives": {"type": "list", "elements": "path", "required": True},
    "address": {"type": "path", "default": "/run/containerd/containerd.sock"},
    "namespace": {"type": "str", "default": "k8s.io"},
    "ctr": {"type": "list", "elements": "str", "default": ["ctr"]},
    "import_timeout_s": {"type": "float", "default": 600},
}


def main() -> None:
    """Import what is absent or different."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = _converge(module)
    except GpuError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


def _converge(module: AnsibleModule) -> Dict[str, Any]:
    desired, absent = _read_archives(module.params["archives"], module.check_mode)
    references = [image.reference for image in desired]
    observed: Observed = {}
    try:
        store = _store(module)
        observed = store.observe(references)
    except GpuError:
        if not module.check_mode:
            raise
        # Check mode on a bare host: containerd is installed by an earlier task of the same run.
    plan = compare(desired, observed)
    if not module.check_mode:
        for path in plan.archives:
            store.import_archive(path, module.params["import_timeout_s"])
        if plan.archives:
            _require_imported(desired, store.observe(references))
    return {
        "changed": bool(plan.archives or absent),
        "imported": list(plan.archives) + absent,
        "images": [_shown(image, observed) for image in desired],
        "diff": {
            "before": _lines((image.reference, sorted(observed.get(image.reference, ()))) for image in desired),
            "after": _lines((image.reference, [image.config_digest]) for image in desired)
            + "".join("all images of {0}\n".format(path) for path in absent),
        },
    }


def _read_archives(paths: Sequence[str], check_mode: bool) -> Tuple[List[ArchivedImage], List[str]]:
    """Images of the archives; in check mode also the archives that an earlier task would have brought."""
    images: List[ArchivedImage] = []
    absent: List[str] = []
    for path in dict.fromkeys(paths):
        if check_mode and not os.path.exists(path):
            absent.append(path)
        else:
            images += read_archive(path)
    return images, absent


def _store(module: AnsibleModule) -> Containerd:
    command: List[str] = module.params["ctr"]
    program = module.get_bin_path(command[0], opt_dirs=["/usr/local/bin"]) if command else None
    if program is None:
        raise no_client(" ".join(command) or "(empty)")
    return Containerd([program, *command[1:]], module.params["address"], module.params["namespace"], bounded.run)


def _require_imported(desired: Sequence[ArchivedImage], observed: Mapping[str, FrozenSet[str]]) -> None:
    """Raise ``GpuError`` BG-IMG-004 unless the import gave what the archives promised."""
    left = compare(desired, observed).differing
    if left:
        raise GpuError(
            "BG-IMG-004",
            "{0} is not as in {1} after its import".format(left[0].reference, left[0].archive),
            "pods would run another image than the one that was delivered",
            "build or fetch the archive again",
        )


def _shown(image: ArchivedImage, observed: Mapping[str, FrozenSet[str]]) -> Dict[str, Any]:
    return {
        "reference": image.reference,
        "config_digest": image.config_digest,
        "archive": image.archive,
        "found": sorted(observed.get(image.reference, ())),
    }


def _lines(items: Any) -> str:
    return "".join("{0} {1}\n".format(reference, ", ".join(digests)) for reference, digests in sorted(items) if digests)


if __name__ == "__main__":
    main()
