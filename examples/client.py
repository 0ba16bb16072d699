#!/usr/bin/env python3
"""Asks a running lanspread for its games, or downloads one and shows how far it is.

    client.py STATE-DIR          lists the games
    client.py STATE-DIR GAME     downloads GAME

STATE-DIR is the daemon's (~/.local/state/lanspread). docs/openapi.yaml has every call and event.
"""

import json
import pathlib
import sys
import urllib.error
import urllib.request


class Daemon:
    def __init__(self, state_dir):
        control = json.loads((pathlib.Path(state_dir) / "control.json").read_text())
        self.url, self.token = control["url"], control["token"]
        # Straight to this PC, whatever proxy the environment names.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def open(self, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        return self.opener.open(urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers))

    def command(self, cmd, **fields):
        with self.open("command", {"cmd": cmd, **fields}) as answer:
            return json.load(answer)

    def events(self):
        for line in self.open("events"):
            # Other lines are comments, which show that the daemon lives, and empty.
            if line.startswith(b"data: "):
                yield json.loads(line[len(b"data: "):])


def download(daemon, game):
    events = daemon.events()
    next(events)  # The snapshot. From now on no event is missed.
    daemon.command("download", game=game, install=False)
    for event in (event for event in events if event.get("game") == game):
        match event["event"]:
            case "download-progress":
                share, rate = event["bytes"] / event["total"], event["bytes_per_second"] / 1e6
                print(f"{share:7.1%}  {rate:.1f} MB/s", flush=True)
            case "download-finished":
                return print(f"{game}: {event['bytes']} bytes in {event['duration_ms'] / 1000:.1f} s")
            case "download-failed":
                sys.exit(f"{event['code']}: {event['message']}")
    sys.exit("the daemon stopped")


if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    daemon = Daemon(sys.argv[1])
    if len(sys.argv) > 2:
        download(daemon, sys.argv[2])
    else:
        for game in daemon.command("list-games")["games"]:
            print(f"{game['id']:30} {game['size']:14} {'here' if game['downloaded'] else len(game['sources'])}")
except urllib.error.HTTPError as refused:  # Every failure is a code and a message.
    sys.exit("{code}: {message}".format(**json.load(refused)))
except OSError as error:
    sys.exit(str(error))
