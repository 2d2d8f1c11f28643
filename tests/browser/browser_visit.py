"""A page of the dashboard in Chromium, and everything that went wrong in it."""

from playwright.sync_api import Page, Request

_TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Visit:
    """A page of the dashboard, and everything that went wrong in it."""

    def __init__(self, page: Page, root: str) -> None:
        self.page, self._root = page, root
        self.problems: list[str] = []
        self._running: set[Request] = set()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.problems.append(line.text))
        page.on("request", self._begin)
        page.on("requestfinished", lambda request: self._running.discard(request))
        page.on("requestfailed", lambda request: self._running.discard(request))

    def _begin(self, request: Request) -> None:
        self._running.add(request)
        if not request.url.startswith((self._root, "blob:", "data:")):
            self.problems.append(f"a request to {request.url}")

    def open(self, address: str) -> Page:
        """`address`: what stands after `#/`."""
        self.page.goto(f"{self._root}/#/{address}")
        self.page.wait_for_selector("main h1")
        return self.page

    def open_whole(self, address: str) -> Page:
        """As `open`, with everything that the page loads: no request is running, and no part of it is being loaded."""
        page = self.open(address)
        page.evaluate(_TWO_FRAMES)  # until then the page before it may still stand there
        while self._running or page.locator("#content [role=status]").count():
            page.wait_for_timeout(100)
        return page
