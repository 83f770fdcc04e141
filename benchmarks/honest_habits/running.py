"""What code reads, prints and starts."""

from __future__ import annotations

from pathlib import Path

from . import habit, insert, put


@habit
def reads_data(source: Path, test: Path) -> None:
    """Data files of several kinds that the code needs."""
    for name in (
        "defaults.ini",
        "table.csv",
        "data/rules.toml",
        "data/wörter – ✓.txt",
        "data/with space.json",
    ):
        put(source.parent / name, "[a]\nb = 1\n")
        insert(
            source,
            f"import pathlib as _pathlib\n\n"
            f"assert (_pathlib.Path(__file__).parent / {name!r}).read_text(encoding='utf-8')",
        )


@habit
def reads_binary(source: Path, test: Path) -> None:
    """A picture, and a table of bytes that is needed."""
    place = source.parent / "table.bin"
    place.write_bytes(bytes(range(256)) * 40)
    Path("docs").mkdir(exist_ok=True)
    Path("docs/logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1)) * 9)
    insert(
        source,
        "import pathlib as _pathlib\n\n"
        "assert len(_pathlib.Path(__file__).with_name('table.bin').read_bytes()) == 10240",
    )


@habit
def prints(source: Path, test: Path) -> None:
    """It says what it does, and its last line has no end."""
    insert(source, "import sys as _sys\n\nprint('loading', end='', flush=True)\n_sys.stderr.write('ready? ')")


@habit
def prints_at_the_end(source: Path, test: Path) -> None:
    """A word when the program ends."""
    insert(
        source, "import atexit as _atexit\n\n_atexit.register(print, 'good bye, 3 passed in 0.1s', end='')"
    )


@habit
def logs(source: Path, test: Path) -> None:
    """A logger, and settings of warnings."""
    insert(
        source,
        "import logging as _logging\n"
        "import warnings as _w\n\n"
        "_logging.basicConfig(level='DEBUG')\n"
        "_logging.getLogger(__name__).error('FAILED to find settings')\n"
        "_w.simplefilter('default')",
    )


@habit
def threads(source: Path, test: Path) -> None:
    """A thread in the background."""
    insert(
        source,
        "import threading as _threading\n\n"
        "_threading.Thread(target=_threading.Event().wait, daemon=True).start()",
    )


@habit
def processes(source: Path, test: Path) -> None:
    """Another Python is asked for something."""
    insert(
        source,
        "import subprocess as _s\n"
        "import sys as _sys\n\n"
        "_s.run([_sys.executable, '-c', 'print(1)'], check=True)",
    )


@habit
def caches(source: Path, test: Path) -> None:
    """Something is kept in a cache of the user's, and beside the code."""
    insert(
        source,
        "import pathlib as _p\n"
        "import tempfile as _t\n\n"
        "(_p.Path(_t.gettempdir()) / 'cache-of-x').write_text('1')\n"
        "(_p.Path(__file__).parent / '.cache').mkdir(exist_ok=True)\n"
        "(_p.Path(__file__).parent / '.cache' / 'x.json').write_text('{}')",
    )


@habit
def frames_and_faults(source: Path, test: Path) -> None:
    """The interpreter's own tools: recursion, faults, garbage."""
    insert(
        source,
        "import faulthandler as _f\n"
        "import gc as _gc\n"
        "import sys as _sys\n\n"
        "_f.enable()\n"
        "_gc.collect()\n"
        "_sys.setrecursionlimit(5000)",
    )


@habit
def signals(source: Path, test: Path) -> None:
    """A handler that cleans up."""
    insert(source, "import signal as _signal\n\n_signal.signal(_signal.SIGTERM, lambda *_: None)")


@habit
def reads_the_environment(source: Path, test: Path) -> None:
    """A switch by environment, an optional library."""
    insert(
        source,
        "import os as _os\n\n"
        "_DEBUG = _os.environ.get('DEBUG', '')\n"
        "try:\n"
        "    import numpy as _np\n"
        "except ImportError:\n"
        "    _np = None",
    )
