"""The daemon against a peer on an independent QUIC stack, in both directions.

Usage: checks.py LANSPREAD. `scripts/interop` sets up what it needs. Prints one line for each check, then the sum.
"""
import asyncio, json, os, pathlib, socket, struct, sys, tempfile
from blake3 import blake3
from zeroconf import ServiceBrowser, ServiceInfo, Zeroconf
from client import CHUNK, WAIT, Game, Peer, canonical, content_of, digest, text
from xxhash import xxh3_128_digest

checks = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, ok, found=""):
    checks["passed" if ok else "failed"] += 1
    print("ok    " if ok else "FAILED", name, "" if ok else f"(found: {found!r})", flush=True)


class Daemon:
    """The daemon under test, as a child process over JSON lines."""

    async def start(self, binary, root, name, *flags, listen="127.0.0.1:0"):
        self.games, self.next = root / name / "games", 0
        self.games.mkdir(parents=True, exist_ok=True)
        command = [binary, "run", "--jsonl", "--game-dir", self.games, "--state-dir", root / name / "state",
                   "--listen", listen, "--log", "warn",
                   "--set", "timers.arriving_quiet=1ms", *flags]
        self.process = await asyncio.create_subprocess_exec(*map(str, command), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24)
        ready = await self.until(lambda r: r.get("event") == "local-peer-ready")
        self.id, self.port = ready["peer_id"], int(ready["listen_addr"].rsplit(":", 1)[1])
        return self

    async def until(self, wanted):
        async def look():
            while line := await self.process.stdout.readline():
                if wanted(record := json.loads(line)):
                    return record
            raise EOFError("the daemon ended")
        return await asyncio.wait_for(look(), WAIT)

    async def run(self, cmd, **fields):
        self.next += 1
        id = self.next
        self.process.stdin.write(json.dumps({"id": id, "cmd": cmd} | fields).encode() + b"\n")
        return await self.until(lambda r: r.get("id") == id and r["type"] in ("result", "error"))

    async def stop(self):
        self.process.stdin.close()
        return await asyncio.wait_for(self.process.wait(), WAIT)


def sample(seed, version="1.0"):
    """Files of a game: nested, empty, of one chunk exactly, of several; two megabytes more than a run of chunks."""
    stream = blake3(seed.encode()).digest(length=6 * CHUNK + 5)
    return {"data/Zulu.pak": stream, "data/a b.bin": stream[:CHUNK], "data-0/ümlaut.txt": b"x", "empty.txt": b"",
            "version.ini": version.encode() + b"\n"}


