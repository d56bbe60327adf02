"""Where a stream of server-sent events is cut: what may leave at once, and the end, which waits for the record.

Works on bytes and parses no JSON. The patterns looked for can't stand inside a JSON string, where a quote is escaped.
"""

_USAGE = b'"choices":[]'  # the event that only tells token counts
_DONE = b"data: [DONE]"
_GAP = b"\n\n"


class Tail:
    """Feed it what the engine sent; it returns what may go on to the client now, byte for byte.

    `held` collects the end: the event of token counts (dropped when the client did not ask for it) and `[DONE]`.
    """

    def __init__(self, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._partial = b""
        self._held: list[bytes] = []
        self.done = False

    def feed(self, data: bytes) -> bytes:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        if not data.endswith(_GAP):
            cut = data.rfind(_GAP)
            cut = 0 if cut < 0 else cut + len(_GAP)
            data, self._partial = data[:cut], data[cut:]
        if self._held:
            return self._cut(data)
        ends = [at for at in (data.find(_USAGE), data.find(_DONE)) if at >= 0]
        if not ends:
            return data
        begin = data.rfind(_GAP, 0, min(ends))
        begin = 0 if begin < 0 else begin + len(_GAP)
        return data[:begin] + self._cut(data[begin:])

    def _cut(self, data: bytes) -> bytes:
        """The slow way, for the last few events: one by one."""
        now: list[bytes] = []
        for event in data.split(_GAP)[:-1]:
            if event.startswith(_DONE):
                self.done = True
                self._held.append(event + _GAP)
            elif _USAGE in event:
                if self._wants_usage:
                    self._held.append(event + _GAP)
            else:
                (self._held if self._held else now).append(event + _GAP)
        return b"".join(now)

    @property
    def held(self) -> bytes:
        return b"".join(self._held)
