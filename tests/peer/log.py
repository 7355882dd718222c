"""What happens, one entry after another, and how much of it can be replayed."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable

# How far the log runs ahead of whoever follows it furthest.
AHEAD = 500
AT_ONCE = 25


class Log:
    """The entries are known from the beginning; those before `edge` have happened, and have
    an id. A cursor is any ULID, and is compared. A stream without a cursor begins at the edge,
    so nothing happens before everybody follows."""

    def __init__(
        self,
        entries: list,
        happen: Callable[[object, int], str],
        followers: Iterable[str],
        holds: Iterable[int] = (),
        tell: Callable[[object], None] = lambda entry: None,
        held: Callable[[int], None] = lambda at: None,
    ) -> None:
        self.entries = entries
        self._happen = happen
        self._ids: list[str] = []
        self._holds = sorted(holds)
        self._tell = tell
        self._held = held
        self._changed = threading.Condition()
        self.edge = 0
        # Entries that the streams of each follower have passed; None before the first one.
        self._passed: dict[str, int | None] = dict.fromkeys(followers)
        self._window: int | None = None
        # Goes on whether or not anybody follows.
        self._alone = False
        self._reached = 0
        self._released = 0
        self._stopped = False

    def place_after(self, cursor: str) -> int:
        """The place of the first entry after it; the edge if none has happened."""
        return bisect.bisect_right(self._ids, cursor)

    def id_at(self, place: int) -> str:
        return self._ids[place]

    def begin(self, follower: str, cursor: str | None) -> tuple[int, int, bool]:
        """Where a stream begins, where the edge is then, and whether its cursor has expired."""
        with self._changed:
            place = self.edge
            expired = False
            if cursor is not None:
                after = self.place_after(cursor)
                oldest = 0 if self._window is None else self.edge - self._window
                expired = after < oldest
                place = self.edge if expired else after
            self._pass(follower, min(place, self.edge))
            return place, self.edge, expired

    def passed(self, follower: str, place: int) -> None:
        with self._changed:
            self._pass(follower, place)

    def _pass(self, follower: str, place: int) -> None:
        self._passed[follower] = max(place, self._passed[follower] or 0)
        # Not each time: whoever waits would be woken for nothing.
        if place % AT_ONCE == 0 or place == self.edge:
            self._changed.notify_all()

    def wait_beyond(self, place: int, seconds: float) -> bool:
        """Whether an entry at this place has happened, at the latest after so long."""
        with self._changed:
            return self._changed.wait_for(lambda: self.edge > place or self._stopped, seconds)

    def is_done(self) -> bool:
        """Whether every follower has passed the last entry."""
        with self._changed:
            return all(passed == len(self.entries) for passed in self._passed.values())

    def set_window(self, window: int) -> None:
        with self._changed:
            self._window = window

    def go_on(self, alone: bool) -> None:
        """Ends one hold; `alone`: until the next one nobody is waited for."""
        with self._changed:
            # Not in advance.
            self._released = min(self._released + 1, self._reached)
            self._alone = alone
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._released = len(self._holds)
            self._changed.notify_all()

    def produce(self) -> None:
        """Lets everything happen; a thread of its own."""
        for number, hold in enumerate([*self._holds, len(self.entries)]):
            while self.edge < min(hold, len(self.entries)):
                with self._changed:
                    self._changed.wait_for(self._may_go_on)
                    if self._stopped:
                        return
                    new = min(self.edge + AT_ONCE, hold, len(self.entries))
                    for place in range(self.edge, new):
                        entry = self.entries[place]
                        self._ids.append(self._happen(entry, place))
                        self._tell(entry)
                    self.edge = new
                    self._changed.notify_all()
            if number < len(self._holds):
                with self._changed:
                    self._reached = number + 1
                self._held(hold)
                with self._changed:
                    self._changed.wait_for(lambda: self._released > number or self._stopped)

    def _may_go_on(self) -> bool:
        followed = list(self._passed.values())
        if self._alone or self._stopped or not followed:
            return True
        if None in followed:
            return False
        return max(followed) >= self.edge - AHEAD
