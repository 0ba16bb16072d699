"""A peer written from docs/PROTOCOL.md alone, on an independent QUIC stack (aioquic). `checks.py` uses it."""
import asyncio, datetime, functools, hashlib, json, os, ssl, struct, uuid
from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamReset
from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from xxhash import xxh3_128_digest

CHUNK, WAIT = 1 << 20, 60


# Hashes and identity: sections 1, 7, 8 of the page.

def text(s):
    return struct.pack(">I", len(s.encode())) + s.encode()


def opt(value):
    return b"\0" if value is None else b"\1" + value


def canonical(files):
    return b"lanspread-manifest-1\n" + struct.pack(">I", len(files)) + b"".join(
        text(f["path"]) + struct.pack(">Q", f["size"]) for f in files)


def content_of(files, chunk_hashes):
    sizes = struct.pack(">II", CHUNK, len(chunk_hashes))
    return blake3(b"lanspread-content-1\n" + canonical(files) + sizes + b"".join(chunk_hashes)).hexdigest()


def digest(games):
    out = b"lanspread-library-1\n" + struct.pack(">I", len(games))
    for g in sorted(games, key=lambda g: g["id"].encode()):
        version, content = g["eti_version"], g.get("content_hash")
        out += text(g["id"]) + text(g["name"]) + opt(None if version is None else text(version))
        out += struct.pack(">QB", g["size"], g["downloaded"] | g["installed"] << 1) + bytes.fromhex(g["manifest_hash"])
        out += opt(content and bytes.fromhex(content)) + bytes([["ready", "downloading", "local_only"].index(g["availability"])])
    return xxh3_128_digest(out).hex()


def peer_id_of(certificate):
    spki = certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = bytearray(hashlib.sha256(spki).digest()[:16])
    raw[6], raw[8] = raw[6] & 15 | 0x80, raw[8] & 63 | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def identity():
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    start = datetime.datetime(2001, 1, 1)  # long over: dates mean nothing
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(1))
    return key, builder.sign(key, hashes.SHA256())


class Game:
    """A game held in memory: its files, chunks, and summary. `lie`: serves wrong bytes under right hashes."""

    def __init__(self, id, files, hashed=True, lie=False):
        self.files = [{"path": p, "size": len(b)} for p, b in sorted(files.items(), key=lambda f: f[0].encode())]
        self.chunks = [files[f["path"]][at:at + CHUNK] for f in self.files for at in range(0, f["size"], CHUNK)]
        self.hashes, self.lie = [blake3(c).digest() for c in self.chunks], lie
        self.summary = {"id": id, "name": id, "eti_version": files["version.ini"].decode().strip(), "installed": False,
                        "size": sum(f["size"] for f in self.files), "downloaded": True, "availability": "ready",
                        "manifest_hash": xxh3_128_digest(canonical(self.files)).hex()}
        if hashed:
            self.summary["content_hash"] = content_of(self.files, self.hashes)


# Transport, framing, messages: sections 3 to 6.

class Peer:
    """Who we are and what we serve; hands its state to every connection."""

    def __init__(self, games=()):
        self.key, self.certificate = identity()
        self.id, self.games = peer_id_of(self.certificate), {g.summary["id"]: g for g in games}
        self.epoch, self.rev, self.port, self.links, self.asked = os.urandom(8).hex(), len(self.games), 0, [], []

    def summaries(self):
        return [self.games[id].summary for id in sorted(self.games, key=str.encode)]

    def hello(self, type, **other):
        return {"type": type, "peer_id": self.id, "proto_ver": 1, "listen_addr": f"127.0.0.1:{self.port}",
                "library_epoch": self.epoch, "library_rev": self.rev, "library_digest": digest(self.summaries()),
                "game_count": len(self.games), "features": ["of-no-meaning"], "an-unknown-field": {"a": [1]}} | other

    def configuration(self, is_client, certificate=True):
        own = {"certificate": self.certificate, "private_key": self.key} if certificate else {}
        return QuicConfiguration(is_client=is_client, alpn_protocols=["lanspread/1"], verify_mode=ssl.CERT_NONE,
                                 max_data=64 << 20, max_stream_data=16 << 20, **own)

    async def listen(self, host="127.0.0.1"):
        server = await serve(host, 0, configuration=self.configuration(False),
                             create_protocol=functools.partial(Link, peer=self))
        self.port = server._transport.get_extra_info("sockname")[1]
        return server

    async def dial(self, port, certificate=True):
        quic = QuicConnection(configuration=self.configuration(True, certificate))
        loop = asyncio.get_running_loop()
        _, link = await loop.create_datagram_endpoint(lambda: Link(quic, peer=self), local_addr=("127.0.0.1", 0))
        link.connect(("127.0.0.1", port))
        await asyncio.wait_for(link.wait_connected(), WAIT)
        return link


