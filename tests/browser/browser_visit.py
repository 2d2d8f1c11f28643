"""A page of the dashboard in Chromium, and everything that went wrong in it."""

from playwright.sync_api import Page


class Visit:
    """A page of the dashboard, and everything that went wrong in it."""

    def __init__(self, page: Page, root: str) -> None:
        self.page, self._root = page, root
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.problems.append(line.text))
        page.on("request", lambda request: self._check_host(request.url))

    def _check_host(self, url: str) -> None:
        if not url.startswith((self._root, "blob:", "data:")):
            self.problems.append(f"a request to {url}")

    def open(self, address: str) -> Page:
        """`address`: what stands after `#/`."""
        self.page.goto(f"{self._root}/#/{address}")
        self.page.wait_for_selector("main h1")
        return self.page
