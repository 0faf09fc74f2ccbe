# Copyright (c) 2026, the bulwark.node authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options by which a module finds its Google Cloud project, and who it is there: those of google.cloud."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment C(bulwark.node.gcp); its argument spec is C(ARGUMENT_SPEC) of C(module_utils/gcp/client.py)."""

    DOCUMENTATION = r"""
options:
  project:
    description:
      - The Google Cloud project.
      - Can also be set by E(GCP_PROJECT).
    type: str
    required: true
  auth_kind:
    description:
      - Who to be. With V(application) it is whom the application default credentials name (E(GOOGLE_APPLICATION_CREDENTIALS),
        C(gcloud auth application-default login), the machine's account), with V(machineaccount) the account of the machine that the module runs on,
        with V(serviceaccount) one whose key is given, with V(accesstoken) the one that O(access_token) is of.
      - Can also be set by E(GCP_AUTH_KIND).
    type: str
    required: true
    choices:
      - application
      - machineaccount
      - serviceaccount
      - accesstoken
  service_account_email:
    description:
      - Which of the machine's accounts, with O(auth_kind=machineaccount). By default its default one.
      - Can also be set by E(GCP_SERVICE_ACCOUNT_EMAIL).
    type: str
  service_account_file:
    description:
      - Path of a service account's key in JSON, with O(auth_kind=serviceaccount).
      - Can also be set by E(GCP_SERVICE_ACCOUNT_FILE).
    type: path
  service_account_contents:
    description:
      - The key itself, as a dictionary or as JSON, in place of O(service_account_file).
      - Can also be set by E(GCP_SERVICE_ACCOUNT_CONTENTS).
    type: jsonarg
  access_token:
    description:
      - An OAuth2 access token, with O(auth_kind=accesstoken). It is not renewed.
      - Can also be set by E(GCP_ACCESS_TOKEN).
    type: str
  scopes:
    description:
      - Scopes of the token. By default C(https://www.googleapis.com/auth/cloud-platform), which leaves all to the rights of the account.
      - Can also be set by E(GCP_SCOPES), separated by commas.
    type: list
    elements: str
  env_type:
    description:
      - What to add to the user agent of the requests.
      - Can also be set by E(GCP_ENV_TYPE).
    type: str
  api_endpoint:
    description:
      - Where compute is, such as an endpoint of Private Service Connect. It gets the token, and so has to be C(https), but on this very machine.
      - Can also be set by E(GCP_API_ENDPOINT).
    type: str
    default: https://compute.googleapis.com
  monitoring_endpoint:
    description:
      - Where Cloud Monitoring is, as O(api_endpoint).
      - Can also be set by E(GCP_MONITORING_ENDPOINT).
    type: str
    default: https://monitoring.googleapis.com
  timeout:
    description:
      - How many seconds all requests may take together, with what is asked again and the operations that are waited for, up to 3600.
    type: int
    default: 300
requirements:
  - google-auth >= 2.22 on the host that runs the module
  - requests >= 2.28 on the host that runs the module
notes:
  - The options and their environment are those of C(google.cloud), but for O(api_endpoint), O(monitoring_endpoint) and O(timeout).
  - What passes (no connection, C(429), C(5xx), a rate, an operation that is under way) is asked again with growing pauses. A change
    is sent again with the same C(requestId), so that it is made once.
  - Proxies of the environment (E(HTTPS_PROXY)) are used. E(REQUESTS_CA_BUNDLE) names other certificates to trust.
"""
