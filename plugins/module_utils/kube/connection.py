# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package ``kubernetes`` as we use it: its configuration, its credentials and its pool of connections.

Its API classes are left alone: they cost seconds to import, and ``ApiClient.call_api`` has another signature in
each few releases. The configuration and ``RESTClientObject.pool_manager`` have been the same from 29 to 37.
"""

from __future__ import annotations

import json
import os
import ssl
import traceback
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.bulwark.node.plugins.module_utils.errors import BulwarkError, OptionError
from ansible_collections.bulwark.node.plugins.module_utils.kube.errors import Answer

__all__ = ["USER_AGENT", "Connection", "TransportError", "connection", "is_configured", "is_path"]

USER_AGENT = "bulwark.node"
"""Which the server also notes as the manager of the fields that we set."""

# Which of the package's settings an option is.
_SETTINGS = {
    "host": "host",
    "ca_cert": "ssl_ca_cert",
    "client_cert": "cert_file",
    "client_key": "key_file",
    "validate_certs": "verify_ssl",
    "proxy": "proxy",
    "no_proxy": "no_proxy",
}
_FILES = ("ca_cert", "client_cert", "client_key")
_EXAMPLE = "https://192.0.2.1:6443"
_DEFAULT_KUBECONFIG = "~/.kube/config"
# Where a Configuration has the token: to release 36, and from 37 on.
_TOKEN_KEYS = ("authorization", "BearerToken")


class TransportError(Exception):
    """No answer. ``sent``: the server may have had the request; ``hopeless``: another try would end alike."""

    def __init__(self, text: str, sent: bool, hopeless: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.hopeless = hopeless


class Connection:
    """The one adapter for sending: bytes out, an Answer back, nothing repeated."""

    def __init__(self, configuration: Any, impersonate: Mapping[str, Any]) -> None:
        import urllib3
        from kubernetes.client.rest import RESTClientObject

        self._urllib3 = urllib3
        self._configuration = configuration
        try:
            self._pool = RESTClientObject(configuration).pool_manager
        except ValueError as error:
            what = "expected a URL such as http://192.0.2.1:3128 in the option proxy or in HTTPS_PROXY"
            raise BulwarkError(f"proxy: {error}; {what}") from error
        self._impersonate = impersonate
        self.server: str = configuration.host
        if not configuration.verify_ssl:
            # It was asked for; a warning on stderr with each request would be all that comes of it.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def send(self, method: str, path: str, body: Any, content_type: str, timeout: float) -> Answer:
        """Send one request and read the whole answer. Raises TransportError."""
        errors = self._urllib3.exceptions
        try:
            response = self._pool.request(
                method,
                self.server + path,
                body=None if body is None else json.dumps(body).encode(),
                headers=self._headers(content_type),
                timeout=timeout,
                # A repeated write may be a second write, which the caller alone can judge; a redirect would take
                # the token elsewhere.
                retries=False,
                redirect=False,
            )
        except errors.SSLError as error:
            cause = error.args[0] if error.args else None
            cut = isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
            distrust = isinstance(cause, ssl.SSLCertVerificationError)
            raise TransportError(str(error), sent=not distrust, hopeless=not cut) from error
        except (errors.NewConnectionError, errors.ConnectTimeoutError) as error:
            raise TransportError(str(error), sent=False) from error
        except errors.LocationValueError as error:
            raise TransportError(str(error), sent=False, hopeless=True) from error
        except (errors.HTTPError, OSError) as error:
            raise TransportError(str(error) or type(error).__name__, sent=not self._is_before_sending(error)) from error
        except ValueError as error:
            # Its text would quote the header, and so the token.
            what = f"the credentials have a header that HTTP cannot carry ({type(error).__name__})"
            raise TransportError(what, sent=False, hopeless=True) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(int(response.status), headers, bytes(response.data))

    def _is_before_sending(self, error: Exception) -> bool:
        """Whether no connection was made, or no tunnel: a proxy's failures come wrapped as those of what was sent do."""
        errors = self._urllib3.exceptions
        none = (errors.NewConnectionError, errors.ConnectTimeoutError)
        return any(
            isinstance(cause, none) or str(cause).startswith("Tunnel connection failed")
            for cause in (error, *error.args)
        )

    def _headers(self, content_type: str) -> Any:
        # urllib3 1 has the class, but not its name.
        from urllib3._collections import HTTPHeaderDict

        headers = HTTPHeaderDict({"Accept": "application/json", "Content-Type": content_type})
        headers["User-Agent"] = USER_AGENT
        token = _token(self._configuration)
        if token:
            headers["Authorization"] = token
        if self._impersonate.get("user"):
            headers["Impersonate-User"] = self._impersonate["user"]
        for group in self._impersonate.get("groups") or ():
            headers.add("Impersonate-Group", group)
        return headers


def is_path(kubeconfig: object) -> bool:
    """Whether it may be the path of a kubeconfig, rather than its text."""
    return isinstance(kubeconfig, str) and "\n" not in kubeconfig and not kubeconfig.lstrip().startswith("{")


def is_configured(params: Mapping[str, Any]) -> bool:
    """Whether anything here says which API server to ask: the options, the environment, a pod's, or a default kubeconfig."""
    if any(params.get(name) for name in ("kubeconfig", "context", "host")):
        return True
    named = ("KUBECONFIG", "KUBERNETES_SERVICE_HOST")
    return any(map(os.environ.get, named)) or os.path.exists(os.path.expanduser(_DEFAULT_KUBECONFIG))


