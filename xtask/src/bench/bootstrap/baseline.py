"""What one would write in an afternoon: the steps of `bootstrap run` and `bootstrap rotate` with boto3 and requests.

It is here to be measured beside bootstrap, and broken by the same faults. It is not a bad script: it checks every answer,
tries the new password before it stores it, and can be started again. Settings are those of bootstrap.
"""

import json
import os
import secrets
import string
import sys
import time

import boto3
import requests
from requests.adapters import HTTPAdapter

SERVER = "https://" + os.environ["BOOTSTRAP_SERVER"]
SECRETS = {"admin": os.environ["BOOTSTRAP_ADMIN_SECRET"], "ops": os.environ["BOOTSTRAP_OPS_SECRET"]}
CA = os.path.join(os.environ["BOOTSTRAP_CERTS"], "ca/ca.crt")
TIMEOUT = 10

store = boto3.client("secretsmanager")


class Named(HTTPAdapter):
    """The server is at an address, and its certificate is for a name."""

    def init_poolmanager(self, *positional, **named):
        super().init_poolmanager(*positional, server_hostname="localhost", assert_hostname="localhost", **named)


http = requests.Session()
http.verify = CA
http.mount("https://", Named())


def wait_for(what, poll=0.1, limit=60):
    deadline = time.monotonic() + limit
    while True:
        try:
            if what():
                return
        except requests.RequestException:
            pass
        if time.monotonic() >= deadline:
            sys.exit(f"{what.__name__} did not come")
        time.sleep(poll)


def live():
    return http.get(SERVER + "/health/live", timeout=TIMEOUT).ok


def leads():
    return http.get(SERVER + "/info", timeout=TIMEOUT).json()["state"] == "leader"


def logs_in(user, password):
    return http.get(SERVER + "/ping", auth=(user, password), timeout=TIMEOUT).status_code == 200


def new_password():
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(40))


def stored(user):
    return json.loads(store.get_secret_value(SecretId=SECRETS[user])["SecretString"])


def save(user, password):
    host, port = os.environ["BOOTSTRAP_CLIENT_HOST"], int(os.environ["BOOTSTRAP_CLIENT_PORT"])
    text = {
        "engine": "eventstoredb", "host": host, "port": port, "username": user, "password": password,
        "connectionString": f"esdb://{user}:{password}@{host}:{port}?tls=true", "caCertificate": open(CA).read(),
    }
    store.put_secret_value(SecretId=SECRETS[user], SecretString=json.dumps(text))


def set_password(admin, user, password):
    answer = http.post(
        f"{SERVER}/users/{user}/command/reset-password", auth=("admin", admin), json={"newPassword": password},
        timeout=TIMEOUT,
    )
    answer.raise_for_status()
    wait_for(lambda: logs_in(user, password))


def admin_password():
    """The one that is stored, or that of a new database."""
    for password in (stored("admin")["password"], "changeit"):
        if logs_in("admin", password):
            return password
    sys.exit("locked out")


def secure():
    """The generated passwords become those of the database; a replica waits for them."""
    wanted = {user: stored(user)["password"] for user in SECRETS}
    if leads():
        admin = admin_password()
        for user, password in wanted.items():
            if not logs_in(user, password):
                set_password(admin, user, password)
                admin = wanted["admin"]
            if "connectionString" not in stored(user):
                save(user, password)
    for user, password in wanted.items():
        wait_for(lambda: logs_in(user, password) and not logs_in(user, "changeit"))


def register():
    discovery = boto3.client("servicediscovery")
    operation = discovery.register_instance(
        ServiceId=os.environ["BOOTSTRAP_CLOUD_MAP_SERVICE"], InstanceId=os.environ["BOOTSTRAP_NODE_NAME"],
        Attributes={
            "AWS_INSTANCE_IPV4": os.environ["BOOTSTRAP_ADDRESS"],
            "AWS_INSTANCE_PORT": os.environ["BOOTSTRAP_CLIENT_PORT"],
            "TASK_ARN": os.environ["BOOTSTRAP_TASK_ARN"],
        },
    )["OperationId"]
    wait_for(lambda: discovery.get_operation(OperationId=operation)["Operation"]["Status"] == "SUCCESS")


def rotate():
    """Change it, see that it works, save it."""
    admin = admin_password()
    for user in SECRETS:
        password = new_password()
        set_password(admin, user, password)
        save(user, password)
        if user == "admin":
            admin = password


if sys.argv[1] == "rotate":
    rotate()
    sys.exit()
wait_for(live)
secure()
register()
print("registered", flush=True)
while True:
    time.sleep(60)
