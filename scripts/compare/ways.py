"""The ways to bring a container into a load balancer, each in its best configuration.

A way is a context with `http`, where requests go; `start(port)` gives an app that comes up on that port
(or, for Traefik, a container that listens on a port of its own); `stop(app)` ends it as `docker stop`
does and returns when it has ended; `out(app)` says that no request goes to it any more; `restart()`
kills the load balancer and starts it again; `rotation()` counts the apps that get requests.
"""

import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

import servers
from servers import BERTH, HELLO, ROOT, SCRIPT, Haproxy, end, free_port, get, listens, start, until

# A health check a second, which is what a rotation without an agent depends on.
TEMPLATE = "server-template node 1-200 localhost:3128 check disabled inter 1s"


class Slots:
    """Slots of HAProxy, claimed by Berth or by the script."""

    def __init__(self, words):
        self.words, self.haproxy = words, Haproxy(TEMPLATE)
        self.http = self.haproxy.http

    def start(self, port=None):
        port = port or free_port()
        env = {"HAPROXY_SERVER": "127.0.0.1", "HAPROXY_PORT": self.haproxy.stats, "NODE_COUNT": 200,
               "APP_ADDR": "127.0.0.1", "APP_PORT": port, "PORT": port, "NAME": port}
        process = start([*self.words, HELLO], env)
        process.port, process.host = port, "127.0.0.1"
        return process

    def stop(self, app):
        os.kill(app.pid, signal.SIGTERM)
        app.wait()

    def terminate(self, app):
        os.kill(app.pid, signal.SIGTERM)

    def out(self, app):
        return (app.host, app.port) not in self.haproxy.in_rotation()

    def restart(self):
        self.haproxy.restart()

    def rotation(self):
        return len(self.haproxy.in_rotation())

    def discard(self, app):
        end(app)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.haproxy.kill()
        shutil.rmtree(self.haproxy.dir)


class Dns(Slots):
    """HAProxy resolves a name by itself; nsupdate adds and removes the records.

    Best configuration: `init-addr none`, resolved every 100 ms and obsolete at once (the manual's
    defaults of 1 s and 30 s take longer), checked every second. One port for all, since A records have
    none, so each app has an address of its own. To leave, the record goes first, then HAProxy is waited
    for, which is more than a plain entrypoint does.
    """

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        os.chmod(self.dir, 0o755)
        self.dns, self.app_port, self.count = free_port(), free_port(), 0
        (self.dir / "zone").write_text("$TTL 1\n@ SOA ns.test. root.test. 1 60 60 60 1\n@ NS ns.test.\nns A 127.0.0.1\n")
        (self.dir / "named.conf").write_text(f"""options {{
  directory "{self.dir}"; listen-on port {self.dns} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file none; session-keyfile none; recursion no; dnssec-validation no; }};
controls {{ }};
zone "test" {{ type primary; file "zone"; allow-update {{ 127.0.0.1; }}; }};
""")
        self.named = start(["named", "-f", "-c", self.dir / "named.conf"])
        until(lambda: listens(self.dns), "BIND listens")
        resolvers = f"""resolvers dns
  nameserver bind 127.0.0.1:{self.dns}
  accepted_payload_size 8192
  timeout resolve 100ms
  timeout retry 100ms
  hold valid 100ms
  hold obsolete 0s
  hold nx 100ms
  hold other 100ms
"""
        self.haproxy = Haproxy(f"server-template node 1-200 webapp.test:{self.app_port} check inter 1s"
                               " resolvers dns init-addr none resolve-prefer ipv4", resolvers)
        self.http = self.haproxy.http

    def start(self, port=None):
        self.count += 1
        host = f"127.0.{1 + self.count // 250}.{1 + self.count % 250}"
        env = {"PORT": self.app_port, "ADDR": host, "NAME": host}
        process = start([HELLO], env)
        process.port, process.host = self.app_port, host
        until(lambda: listens(self.app_port, host), "the app listens")
        process.listening = time.monotonic()
        self.update(f"add webapp.test 1 A {host}")
        return process

    def update(self, line):
        words = f"server 127.0.0.1 {self.dns}\nzone test\nupdate {line}\nsend\n"
        subprocess.run(["nsupdate"], input=words, text=True, check=True)

    def stop(self, app):
        self.terminate(app)
        until(lambda: self.out(app), "out of rotation")
        end(app, signal.SIGTERM)

    def terminate(self, app):
        self.update(f"delete webapp.test A {app.host}")

    def __exit__(self, *rest):
        end(self.named)
        super().__exit__(*rest)
        shutil.rmtree(self.dir)


