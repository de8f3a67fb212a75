"""What a Django project on LiteFS adds to its settings: `from litefs_settings import *`. Django 5.1 or later."""

import os

LITEFS_DIR = os.environ.get("LITEFS_DIR", "/litefs")

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{LITEFS_DIR}/app.db",
        "OPTIONS": {
            "timeout": 5,
            # Says at BEGIN, not in the middle, that this node is a replica; and two writers wait instead of failing.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

# Sessions in the database would be written by reads too.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

LITEFS_MIDDLEWARE = ["litefs_middleware.LiteFSMiddleware"]  # MIDDLEWARE = LITEFS_MIDDLEWARE + [...]
