"""A gRPC peer of another stack: Python's grpcio, and code that grpcio-tools generates. It
plays Ppoppo (a server that the worker dials, from a schema of its own) and Pushwoosh (a
client of the worker's push entrance, from proto/).

    python tests/peer play --events N --ledger FILE --caller SOURCE=TOKEN ..
        [--push SOURCE=HOST:PORT --authorization VALUE] [--hold-at N] [--reflection] ..
    python tests/peer look --at HOST:PORT
    python tests/peer burst --at HOST:PORT --authorization VALUE --events N

`play` speaks as the emulator does: it says where it listens, waits for a line on stdin,
says when it holds and when it is done, and ends with its stdin:

    {"listening": {"ppoppo": "127.0.0.1:41234"}}          (and "oauth", with --client)
    {"held": {"at": 5000}}         (or {"message": 300}, {"status": 3}: see the options --hold-)
    {"done": true, "ppoppo": {..}, "pushwoosh": {..}}

Of the lines after the first, `window N` lets no more than the newest N entries of each
stream be replayed; `alone` ends a hold of each stream, after which nobody is waited for until
the next one; any other line ends a hold. Events happen only once every caller has opened a
stream.

The ledger has the emulator's form, one line for each distinct event; so has the list of
send requests with their recipients.

Layout: events (what is played), log (what has happened of it), send_requests (what is known
of each), access (tokens), ppoppo_server, pushwoosh_client, ledger; look asks a server for
its health and its reflection; burst pushes the smallest events on one stream.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading

import grpc

import burst
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
    play.add_argument("--messages", type=int, default=0, help="messages of the second stream")
    play.add_argument("--ledger", required=True, help="where the ledger goes")
    play.add_argument("--requests", help="where the list of send requests goes")
    play.add_argument("--caller", type=pair, action="append", default=[],
                      help="a source that dials, and its bearer token")
    play.add_argument("--channel-caller", type=pair, action="append", default=[],
                      help="a source that dials the second stream, and its bearer token")
    play.add_argument("--hold-at", type=int, action="append", default=[],
                      help="let that event of the stream happen when told to go on")
    play.add_argument("--hold-message-at", type=int, action="append", default=[],
                      help="let that message of the second stream happen when told to go on")
    play.add_argument("--keep-alive", type=float, default=20,
                      help="how often a quiet stream shows that it lives, in seconds")
    play.add_argument("--exhaust", type=int, default=0,
                      help="refuse so many streams with RESOURCE_EXHAUSTED")
    play.add_argument("--exhaust-status-every", type=int, default=0,
                      help="refuse each so manieth GetSendRequestStatus with it")
    play.add_argument("--hold-status-at", type=int, default=0,
                      help="answer that GetSendRequestStatus when told to go on")
    play.add_argument("--client", type=pair, action="append", default=[],
                      help="a source that fetches tokens, by its name and this secret")
    play.add_argument("--resource", default="",
                      help="what a token must be asked for (default: the server's own URL)")
    play.add_argument("--scope", default="chat.read chat.send", help="the scope of every grant")
    play.add_argument("--refuse-tokens", type=int, default=0,
                      help="refuse so many calls with a token that was fetched")
    play.add_argument("--only-service", default="",
                      help="serve the first service under this older name, and nothing else")
    play.add_argument("--reflection", action="store_true", help="the server offers reflection")
    play.add_argument("--push", type=pair, help="a source to push to, and the worker's address")
    play.add_argument("--authorization", default="", help="the whole authorization metadata")

    looked = commands.add_parser("look", help="ask a server for its health and its services")
    looked.add_argument("--at", required=True, help="HOST:PORT")

    pushed = commands.add_parser("burst", help="push the smallest events on one stream")
    pushed.add_argument("--at", required=True, help="HOST:PORT")
    pushed.add_argument("--authorization", required=True, help="the whole authorization metadata")
    pushed.add_argument("--events", type=int, required=True, help="distinct events")

    options = parser.parse_args()
    if options.command == "play" and options.push and not options.authorization:
        parser.exit(BAD_SETTINGS, "peer: --push needs --authorization\n")
    return options


def play(options: argparse.Namespace) -> None:
    news: queue.Queue[dict[str, object]] = queue.Queue()
    started = threading.Event()
    gone = threading.Event()
    server = Server(options, lambda **line: news.put(line))

    def listen() -> None:
        for line in sys.stdin:
            word, _, number = line.strip().partition(" ")
            if not started.is_set():
                started.set()
            elif word == "window":
                server.set_window(int(number))
            else:
                server.go_on(alone=word == "alone")
        gone.set()
        # Whoever waits for a line waits no more.
        started.set()

    say(listening=server.start())
    threading.Thread(target=listen, daemon=True).start()
    try:
        started.wait()
        if not gone.is_set():
            server.begin()
            run(options, server, news, gone)
    finally:
        # Its threads would keep a failure from being told.
        server.stop()


def run(
    options: argparse.Namespace, server: Server, news: queue.Queue, gone: threading.Event
) -> None:
    """From the start line to the end of stdin, which ends every wait."""
    pushed = None
    if options.push:
        source, at = options.push
        pushed = Client(source, at, options.authorization, events.pushwoosh(options.events))
        pushed.start()
    done = False
    while not gone.is_set():
        try:
            say(**news.get(timeout=TURN))
            continue
        except queue.Empty:
            pass
        if not done and server.is_done() and (pushed is None or pushed.is_done()):
            done = True
            finish(options, server, pushed)


def finish(options: argparse.Namespace, server: Server, pushed: Client | None) -> None:
    counts = {"ppoppo": server.counts()}
    lines = list(server.ledger())
    if pushed is not None:
        pushed.check()
        counts["pushwoosh"] = pushed.counts()
        lines += pushed.ledger()
    ledger.write(options.ledger, lines)
    if options.requests:
        ledger.write(options.requests, server.outcomes())
    say(done=True, **counts)


def main() -> None:
    options = arguments()
    if options.command == "look":
        with grpc.insecure_channel(options.at) as channel:
            say(**look.at(channel))
    elif options.command == "burst":
        say(**burst.push(options.at, options.authorization, options.events))
    else:
        play(options)


if __name__ == "__main__":
    main()