class Traefik:
    """Traefik 3 with its Docker provider: containers of one image with three labels.

    Best configuration: provider events are handled at once (`providersThrottleDuration=0.1s`, 2 s by
    default), no access log, no retries as for the others. A container leaves when Docker says that it
    has died, since Traefik has no word for draining one. `--init`, since an app as PID 1 may ignore TERM.
    """

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        (self.dir / "Dockerfile").write_text('FROM scratch\nCOPY hello /hello\nENTRYPOINT ["/hello"]\n')
        shutil.copy(HELLO, self.dir / "hello")
        self.docker("build", "-q", "-t", "berth-compare", str(self.dir))
        self.network = f"berth-compare-{os.getpid()}"
        self.docker("network", "create", self.network)
        self.http, self.api, self.process, self.apps = free_port(), free_port(), None, set()
        self.restart()

    def docker(self, *words):
        return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()

    def restart(self):
        if self.process:
            end(self.process)
        self.process = start([
            ROOT / "target/compare-venv/bin/traefik", f"--entrypoints.web.address=127.0.0.1:{self.http}",
            f"--entrypoints.traefik.address=127.0.0.1:{self.api}", "--api.insecure=true",
            f"--providers.docker.network={self.network}", "--providers.docker.exposedByDefault=false",
            f"--providers.docker.constraints=Label(`berth.compare`,`{os.getpid()}`)",
            "--providers.providersThrottleDuration=100ms", "--log.level=ERROR"])
        until(lambda: listens(self.http), "Traefik listens")

    def start(self, port=None):
        name = f"berth-compare-{servers.free_port()}-{time.monotonic_ns()}"
        identity = self.docker(
            "run", "-d", "--init", "--network", self.network, "-e", f"NAME={name}", "-e", "PORT=3128",
            "-l", "traefik.enable=true", "-l", f"berth.compare={os.getpid()}",
            "-l", "traefik.http.routers.webapp.rule=Host(`webapp`)",
            "-l", "traefik.http.services.webapp.loadbalancer.server.port=3128", "berth-compare")
        address = self.docker(
            "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", identity)
        self.apps.add(identity)
        # The app listens a moment after its start, long before `docker run` returns.
        began = self.docker("inspect", "-f", "{{.State.StartedAt}}", identity)
        began = datetime.datetime.fromisoformat(began[:26].rstrip("Z") + "+00:00").timestamp()
        return Container(identity, address, time.monotonic() - (time.time() - began))

    def stop(self, app):
        self.terminate(app)
        self.docker("wait", app.identity)
        self.discard(app)

    def terminate(self, app):
        self.docker("kill", "--signal", "TERM", app.identity)

    def discard(self, app):
        self.docker("rm", "-f", app.identity)
        self.apps.discard(app.identity)

    def urls(self):
        try:
            api = f"http://127.0.0.1:{self.api}/api/http/services"
            with urllib.request.urlopen(api, timeout=5) as answer:
                services = json.load(answer)
        except OSError:
            # It has just started.
            return set()
        return {url for service in services if service["name"] == "webapp@docker"
                for url in service.get("serverStatus", {})}

    def out(self, app):
        return f"http://{app.host}:3128" not in self.urls()

    def rotation(self):
        return len(self.urls())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        for identity in list(self.apps):
            self.docker("rm", "-f", identity)
        self.docker("network", "rm", self.network)
        shutil.rmtree(self.dir)


class Container:
    def __init__(self, identity, host, listening):
        self.identity, self.host, self.port, self.listening = identity, host, 3128, listening


WAYS = {
    "Berth": lambda: Slots([BERTH, "--"]),
    "bash and socat": lambda: Slots([SCRIPT]),
    "HAProxy's DNS": Dns,
    "Traefik": Traefik,
}
