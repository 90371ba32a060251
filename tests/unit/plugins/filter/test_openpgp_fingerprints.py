"""The filter computes what gpg --show-keys prints, and refuses what is not a key."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.baremetal.gpu.plugins.filter.openpgp_fingerprints import fingerprints, openpgp_fingerprints

# Made for this test with gpg 2.2 (ed25519); its secret half was thrown away.
KEY = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawKcgRYJKwYBBAHaRw8BAQdAWzEtspsumirgJwMxpUOYSfU7AKi4dEvHpcaM
WE8iirW0GHJlcG9zaXRvcnkga2V5IG9mIGEgdGVzdIiQBBMWCAA4FiEE5DABBAV1
hl3WYlSxy9C+DEbJi7EFAmsCnIECGwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AA
CgkQy9C+DEbJi7FHiQD+NRSceNPIy8tC5uVGO0Dx+UpswwAxae7uXY8wPe1fMzYA
/R1tLJxp3j/2jL0NRGW/LEQYhdi16kVvrBYpHmWNn0IN
=KAnr
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "E43001040575865DD66254B1CBD0BE0C46C98BB1"


def test_fingerprint_is_the_one_that_gpg_shows() -> None:
    assert fingerprints(KEY) == [FINGERPRINT]


def test_headers_of_the_armor_do_not_matter() -> None:
    assert fingerprints(KEY.replace("BLOCK-----\n\n", "BLOCK-----\nComment: x\n\n", 1)) == [FINGERPRINT]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404 Not Found</html>",
        KEY.replace("-----END", "-----STOP"),
        KEY.replace("mDME", "!!!!"),
        "\n".join(KEY.splitlines()[:3] + KEY.splitlines()[-1:]),
    ],
    ids=["empty", "error page", "no end", "not base64", "cut off"],
)
def test_what_is_not_a_whole_key_is_refused(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="openpgp_fingerprints"):
        openpgp_fingerprints(text)


def test_user_ids_and_signatures_are_not_taken_for_keys() -> None:
    assert len(fingerprints(KEY)) == 1