class Link(QuicConnectionProtocol):
    """One connection, dialled or accepted: asks, answers, keeps notifications."""

    def __init__(self, quic, stream_handler=None, *, peer):
        super().__init__(quic, lambda r, w: asyncio.ensure_future(self.accept(r, w)))
        self.peer, self.notes, self.code, self.greeted = peer, asyncio.Queue(), None, asyncio.Event()
        peer.links.append(self)
        if not quic._is_client:  # aioquic asks for no client certificate by itself
            initialize = quic._initialize
            quic._initialize = lambda cid: (initialize(cid), setattr(quic.tls, "_request_client_certificate", True))

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.code = event.error_code
            for reader in self._stream_readers.values():
                reader.set_exception(ConnectionError(f"closed with {event.error_code}"))
        elif isinstance(event, StreamReset) and event.stream_id in self._stream_readers:
            self._stream_readers[event.stream_id].set_exception(ConnectionError(f"reset with {event.error_code}"))
        else:
            super().quic_event_received(event)

    def other_id(self):
        return peer_id_of(self._quic.tls._peer_certificate)

    async def send(self, message, raw=b"", one_way=False):
        body = message if isinstance(message, bytes) else text(json.dumps(message))
        reader, writer = await self.create_stream(one_way)
        writer.write(body + raw)
        writer.write_eof()
        return reader

    async def ask(self, message):
        """Returns the answer and the raw bytes after it."""
        answer = await asyncio.wait_for((await self.send(message)).read(), WAIT)
        size = struct.unpack(">I", answer[:4])[0]
        return json.loads(answer[4:4 + size]), answer[4 + size:]

    async def closed(self):
        await asyncio.wait_for(self.wait_closed(), WAIT)
        return self.code

    async def accept(self, reader, writer):
        try:
            frame = await reader.read()
        except ConnectionError:
            return
        message = json.loads(frame[4:])
        if writer.transport.stream_id & 2:
            return self.notes.put_nowait(message)
        self.peer.asked.append(message)
        answer, raw = self.answer(message)
        writer.write(text(json.dumps(answer)) + raw)
        writer.write_eof()

    def answer(self, m):
        error = lambda code: ({"type": "Error", "code": code, "message": ""}, b"")
        game = self.peer.games.get(m.get("game_id"))
        match m["type"]:
            case "Hello":
                if m["peer_id"] != self.other_id():
                    self.close(6)
                self.greeted.set()
                return self.peer.hello("HelloAck"), b""
            case "Ping":
                return {"type": "Pong", "nonce": m["nonce"]}, b""
            case "GetLibrary" | "GetLibraryDelta":
                snapshot = {"epoch": self.peer.epoch, "rev": self.peer.rev, "games": self.peer.summaries()}
                return {"type": "LibrarySnapshot", "peer_id": self.peer.id, "snapshot": snapshot}, b""
            case "GetManifest" | "GetChunks" if game is None:
                return error("not-served")
            case "GetManifest" | "GetChunks" if m["manifest_hash"] != game.summary["manifest_hash"]:
                return error("changed")
            case "GetManifest":
                content = game.summary.get("content_hash")
                manifest = {"type": "Manifest", "game_id": m["game_id"], "manifest_hash": m["manifest_hash"],
                            "files": game.files, "chunk_size": CHUNK, "chunk_count": len(game.chunks)}
                return manifest | ({"content_hash": content} if content else {}), b"".join(game.hashes) if content else b""
            case "GetChunks":
                if m.get("content_hash") != game.summary.get("content_hash"):
                    return error("changed")
                chunks = game.chunks[m["first"]:m["first"] + m["count"]]
                run = {"type": "ChunkRun", "first": m["first"], "count": m["count"], "bytes": sum(map(len, chunks)),
                       "hashed": "content_hash" not in m}
                wire = [bytes(len(c)) for c in chunks] if game.lie else chunks
                return run, b"".join(c + (blake3(c).digest() if run["hashed"] else b"") for c in wire)
        return error("unknown-type")
