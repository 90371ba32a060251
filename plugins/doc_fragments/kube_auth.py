"""Options of modules that reach a cluster in every way that kubernetes.core knows.

To be extended before the fragment ``cluster``, whose kubeconfig is required.
"""

from __future__ import annotations


class ModuleDocFragment:
    """How the cluster is reached, with the environment variables of kubernetes.core."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of the kubeconfig.
      - When not given, the value of the environment variable E(K8S_AUTH_KUBECONFIG). Without it and without O(context), the service
        account of the pod that this runs in, then the client's default kubeconfig.
    type: path
    required: false
  context:
    description:
      - Context of the kubeconfig.
      - When not given, the value of the environment variable E(K8S_AUTH_CONTEXT), then the current context.
    type: str
  host:
    description: Address of the API server, or E(K8S_AUTH_HOST). With credentials no kubeconfig is read.
    type: str
  api_key:
    description: Bearer token, or E(K8S_AUTH_API_KEY).
    type: str
  username:
    description: Name for basic authentication, or E(K8S_AUTH_USERNAME). API servers have none; what stands before them may.
    type: str
  password:
    description: Password for basic authentication, or E(K8S_AUTH_PASSWORD).
    type: str
  validate_certs:
    description: Whether the server's certificate is verified, or E(K8S_AUTH_VERIFY_SSL). It is, unless the kubeconfig says otherwise.
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description: Path of the CA certificate that the server's is verified with, or E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description: Path of the client's certificate, or E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description: Path of the key of O(client_cert), or E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  proxy:
    description: URL of a proxy to the API server, or E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description: Comma-separated hosts that are reached without O(proxy), or E(K8S_AUTH_NO_PROXY).
    type: str
  impersonate_user:
    description: User to act as, or E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description: Groups to act as, or E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
"""
