"""Files that cannot grow: the nearest to a full disk that needs no root."""

import contextlib
import resource
import sys


@contextlib.contextmanager
def small_files(limit):
    """Let no file of this process grow beyond so many bytes.

    No module is compiled into a file meanwhile: Python keeps one that was written in part, and no later process could
    import that module.
    """
    (soft, hard), compiles = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = compiles