def write_game(folder, files):
    for path, content in sorted(files.items(), key=lambda f: f[0] == "version.ini"):  # the sentinel comes last
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def read_game(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def apply(library, delta):
    """Section 7, rule 3. Returns False when the delta is not of the known revision."""
    if delta["epoch"] != library["epoch"] or delta["from_rev"] != library["rev"]:
        return False
    games = {g["id"]: g for g in library["games"]}
    games.update({g["id"]: g for g in delta.get("added", []) + delta.get("updated", [])})
    for id in delta.get("removed", []):
        games.pop(id, None)
    library |= {"rev": delta["to_rev"], "games": list(games.values())}
    check(f"delta to revision {delta['to_rev']} leads to its digest", digest(library["games"]) == delta["to_digest"])
    return True


async def follow(link, library, done):
    while not done({g["id"]: g for g in library["games"]}):
        note = await asyncio.wait_for(link.notes.get(), WAIT)
        if note["type"] == "LibraryDelta" and note["delta"]["to_rev"] > library["rev"]:
            check("a pushed delta follows the known revision", apply(library, note["delta"]), note["delta"]["from_rev"])


async def summary(link, wanted=lambda state: True):
    """The next state that is told by LibrarySummary and is wanted."""
    while True:
        note = await asyncio.wait_for(link.notes.get(), WAIT)
        if note["type"] == "LibrarySummary" and wanted(note["summary"]):
            return note["summary"]


async def the_client_fetches(binary, root):
    files = sample("doom")
    daemon = Daemon()
    write_game(root / "serving" / "games" / "doom", files)
    await daemon.start(binary, root, "serving", "--no-mdns")
    peer = Peer()
    link = await peer.dial(daemon.port)
    check("the id is computed from the certificate", link.other_id() == daemon.id)
    answer, _ = await link.ask({"type": "GetLibrary", "peer_id": peer.id})
    check("a request before Hello is answered hello-first", answer.get("code") == "hello-first", answer)
    hello, _ = await link.ask(peer.hello("Hello"))
    check("Hello is answered HelloAck", (hello["type"], hello["peer_id"], hello["proto_ver"]) == ("HelloAck", daemon.id, 1), hello)
    answer, _ = await link.ask(peer.hello("Hello"))
    check("a second Hello is answered bad-request", answer.get("code") == "bad-request", answer)
    pong, _ = await link.ask({"type": "Ping", "nonce": 2**64 - 1})
    check("Ping is answered Pong", pong == {"type": "Pong", "nonce": 2**64 - 1}, pong)

    answer, _ = await link.ask({"type": "GetLibrary", "peer_id": peer.id})
    library = answer["snapshot"]
    first = json.loads(json.dumps(library))
    check("a snapshot is not older than HelloAck", library["rev"] >= hello["library_rev"], library["rev"])
    await follow(link, library, lambda games: "content_hash" in games.get("doom", {}))
    write_game(daemon.games / "quake", {"version.ini": b"2"})
    await follow(link, library, lambda games: "content_hash" in games.get("quake", {}))
    ask = {"type": "GetLibraryDelta", "epoch": first["epoch"], "from_rev": first["rev"]}
    answer, _ = await link.ask(ask)
    check("GetLibraryDelta is answered", answer["type"] == "LibraryDelta" and apply(first, answer["delta"]), answer)
    check("and leads to the same library", digest(first["games"]) == digest(library["games"]))
    answer, _ = await link.ask(ask | {"epoch": "0123456789abcdef"})
    check("a delta of another epoch is answered with a snapshot", answer["type"] == "LibrarySnapshot", answer)
    answer, _ = await link.ask(ask | {"from_rev": library["rev"] + 1})
    check("a revision ahead is answered bad-request in a new epoch", answer.get("code") == "bad-request", answer)

    doom = Game("doom", files)
    theirs = next(g for g in library["games"] if g["id"] == "doom")
    same = ("id", "eti_version", "size", "downloaded", "manifest_hash", "content_hash", "availability")
    check("the summary is the one computed here", all(theirs[k] == doom.summary[k] for k in same), theirs)
    name = {"game_id": "doom", "manifest_hash": theirs["manifest_hash"]}
    manifest, raw = await link.ask({"type": "GetManifest"} | name)
    hashes = [raw[i:i + 32] for i in range(0, len(raw), 32)]
    check("the manifest hashes to manifest_hash", xxh3_128_digest(canonical(manifest["files"])).hex() == theirs["manifest_hash"])
    check("the chunk hashes lead to content_hash", content_of(manifest["files"], hashes) == theirs["content_hash"])
    check("there are as many as chunk_count", len(hashes) == manifest["chunk_count"] == len(doom.chunks), len(hashes))
    want = {"type": "GetChunks"} | name | {"content_hash": theirs["content_hash"]}
    got = []
    for at in range(0, len(hashes), 3):
        run, raw = await link.ask(want | {"first": at, "count": min(3, len(hashes) - at)})
        check(f"the run from chunk {at} has its length", run["bytes"] == len(raw) and not run["hashed"], run)
        for chunk in doom.chunks[at:at + 3]:
            got.append(raw[:len(chunk)])
            raw = raw[len(chunk):]
    check("every chunk verifies", [blake3(c).digest() for c in got] == hashes)
    copy, stream = {}, b"".join(got)
    for f in manifest["files"]:
        copy[f["path"]], stream = stream[:f["size"]], stream[f["size"]:]
    write_game(root / "copy", copy)
    check("the written copy is equal to the source", read_game(root / "copy") == read_game(daemon.games / "doom"))
    run, raw = await link.ask({k: v for k, v in want.items() if k != "content_hash"} | {"first": 1, "count": 2})
    size = len(doom.chunks[1])
    check("without content_hash each chunk is followed by its hash", run["hashed"] and raw == b"".join(
        c + blake3(c).digest() for c in doom.chunks[1:3]), (run, len(raw), size))

    count, zero = len(hashes), "0" * 64
    for name, message, code in [
            ("an unknown type", {"type": "Tomorrow"}, "unknown-type"),
            ("an unknown game", want | {"game_id": "nope", "first": 0, "count": 1}, "not-served"),
            ("another manifest", want | {"manifest_hash": zero[:32], "first": 0, "count": 1}, "changed"),
            ("another content", want | {"content_hash": zero, "first": 0, "count": 1}, "changed"),
            ("a manifest of another hash", {"type": "GetManifest", "game_id": "doom", "manifest_hash": zero[:32]}, "changed"),
            ("a count of 0", want | {"first": 0, "count": 0}, "bad-request"),
            ("a range outside of the game", want | {"first": count - 1, "count": 2}, "bad-request")]:
        answer, raw = await link.ask(message)
        check(f"{name} is answered {code}", answer.get("code") == code and not raw, answer)
    await link.send({"type": "TomorrowsNews"}, one_way=True)
    pong, _ = await link.ask({"type": "Ping", "nonce": 1})
    check("an unknown notification is ignored", pong["type"] == "Pong", pong)

    told = await summary(link)
    state = {"epoch": library["epoch"], "rev": library["rev"], "digest": digest(library["games"]), "game_count": 2}
    check("what was pushed is confirmed by LibrarySummary", told == state, told)

    second = await peer.dial(daemon.port)
    hello, _ = await second.ask(peer.hello("Hello"))
    check("HelloAck states the same library", [hello["library_" + k] for k in ("epoch", "rev", "digest")] == list(state.values())[:3], hello)
    check("a second connection of the same side replaces the first", await link.closed() == 2, link.code)
    for name, message, code in [
            ("a frame that is not JSON", text("no"), 4), ("a frame too long", struct.pack(">I", 65537), 5),
            ("a game_id that is no id", text(json.dumps(want | {"game_id": "../x", "first": 0, "count": 1})), 4)]:
        broken = await peer.dial(daemon.port)
        await broken.ask(peer.hello("Hello"))
        await broken.send(message)
        check(f"{name} closes with {code}", await broken.closed() == code, broken.code)
    for name, field, code in [("another proto_ver", {"proto_ver": 2}, 3), ("a foreign peer_id", {"peer_id": daemon.id}, 6)]:
        broken = await Peer().dial(daemon.port)
        await broken.send(broken.peer.hello("Hello", **field))
        check(f"{name} closes with {code}", await broken.closed() == code, broken.code)
    broken = await Peer().dial(daemon.port, certificate=False)
    check("a client without a certificate is refused by TLS", 0x100 <= await broken.closed() < 0x200, broken.code)
    check("the daemon ends cleanly", await daemon.stop() == 0)

    await daemon.start(binary, root, "serving", "--no-mdns")
    link = await peer.dial(daemon.port)
    check("after a restart it has the same id", link.other_id() == daemon.id)
    hello, _ = await link.ask(peer.hello("Hello"))
    check("and the same epoch", hello["library_epoch"] == library["epoch"], hello)
    ahead = {"type": "GetLibraryDelta", "epoch": library["epoch"], "from_rev": library["rev"] + 9}
    answer, _ = await link.ask(ahead)
    check("a revision ahead of an epoch of before is answered epoch-reset", answer.get("code") == "epoch-reset", answer)
    fresh = await summary(link, lambda state: state["epoch"] != library["epoch"])
    check("LibrarySummary announces a new epoch of the same games", fresh["digest"] == state["digest"], fresh)
    answer, _ = await link.ask(ahead | {"epoch": fresh["epoch"]})
    check("which is not given up for a second lie", answer.get("code") == "bad-request", answer)
    check("the daemon ends cleanly again", await daemon.stop() == 0)


async def the_daemon_fetches(binary, root):
    games = {"doom": sample("doom"), "unhashed": sample("unhashed"), "lie": sample("lie")}
    peer = Peer([Game("doom", games["doom"]), Game("unhashed", games["unhashed"], hashed=False),
                 Game("lie", games["lie"], lie=True)])
    await peer.listen()
    daemon = await Daemon().start(binary, root, "fetching", "--no-mdns", "--peer", f"127.0.0.1:{peer.port}")
    await daemon.run("wait-peers", count=1, timeout_ms=WAIT * 1000)
    peers = (await daemon.run("list-peers"))["data"]["peers"]
    check("the daemon knows us by our key", [p["peer_id"] for p in peers] == [peer.id], peers)
    check("it dialled once and said Hello first", len(peer.links) == 1 and peer.asked[0]["type"] == "Hello", peer.asked)
    check("its certificate is the one of its id", peer.links[0].other_id() == daemon.id == peer.asked[0]["peer_id"])
    for id, wanted in [("doom", "download-finished"), ("unhashed", "download-finished"), ("lie", "download-failed")]:
        answer = await daemon.run("download", game=id, install=False)
        check(f"the download of {id} is accepted", answer["type"] == "result", answer)
        end = await daemon.until(lambda r: r.get("event") in ("download-finished", "download-failed"))
        check(f"{id}: {wanted}", end["event"] == wanted, end)
        landed = read_game(daemon.games / id)
        check(f"{id}: on disk is what was sent" if id != "lie" else "lie: there is no sentinel",
              landed == games[id] if id != "lie" else "version.ini" not in landed, list(landed))
    link = peer.links[0]
    library, _ = await link.ask({"type": "GetLibrary", "peer_id": peer.id})
    check("the daemon serves what it fetched", [g["id"] for g in library["snapshot"]["games"] if g["downloaded"]] == ["doom", "unhashed"])
    check("the daemon ends cleanly", await daemon.stop() == 0)
    check("and closes with Shutdown", await link.closed() == 0, link.code)


async def they_find_each_other(binary, root):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("224.0.0.251", 5353))
            own = probe.getsockname()[0]
        except OSError as error:
            checks["skipped"] += 1
            return print("skipped: discovery, there is no multicast here:", error)
    peer, found, loop = Peer([Game("doom", sample("doom"))]), asyncio.Queue(), asyncio.get_running_loop()
    await peer.listen(own)
    mdns = await asyncio.to_thread(Zeroconf, [own])

    def seen(zeroconf, service_type, name, state_change):
        info = zeroconf.get_service_info(service_type, name) if state_change.name != "Removed" else None
        info and loop.call_soon_threadsafe(found.put_nowait, info)
    kind = "_lanspread._udp.local."
    keys = {"peer_id": peer.id, "proto_ver": "1", "library_epoch": peer.epoch, "library_rev": str(peer.rev)}
    info = ServiceInfo(kind, f"{peer.id}.{kind}", addresses=[socket.inet_aton(own)], port=peer.port, properties=keys,
                       server=f"{peer.id}.local.")
    await asyncio.to_thread(mdns.register_service, info)
    ServiceBrowser(mdns, kind, handlers=[seen])
    daemon = await Daemon().start(binary, root, "finding", listen=f"{own}:0")
    try:
        while (their := await asyncio.wait_for(found.get(), WAIT)).name != f"{daemon.id}.{kind}":
            pass
        txt = {k.decode(): v.decode() for k, v in their.properties.items()}
        check("SRV names the port of the listener", their.port == daemon.port and their.server == f"{daemon.id}.local.", their)
        check("TXT has the keys of the page", txt["peer_id"] == daemon.id and txt["proto_ver"] == "1" and
              len(bytes.fromhex(txt["library_epoch"])) == 8 and txt["library_rev"].isdigit(), txt)
        answer = await daemon.run("wait-peers", count=1, timeout_ms=WAIT * 1000)
        check("the daemon finds us by our record", answer["type"] == "result" and len(peer.links) == 1, answer)
        check("the daemon ends cleanly", await daemon.stop() == 0)
    finally:
        await asyncio.to_thread(mdns.close)


async def main():
    with tempfile.TemporaryDirectory() as folder:
        for part in (the_client_fetches, the_daemon_fetches, they_find_each_other):
            print(f"-- {part.__name__.replace('_', ' ')}", flush=True)
            try:
                await part(sys.argv[1], pathlib.Path(folder))
            except Exception as error:
                check(f"{part.__name__} came to its end", False, error)
    print(", ".join(f"{count} {what}" for what, count in checks.items()))
    return 1 if checks["failed"] else 0


sys.exit(asyncio.run(main()))
