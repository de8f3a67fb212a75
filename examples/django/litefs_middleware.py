"""Has Fly.io repeat requests that write on the primary: LiteFS' file .primary names it on every other node.

Needed only where litefs' own proxy is not in front of the application: that does the same, and more.
"""

from pathlib import Path

from django.conf import settings
from django.db import OperationalError
from django.http import HttpResponse

READS = {"GET", "HEAD", "OPTIONS", "TRACE"}


class LiteFSMiddleware:
    """The first in MIDDLEWARE, so that nothing has been done when a request goes elsewhere."""

    def __init__(self, get_response):
        self.get_response = get_response
        self.marker = Path(settings.LITEFS_DIR) / ".primary"

    def __call__(self, request):
        if request.method not in READS:
            primary = self.primary()
            if primary is not None:
                return replay(primary)
        return self.get_response(request)

    def process_exception(self, request, exception):
        """A view that writes although it was asked to read: nothing was written, so it can be repeated."""
        if request.method in READS and isinstance(exception, OperationalError) and "readonly" in str(exception):
            primary = self.primary()
            if primary is not None:
                return replay(primary)
        return None

    def primary(self):
        """The primary's name; None on the primary itself, and while nobody is."""
        try:
            return self.marker.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


def replay(primary):
    return HttpResponse(headers={"fly-replay": f"instance={primary}"})
