"""How the controller reaches a cluster: the options and ``K8S_AUTH_*`` variables of ``kubernetes.core``, and one client from them.

The order is that of ``kubernetes.core``: an address with credentials, else a kubeconfig or context, else the service account of
the pod that this runs in, else the client's default kubeconfig. TLS is verified unless somebody says otherwise.
"""

from __future__ import annotations

import datetime
import traceback
from typing import Any, Dict, Mapping, Optional

from ansible.module_utils.basic import env_fallback

from ansible_collections.baremetal.gpu.plugins.module_utils.certificate_dates import earliest_end
from ansible_collections.baremetal.gpu.plugins.module_utils.errors import GpuError

IMPORT_ERROR: Optional[str] = None
try:
    import kubernetes.client
    import kubernetes.config
    import urllib3
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def _option(kind: str, *variables: str, **more: Any) -> Dict[str, Any]:
    return {"type": kind, "fallback": (env_fallback, list(variables)), **more}


ARGUMENTS: Dict[str, Any] = {
    "kubeconfig": _option("path", "K8S_AUTH_KUBECONFIG"),
    "context": _option("str", "K8S_AUTH_CONTEXT"),
    "host": _option("str", "K8S_AUTH_HOST"),
    "api_key": _option("str", "K8S_AUTH_API_KEY", no_log=True),
    "username": _option("str", "K8S_AUTH_USERNAME"),
    "password": _option("str", "K8S_AUTH_PASSWORD", no_log=True),
    "validate_certs": _option("bool", "K8S_AUTH_VALIDATE_CERTS", "K8S_AUTH_VERIFY_SSL", aliases=["verify_ssl"]),
    "ca_cert": _option("path", "K8S_AUTH_CA_CERT", "K8S_AUTH_SSL_CA_CERT", aliases=["ssl_ca_cert"]),
    "client_cert": _option("path", "K8S_AUTH_CLIENT_CERT", "K8S_AUTH_CERT_FILE", aliases=["cert_file"]),
    "client_key": _option("path", "K8S_AUTH_CLIENT_KEY", "K8S_AUTH_KEY_FILE", aliases=["key_file"], no_log=False),
    "proxy": _option("str", "K8S_AUTH_PROXY"),
    "no_proxy": _option("str", "K8S_AUTH_NO_PROXY"),
    "impersonate_user": _option("str", "K8S_AUTH_IMPERSONATE_USER"),
    "impersonate_groups": _option("list", "K8S_AUTH_IMPERSONATE_GROUPS", elements="str"),
}
"""Options of a module that runs where the connection is made."""

# The client's name of each option that is set on its configuration as it is.
_SETTINGS = {
    "host": "host",
    "validate_certs": "verify_ssl",
    "ca_cert": "ssl_ca_cert",
    "client_cert": "cert_file",
    "client_key": "key_file",
    "proxy": "proxy",
    "no_proxy": "no_proxy",
}


def require_client() -> None:
    """Raise ``GpuError`` BG-CAP-105 when the Python package ``kubernetes`` is not there."""
    if IMPORT_ERROR is not None:
        raise GpuError(
            "BG-CAP-105",
            "the Python package kubernetes cannot be imported ({0})".format(IMPORT_ERROR.strip().splitlines()[-1]),
            "the Kubernetes API is read with it",
            "install the collection's Python requirements where this task runs",
        )


def connect(options: Mapping[str, Any]) -> Any:
    """An API client from options named as in ``ARGUMENTS``, all of them optional. Raises ``GpuError`` BG-CAP-103."""
    given = {name: value for name, value in options.items() if name in ARGUMENTS and value not in (None, "")}
    configuration = kubernetes.client.Configuration()
    try:
        if not _suffices(given):
            _load(configuration, given.get("kubeconfig"), given.get("context"))
        for option, setting in _SETTINGS.items():
            if option in given:
                setattr(configuration, setting, given[option])
        if "api_key" in given:
            configuration.api_key = {"authorization": "Bearer {0}".format(given["api_key"])}
        client: Any = kubernetes.client.ApiClient(configuration)
    except Exception as error:  # the loader raises many kinds: missing file, no context, bad YAML, bad base64
        raise _unusable(given, error) from error
    for name, value in _headers(given).items():
        client.set_default_header(name, value)
    return client


def _suffices(given: Mapping[str, Any]) -> bool:
    ways = (("api_key",), ("username", "password"), ("client_cert", "client_key"))
    return "host" in given and any(all(name in given for name in way) for way in ways)


def _load(configuration: Any, kubeconfig: Optional[str], context: Optional[str]) -> None:
    if kubeconfig is None and context is None:
        try:
            load_pod: Any = kubernetes.config.load_incluster_config
            load_pod(client_configuration=configuration)
            return
        except kubernetes.config.ConfigException:  # this is no pod
            pass
    load: Any = kubernetes.config.load_kube_config
    load(config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False)


def _headers(given: Mapping[str, Any]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    if "username" in given and "password" in given:
        make: Any = urllib3.make_headers
        found.update(make(basic_auth="{0}:{1}".format(given["username"], given["password"])))
    if "impersonate_user" in given:
        found["Impersonate-User"] = given["impersonate_user"]
    if "impersonate_groups" in given:
        found["Impersonate-Group"] = list(given["impersonate_groups"])
    return found


def expired(client: Any) -> str:
    """When the client's own certificate ended, in words; empty when it has none, or one that is still good."""
    try:
        with open(client.configuration.cert_file or "", "rb") as file:
            end = earliest_end(file.read())
    except (OSError, ValueError):
        return ""
    now = datetime.datetime.now(datetime.timezone.utc)
    return "the client certificate ended on {0:%Y-%m-%d %H:%M} UTC".format(end) if end <= now else ""


def _unusable(given: Mapping[str, Any], error: Exception) -> GpuError:
    if "host" in given and _suffices(given):
        what = "the connection to {0} is not usable ({1})".format(given["host"], first_line(error))
    else:
        what = "the kubeconfig {0} is not usable ({1})".format(
            given.get("kubeconfig") or "(default)", first_line(error)
        )
    return GpuError(
        "BG-CAP-103",
        what,
        "the cluster cannot be asked without it",
        "give the path of a readable kubeconfig and an existing context",
    )


def first_line(said: Any) -> str:
    """The first line of a message, at most 300 characters; the kind of an exception that says nothing."""
    lines = str(said).strip().splitlines()
    return (lines[0] if lines else type(said).__name__)[:300]
