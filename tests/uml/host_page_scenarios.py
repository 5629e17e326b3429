"""The page of `aerate host` over guests of User Mode Linux: what it asks for, as its script does, without a browser."""
import json
import re
import urllib.error
import urllib.request

from host_scenarios import Host
from uml import GuestError
from uml_scenarios import scenario


class Page:
    def __init__(self, host):
        found = None

        def printed():
            nonlocal found
            host.log.seek(0)
            found = re.search(r"(http://127\.0\.0\.1:\d+/)#token=([0-9a-f]{64})", host.log.read())
            return found is not None

        host.until("the page's address is printed", printed)
        self.address, self.token = found.groups()

    def ask(self, path, method="GET", token=None, body=None):
        """The status and the body."""
        request = urllib.request.Request(self.address + path, method=method, data=body, headers={"Authorization": f"Bearer {token or self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def require(holds, what):
    if not holds:
        raise GuestError(what)


@scenario
def the_page_of_a_host_shows_its_guests_and_acts_on_them(context):
    guest = context.uml(context.daemon("--stats-interval", "1", name="one"), memory="256M")
    guest.load_driver()
    with Host(context, 512, "--listen", "127.0.0.1:0") as host:
        host.until("the guest is there", lambda: "one" in host.vms())
        page = Page(host)
        status, body = page.ask("host/status")
        require(status == 200 and [vm["name"] for vm in json.loads(body)["vms"]] == ["one"], f"the status is {status} {body}")
        status, body = page.ask("metrics")
        require(status == 200 and re.search(r'^aerate_vm_size_bytes\{vm="one"\} \d+$', body, re.M), f"the metrics are {status} {body}")
        for path in ("host/history", "host/vms/one/decisions"):
            require(page.ask(path)[0] == 200, f"{path}: {page.ask(path)}")
        status, body = page.ask("host/vms/one/sweep", "POST")
        require(status >= 400 and "vhost-user" in body, f"a sweep, which vhost-user cannot do: {status} {body}")
        status, body = page.ask("host/vms/one/balloon", "PUT", body=b'{"target_bytes": 52428800}')
        require(status == 200 and "50 MiB" in body, f"a balloon: {status} {body}")
        require(page.ask("host/vms/one/sweep", "POST", "0" * 64)[0] == 401, "a stranger may sweep")
        require(page.ask("host/vms/two/sweep", "POST")[0] == 404, "there is a VM two")
        print(f"    {json.loads(body)['words']}", flush=True)
