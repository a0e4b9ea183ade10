"""The workers of one run compile each kernel once: who comes second waits for the first, and loads
what it compiled.
"""

import fcntl
import hashlib

from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher


def share_compilation(folder):
    """Let the processes that call this compile one after the other what numba keeps on disk, a lock
    in the folder for each function.

    A function is compiled while those that call it are, and never the other way round, so no two
    processes wait for each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compiled, held = Dispatcher.compile, set()

    def compile_once(self, signature):
        path = getattr(self._cache, "cache_path", None)
        name = f"{path}/{self.py_func.__qualname__}-{self.py_func.__code__.co_firstlineno}"
        with global_compiler_lock:  # before the file, as numba holds it while it compiles a kernel
            if path is None or name in held:
                return compiled(self, signature)
            with (folder / hashlib.sha256(name.encode()).hexdigest()[:16]).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                held.add(name)
                try:
                    return compiled(self, signature)
                finally:
                    held.discard(name)
                    # also for processes that were forked meanwhile
                    fcntl.flock(lock, fcntl.LOCK_UN)

    Dispatcher.compile = compile_once
