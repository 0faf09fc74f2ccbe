# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which a module finds its Kubernetes API server, and who it is there: those of kubernetes.core."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment C(bulwark.node.kubernetes); its argument spec is C(ARGUMENT_SPEC) of C(module_utils/kube/client.py)."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig file, or its content as a dictionary.
      - Without it and O(context) the service account of the pod is taken where the module runs in one, else the file that
        E(KUBECONFIG) names, else C(~/.kube/config). With O(host), and O(api_key) or O(client_cert), none is read.
      - Can also be set by E(K8S_AUTH_KUBECONFIG).
    type: raw
  context:
    description:
      - The context of the kubeconfig; by default its current one.
      - Can also be set by E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the API server, in place of the kubeconfig's.
      - Can also be set by E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Bearer token, in place of the kubeconfig's.
      - Can also be set by E(K8S_AUTH_API_KEY).
    type: str
  ca_cert:
    description:
      - Path of the certificates that the API server's is checked against.
      - Can also be set by E(K8S_AUTH_CA_CERT) or E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - Path of a client certificate.
      - Can also be set by E(K8S_AUTH_CLIENT_CERT) or E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the key of O(client_cert).
      - Can also be set by E(K8S_AUTH_CLIENT_KEY) or E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  validate_certs:
    description:
      - Whether the API server's certificate is checked; by default as the kubeconfig has it, which is to check it.
      - Can also be set by E(K8S_AUTH_VALIDATE_CERTS) or E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  proxy:
    description:
      - URL of the HTTP proxy on the way to the API server.
      - Can also be set by E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Hosts, domains and networks that O(proxy) is not used for, separated by commas.
      - Can also be set by E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description:
      - Headers for the proxy.
    type: dict
    suboptions:
      proxy_basic_auth:
        description:
          - User and password for the proxy, as C(user:password).
          - Can also be set by E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH).
        type: str
      basic_auth:
        description:
          - User and password as C(user:password), in the header C(authorization).
          - Can also be set by E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH).
        type: str
      user_agent:
        description:
          - What to call ourselves before the proxy.
          - Can also be set by E(K8S_AUTH_PROXY_HEADERS_USER_AGENT).
        type: str
  impersonate_user:
    description:
      - The user to act as. Whose credentials are used needs the right to C(impersonate) it.
      - Can also be set by E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Groups to act as a member of, beside O(impersonate_user).
      - Can also be set by E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
requirements:
  - kubernetes >= 29 on the host that runs the module
notes:
  - The options and their environment are those of C(kubernetes.core), but for user and password, which no API server has
    taken since Kubernetes 1.19, and C(persist_config), for a kubeconfig is never written.
  - Proxies of the environment (E(HTTPS_PROXY)) and C(proxy-url) of a kubeconfig are used by newer releases of the package (37), and by
    older ones (29) not. Say O(proxy) where one is needed, and O(no_proxy) where none is.
  - The package does not read C(as) and C(as-groups) of a kubeconfig; say O(impersonate_user) and O(impersonate_groups).
"""
