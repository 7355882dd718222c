"""A gRPC peer of another stack: Python's grpcio, and code that grpcio-tools generates
from proto/. It plays Ppoppo (a server that the worker dials) and Pushwoosh (a client of
the worker's push entrance), so that nothing but the schemas is shared with the worker.

    python tests/peer play --events N --ledger FILE --caller SOURCE=TOKEN ..
        [--push SOURCE=HOST:PORT --authorization VALUE] [--hold-at N] [--reflection]
    python tests/peer look --at HOST:PORT

`play` speaks as the emulator does: it says where it listens, waits for a line on stdin
(a second one ends the hold), says when it is done, and ends with its stdin:

    {"listening": {"ppoppo": "127.0.0.1:41234"}}
    {"held": {"at": 5000}}
    {"done": true, "ppoppo": {..}, "pushwoosh": {..}}

The ledger has the emulator's form, one line for each distinct event.

Layout: events (what is played), ppoppo_server, pushwoosh_client, ledger; look asks a
server for its health and its reflection.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading

import grpc

import events
import ledger
import look
from ppoppo_server import Server
from pushwoosh_client import Client

BAD_SETTINGS = 64
# How often a wait looks up, in seconds.
TURN = 0.02


def say(**line: object) -> None:
    """One JSON line; flushed, for somebody waits for it."""
    print(json.dumps(line), flush=True)


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peer", description="a gRPC peer of another stack")
    commands = parser.add_subparsers(dest="command", required=True)

    play = commands.add_parser("play", help="stream events out, push events in")
    play.add_argument("--events", type=int, required=True, help="distinct events of each provider")
    play.add_argument("--ledger", required=True, help="where the ledger goes")
    play.add_argument("--caller", type=pair, action="append", default=[],
                      help="a source that dials, and its bearer token")
    play.add_argument("--hold-at", type=int, default=0,
                      help="stop before that event of the stream until told to go on")
    play.add_argument("--reflection", action="store_true", help="the server offers reflection")
    play.add_argument("--push", type=pair, help="a source to push to, and the worker's address")
    play.add_argument("--authorization", default="", help="the whole authorization metadata")

    looked = commands.add_parser("look", help="ask a server for its health and its services")
    looked.add_argument("--at", required=True, help="HOST:PORT")

    options = parser.parse_args()
    if options.command == "play" and options.push and not options.authorization:
        parser.exit(BAD_SETTINGS, "peer: --push needs --authorization\n")
    return options


def play(options: argparse.Namespace) -> None:
    on = threading.Semaphore(0)
    gone = threading.Event()

    def listen() -> None:
        for _ in sys.stdin:
            on.release()
        gone.set()
        # Whoever waits for a line waits no more.
        on.release(2)

    server = Server(
        log=events.ppoppo(options.events),
        callers={f"Bearer {token}": source for source, token in options.caller},
        hold_at=options.hold_at,
        reflects=options.reflection,
    )
    say(listening={"ppoppo": server.start()})
    threading.Thread(target=listen, daemon=True).start()
    try:
        on.acquire()
        server.begin()
        run(options, server, on, gone)
    finally:
        # Its threads would keep a failure from being told.
        server.stop()


def run(
    options: argparse.Namespace, server: Server, on: threading.Semaphore, gone: threading.Event
) -> None:
    """From the start line to the end of stdin, which ends every wait."""
    pushed = None
    if options.push and not gone.is_set():
        source, at = options.push
        pushed = Client(source, at, options.authorization, events.pushwoosh(options.events))
        pushed.start()
    if options.hold_at:
        while not (server.is_held() or gone.wait(TURN)):
            pass
        if not gone.is_set():
            say(held={"at": options.hold_at})
        on.acquire()
        server.go_on()
    while not (server.is_done() and (pushed is None or pushed.is_done()) or gone.wait(TURN)):
        pass
    if gone.is_set():
        return
    counts = {"ppoppo": server.counts()}
    lines = list(server.ledger())
    if pushed is not None:
        pushed.check()
        counts["pushwoosh"] = pushed.counts()
        lines += pushed.ledger()
    ledger.write(options.ledger, lines)
    say(done=True, **counts)
    gone.wait()


def main() -> None:
    options = arguments()
    if options.command == "look":
        with grpc.insecure_channel(options.at) as channel:
            say(**look.at(channel))
    else:
        play(options)


if __name__ == "__main__":
    main()