def connection(params: Mapping[str, Any]) -> Connection:
    """Connect as the options of ``client.ARGUMENT_SPEC`` say. Nothing is sent yet. Raises BulwarkError, OptionError."""
    impersonate = {"user": params.get("impersonate_user"), "groups": params.get("impersonate_groups") or []}
    if impersonate["groups"] and not impersonate["user"]:
        raise OptionError("impersonate_user", None, "a user, for a server impersonates no groups without one")
    _check(params)
    configuration = _configuration(params)
    if not _is_url(configuration.host):
        # The package takes it as it is, and urllib3 would send the token in the clear.
        raise BulwarkError(f"kubeconfig: the server is {configuration.host!r}, expected a URL, such as {_EXAMPLE}")
    return Connection(configuration, impersonate)


def _check(params: Mapping[str, Any]) -> None:
    """What can be said of the options alone. Raises OptionError, without the values that are secrets."""
    host, proxy, token = (params.get(name) for name in ("host", "proxy", "api_key"))
    kubeconfig = params.get("kubeconfig")
    if kubeconfig is not None and not isinstance(kubeconfig, Mapping) and not is_path(kubeconfig):
        raise OptionError(
            "kubeconfig", "what is neither", "the path of a file, or a dictionary (of its text: from_yaml)"
        )
    if host and not _is_url(host):
        raise OptionError("host", host, f"a URL, such as {_EXAMPLE}")
    for option, url in (("host", host), ("proxy", proxy)):
        if url and "@" in url:
            instead = "api_key or client_cert" if option == "host" else "proxy_headers.proxy_basic_auth"
            raise OptionError(option, "a user in it", f"no user in it, which nobody would read: {instead} is for that")
    if token and (" " in token or not token.isprintable() or not token.isascii()):
        # A newline comes with a file that was read.
        raise OptionError("api_key", "what no header can carry", "a token of ASCII alone, without spaces and newlines")
    names = {"impersonate_user": params.get("impersonate_user") or ""}
    names.update((f"impersonate_groups[{i}]", name) for i, name in enumerate(params.get("impersonate_groups") or ()))
    for option, name in names.items():
        if not name.isprintable() or not name.isascii():
            raise OptionError(option, name, "a name of ASCII alone, as a header carries it")


def _is_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        # A property that raises ValueError.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _configuration(params: Mapping[str, Any]) -> Any:
    """The package's Configuration: where it comes from as kubernetes.core decides it, then the options over it."""
    try:
        from kubernetes.client.configuration import Configuration
        from kubernetes.config.config_exception import ConfigException
        from yaml import YAMLError
    except ImportError:
        raise BulwarkError(missing_required_lib("kubernetes"), {"exception": traceback.format_exc()}) from None
    configuration = Configuration()
    if not (params.get("host") and (params.get("api_key") or params.get("client_cert"))):
        try:
            _load(params, configuration)
        except (ConfigException, YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
            raise BulwarkError(_no_configuration(params, error)) from error
    for option, setting in _SETTINGS.items():
        if params.get(option) is not None:
            value = params[option]
            if option in _FILES and not os.path.isfile(value):
                raise OptionError(option, value, "a file on the host that runs the module")
            setattr(configuration, setting, value.rstrip("/") if option == "host" else value)
    if params.get("api_key"):
        _set_token(configuration, params["api_key"])
    if params.get("proxy_headers"):
        import urllib3

        given = {key: value for key, value in params["proxy_headers"].items() if value is not None}
        configuration.proxy_headers = urllib3.make_headers(**given) if given else configuration.proxy_headers
    return configuration


def _load(params: Mapping[str, Any], configuration: Any) -> None:
    """A kubeconfig where one or a context is named; else what a pod is given; else the default kubeconfig."""
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.incluster_config import load_incluster_config
    from kubernetes.config.kube_config import load_kube_config, load_kube_config_from_dict

    kubeconfig, context = params.get("kubeconfig"), params.get("context")
    # The file is the user's: refreshed tokens are not written into it.
    how = {"context": context, "client_configuration": configuration, "persist_config": False}
    if isinstance(kubeconfig, Mapping):
        load_kube_config_from_dict(config_dict=dict(kubeconfig), **how)
        return
    if not kubeconfig and not context:
        try:
            load_incluster_config(client_configuration=configuration)
            return
        except ConfigException:
            pass
    load_kube_config(config_file=kubeconfig, **how)


def _no_configuration(params: Mapping[str, Any], error: Exception) -> str:
    given = params.get("kubeconfig")
    source = "the kubeconfig that was given" if isinstance(given, Mapping) else given or "no kubeconfig was given"
    context = f", context {params['context']}" if params.get("context") else ""
    return (
        f"kubeconfig: {source}{context}: {error}. Expected kubeconfig (K8S_AUTH_KUBECONFIG), host with api_key or client_cert,"
        " a pod with a service account, or ~/.kube/config"
    )


def _set_token(configuration: Any, token: str) -> None:
    """Use this token, whatever a kubeconfig said."""
    configuration.refresh_api_key_hook = None
    configuration.api_key = {_TOKEN_KEYS[0]: f"Bearer {token}"}


def _token(configuration: Any) -> str | None:
    """The value of the header Authorization, renewed where it has run out; None without a token.

    The package's own ``auth_settings()`` looks under another name than its loaders write to in 36.0.0.
    """
    if configuration.refresh_api_key_hook:
        configuration.refresh_api_key_hook(configuration)
    return next(filter(None, map(configuration.api_key.get, _TOKEN_KEYS)), None)
