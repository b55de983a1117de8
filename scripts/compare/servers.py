"""Processes that the comparison runs, each ended with its block, and waiting for what they do."""

import contextlib
import http.client
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BERTH = ROOT / "dist/berth"
HELLO = ROOT / "dist/hello"
SCRIPT = ROOT / "examples/entrypoint-socat.sh"
DEADLINE = 60.0


given = set()


def free_port():
    """A TCP port below those of outgoing connections, free on every address, and never given before."""
    while True:
        port = random.randrange(10_000, 30_000)
        if port in given:
            continue
        given.add(port)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("0.0.0.0", port))
                return port


def until(condition, what):
    """Waits for a condition; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > DEADLINE:
            raise TimeoutError(what)
        time.sleep(0.0005)
    return time.monotonic() - began


def get(port, host="127.0.0.1", name="webapp", timeout=5, path="/"):
    """The body of a GET over a connection of its own; None unless it is answered with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": name, "Connection": "close"})
        answer = connection.getresponse()
        body = answer.read().decode()
        return body if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def listens(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


def end(process, how=signal.SIGKILL):
    """Ends a process, its session and its children, which Berth gives sessions of their own."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = children.read_text().split() if children.exists() else []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def start(words, env=None, log=subprocess.DEVNULL):
    """A process in a session of its own, with nothing but `env` and PATH."""
    env = {"PATH": os.environ["PATH"], **{k: str(v) for k, v in (env or {}).items()}}
    return subprocess.Popen([str(w) for w in words], env=env, stdin=subprocess.DEVNULL,
                            stdout=log, stderr=log, start_new_session=True)


class Haproxy:
    """HAProxy with one backend and without retries, so that what goes wrong shows."""

    def __init__(self, template, more=""):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        self.stats, self.http = free_port(), free_port()
        (self.dir / "haproxy.cfg").write_text(f"""global
  stats socket ipv4@127.0.0.1:{self.stats} level admin
  stats maxconn 400
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  retries 0
{more}
frontend web
  bind 127.0.0.1:{self.http}
  default_backend webapp
backend webapp
  balance roundrobin
  {template}
""")
        self.process = None
        self.restart()

    def restart(self):
        self.kill()
        self.process = start(["haproxy", "-db", "-f", self.dir / "haproxy.cfg"])
        until(lambda: listens(self.http), "HAProxy listens")

    def kill(self):
        if self.process:
            end(self.process)

    def ask(self, command):
        with socket.create_connection(("127.0.0.1", self.stats), 5) as stream:
            stream.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: stream.recv(65536), b"")).decode()

    def in_rotation(self):
        """The ports of the servers that get requests."""
        ports = set()
        for line in self.ask("show servers state webapp").splitlines():
            words = line.split()
            if len(words) > 18 and words[5] == "2" and not int(words[6]) & 0x2B:
                ports.add((words[4], int(words[18])))
        return ports

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.dir)


class Load:
    """Requests of 20 ms without end, each over a connection of its own, and what became of them."""

    def __init__(self, port, clients=32):
        self.port = port
        self.answers, self.over, self.began = [], False, time.monotonic()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over:
            answered = get(self.port, timeout=20, path="/sleep/20") is not None
            self.answers.append((time.monotonic() - self.began, answered))

    def finish(self):
        """A list of (second, whether it was answered)."""
        self.over = True
        for thread in self.threads:
            thread.join()
        return self.answers
