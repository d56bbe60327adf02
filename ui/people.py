"""Who sits at which browser: a cookie names the browser, and what that browser signed in with stays on the server.

Nobody's key is ever used for anybody else: a browser without a key makes its calls without one, which a gateway on the
same machine may allow and any other refuses.
"""

import secrets
import ssl
import threading
from collections import OrderedDict
from collections.abc import Mapping

from ui.gate import Gate

COOKIE = "ruminate_browser"
REMEMBERED = 10_000  # browsers with a key; the one that came longest ago signs in again


class People:
    """Browsers and their keys, in this process's memory only: a restart asks everybody to sign in again."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._tls = ssl.create_default_context()
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def new_browser() -> str:
        """A name that cannot be guessed."""
        return secrets.token_urlsafe(24)

    def browser(self, cookies: Mapping[str, str]) -> str:
        """The browser's name, from its cookie. A request without one gets a name that nobody else has."""
        return cookies.get(COOKIE) or self.new_browser()

    def gate(self, browser: str) -> Gate:
        """The gateway as this browser's person sees it."""
        with self._lock:
            key = self._keys.get(browser)
            if key is not None:
                self._keys.move_to_end(browser)
        return Gate(self._gateway, key, self._tls)

    def signed_in(self, browser: str) -> bool:
        """Whether this browser has given a key."""
        return browser in self._keys

    def with_key(self, key: str) -> Gate:
        """The gateway as the owner of `key` sees it, to try a key out."""
        return Gate(self._gateway, key, self._tls)

    def sign_in(self, browser: str, key: str) -> str:
        """Remember the key; the browser has a new name from now on, for what went by the old one is somebody else's."""
        new = self.sign_out(browser)
        with self._lock:
            self._keys[new] = key
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)
        return new

    def sign_out(self, browser: str) -> str:
        """Forget the key, and give the browser a new name."""
        with self._lock:
            self._keys.pop(browser, None)
        return self.new_browser()
