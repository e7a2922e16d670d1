"""Programs are run, some of them in environments of their own: nothing here collects them as tests."""

from __future__ import annotations

collect_ignore_glob = ["programs/*"]
