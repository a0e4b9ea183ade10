"""Writes down which functions of headwater ran, here and in each interpreter that a law starts.

An interpreter loads it where this folder is on PYTHONPATH. LAWS_TRACE names the folder of the
records, LAWS_TEST the file in it (a law that begins sets another), LAWS_SOURCES the folder of the
functions. A function is written when it is first called: a process may be killed at any time.
"""

import os
import sys
import threading

SEEN = {}


def record():
    folder, sources = os.environ["LAWS_TRACE"], os.environ["LAWS_SOURCES"]

    def called(frame, _event, _argument):
        code = frame.f_code
        if id(code) not in SEEN:
            SEEN[id(code)] = code  # kept, so that no other one gets its id
            if code.co_filename.startswith(sources):
                text = f"{code.co_filename[len(sources) :].lstrip('/')}\t{code.co_qualname}\n"
                path = os.path.join(folder, os.environ.get("LAWS_TEST", "none"))  # noqa: PTH118
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(file, text.encode())
                os.close(file)

    threading.settrace(called)
    sys.settrace(called)


if "LAWS_TRACE" in os.environ:
    record()
