"""Makes the modules named in BLOCKED_MODULES not importable, in any process that has this folder on its path."""

import os
import sys


class _Blocked:
    def __init__(self, names):
        self._names = names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)


sys.meta_path.insert(0, _Blocked(frozenset(os.environ.get("BLOCKED_MODULES", "").split(","))))
