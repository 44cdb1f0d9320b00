"""Loaded by Python itself in processes under libfaketime, which breaks the system call that ``time.sleep`` makes."""

import threading
import time


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


setattr(time, "sleep", _sleep)
