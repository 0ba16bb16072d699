#!/usr/bin/env python3
"""One download by BitTorrent for scripts/bench-lan: libtorrent (Debian: python3-libtorrent) over TCP, with its defaults but for all
that looks for other peers.

    bench-torrent.py seed FOLDER TORRENT ADDRESS PORT     makes TORRENT of FOLDER, checks it, says `ready`, and serves it until it is ended
    bench-torrent.py get TORRENT DIRECTORY ADDRESS PORT   fetches it from there into DIRECTORY; prints the seconds that it took, and the
                                                          seconds of CPU
"""

import os
import sys
import time

import libtorrent as lt

PATIENCE = 600


def session(listen):
    kinds = lt.alert.category_t
    return lt.session({
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "alert_mask": kinds.status_notification | kinds.connect_notification | kinds.storage_notification | kinds.error_notification,
    })


def add(peer, torrent, directory):
    params = lt.add_torrent_params()
    params.ti, params.save_path = torrent, directory
    # It starts at once, and not when a queue lets it.
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return peer.add_torrent(params)


def until(news, wanted):
    """Returns at the next alert of that type."""
    for alert in news:
        if isinstance(alert, wanted):
            return


def alerts(peer):
    """All alerts of a session; an error ends the program, and so does a long silence."""
    while peer.wait_for_alert(PATIENCE * 1000):
        for alert in peer.pop_alerts():
            if alert.category() & lt.alert.category_t.error_notification:
                sys.exit(f"{alert.what()}: {alert.message()}")
            yield alert
    sys.exit(f"nothing happened for {PATIENCE} seconds")


def seed(folder, torrent, address, port):
    files = lt.file_storage()
    lt.add_files(files, folder)
    made = lt.create_torrent(files)
    lt.set_piece_hashes(made, os.path.dirname(folder))
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))
    peer = session(f"{address}:{port}")
    add(peer, lt.torrent_info(torrent), os.path.dirname(folder))
    until(alerts(peer), lt.torrent_finished_alert)
    print("ready", flush=True)
    while True:
        time.sleep(3600)


def get(torrent, directory, address, port):
    peer = session("0.0.0.0:0")
    news = alerts(peer)
    add(peer, lt.torrent_info(torrent), directory).connect_peer((address, int(port)))
    # It connects at the next of its ticks, of which there are two in a second; the race begins then.
    until(news, lt.peer_connect_alert)
    start, cpu = time.monotonic(), time.process_time()
    until(news, lt.torrent_finished_alert)
    # At its end it closes the files, when the last of them is written.
    until(news, lt.cache_flushed_alert)
    print(f"{time.monotonic() - start:.3f} {time.process_time() - cpu:.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 6 or sys.argv[1] not in ("seed", "get"):
        sys.exit(__doc__)
    {"seed": seed, "get": get}[sys.argv[1]](*sys.argv[2:])
