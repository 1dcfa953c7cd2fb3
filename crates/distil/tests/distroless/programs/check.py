"""Python as uid 65532: the whole standard library, TLS, SQLite, ctypes, time zones, UTF-8, and no shell."""
import ctypes
import ctypes.util
import importlib
import locale
import os
import pkgutil
import pwd
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import warnings
import zoneinfo

warnings.simplefilter("ignore")
assert pwd.getpwuid(os.getuid()).pw_name == "nonroot"
assert len(ssl.create_default_context().get_ca_certs()) > 130
assert sqlite3.connect(":memory:").execute("select 1 + 1").fetchone() == (2,)
assert ctypes.CDLL("libc.so.6").getpid() == os.getpid()
assert len(zoneinfo.available_timezones()) > 550
assert zoneinfo.ZoneInfo("US/Pacific") and zoneinfo.ZoneInfo("Asia/Tokyo")
assert locale.setlocale(locale.LC_ALL, "") == "C.UTF-8"
assert sys.stdout.encoding == "utf-8" and sys.getfilesystemencoding() == "utf-8"
for name in ("python", "python3"):
    found = subprocess.run(["/usr/bin/" + name, "--version"], capture_output=True, text=True, check=True).stdout
    assert found.split()[1] == sys.version.split()[0], found
with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "fi\u00df")
    with open(path, "w") as file:
        file.write("\u00fc")
    assert os.listdir(directory) == ["fi\u00df"]
try:
    subprocess.run("true", shell=True)
    raise SystemExit("there is a shell")
except FileNotFoundError:
    pass
if sys.version_info >= (3, 13):
    assert ctypes.util.find_library("ssl") == "libssl.so.3"
    assert ctypes.util.find_library("c") == "libc.so.6"

# Of other systems, or of packages of their own in Debian.
ABSENT = {"antigravity", "ensurepip", "idlelib", "lib2to3", "msilib", "msvcrt", "nt", "this", "tkinter", "turtle",
          "turtledemo", "winreg", "winsound"}
ABSENT_PARTS = {"asyncio.windows_events", "asyncio.windows_utils", "dbm.gnu", "distutils._msvccompiler",
                "distutils.msvc9compiler", "encodings.mbcs", "encodings.oem", "multiprocessing.popen_spawn_win32"}
imported, failed = 0, []


def load(name):
    global imported
    try:
        module = importlib.import_module(name)
        imported += 1
        return module
    except Exception as error:
        failed.append((name, repr(error)))


def walk(paths, prefix):
    for info in pkgutil.iter_modules(paths, prefix):
        name = info.name
        if name in ABSENT_PARTS or name.endswith("__main__") or ".test" in name or "._" in name:
            continue
        module = load(name)
        if info.ispkg and module:
            walk(module.__path__, name + ".")


for name in sorted(sys.stdlib_module_names):
    if name in ABSENT or name.startswith("_"):
        continue
    module = load(name)
    if module and hasattr(module, "__path__"):
        walk(module.__path__, name + ".")
assert not failed, failed
assert imported > 400, imported
print("python is well:", imported, "modules")
