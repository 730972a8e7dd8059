"""moto's server, with the departures from AWS closed that our protocol depends on (aws-contract §1.2, §1.3, §3.4).

For moto 5.2.5. Started like moto_server: python launcher.py -H 127.0.0.1 -p 0
"""

import sys
import threading

from moto.secretsmanager import exceptions as errors
from moto.secretsmanager.models import SecretsManagerBackend
from moto.servicediscovery.models import ServiceDiscoveryBackend

# moto answers each request in a thread of its own and locks nothing.
ONE_AT_A_TIME = threading.RLock()
MARKED = "You can't perform this operation on the secret because it was marked for deletion."
LARGEST_VALUE = 65536

moto_check = SecretsManagerBackend._check_with_existing_secrets_and_versions
moto_put = SecretsManagerBackend.put_secret_value
moto_stage = SecretsManagerBackend.update_secret_version_stage
moto_register = ServiceDiscoveryBackend.register_instance


def find(backend, secret_id):
    return backend.secrets[secret_id] if secret_id in backend.secrets else None


def refuse_if_marked(secret):
    if secret is not None and secret.is_deleted():
        raise errors.InvalidRequestException(MARKED)


def check(self, secret_id, token, text, binary, on_create=False):
    """S1: a version that has a value never changes, whatever its labels are."""
    secret = find(self, secret_id) if token else None
    version = getattr(secret, "versions", {}).get(token) if secret is not None else None
    if version and ("secret_string" in version or "secret_binary" in version):
        if (version.get("secret_string"), version.get("secret_binary")) == (text, binary):
            return secret
        raise errors.ResourceExistsException(
            f"You can't use ClientRequestToken {token} because that value is already in use for a version of "
            f"secret {secret.arn}."
        )
    return moto_check(self, secret_id, token, text, binary, on_create)


def put(self, secret_id, *positional, **named):
    """S6: not on a secret that is marked for deletion. S8: no value above the limit."""
    with ONE_AT_A_TIME:
        refuse_if_marked(find(self, secret_id))
        value = named.get("secret_string") or named.get("secret_binary") or ""
        if len(value) > LARGEST_VALUE:
            raise errors.InvalidParameterException("the secret value is too long")
        return moto_put(self, secret_id, *positional, **named)


def stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id):
    """S3: AWSCURRENT is what a read without version gives. S4: a label moves only away from its named holder."""
    with ONE_AT_A_TIME:
        secret = find(self, secret_id)
        refuse_if_marked(secret)
        if secret is not None:
            holders = [key for key, value in secret.versions.items() if version_stage in value["version_stages"]]
            foreign = [key for key in holders if key not in (move_to_version_id, remove_from_version_id)]
            if move_to_version_id and foreign:
                raise errors.InvalidParameterException(
                    f"The staging label {version_stage} is currently attached to version {foreign[0]}, so you must "
                    "explicitly reference that version in RemoveFromVersionId."
                )
        answer = moto_stage(self, secret_id, version_stage, remove_from_version_id, move_to_version_id)
        if secret is not None and version_stage == "AWSCURRENT" and move_to_version_id:
            secret.default_version_id = move_to_version_id
        return answer


def register(self, service_id, instance_id, *positional, **named):
    """D1: registering an instance again replaces it."""
    with ONE_AT_A_TIME:
        service = self.services.get(service_id)
        if service is not None:
            service.instances = [known for known in service.instances if known.instance_id != instance_id]
        return moto_register(self, service_id, instance_id, *positional, **named)


SecretsManagerBackend._check_with_existing_secrets_and_versions = check
SecretsManagerBackend.put_secret_value = put
SecretsManagerBackend.update_secret_version_stage = stage
ServiceDiscoveryBackend.register_instance = register

if __name__ == "__main__":
    from moto.server import main

    main(sys.argv[1:])
