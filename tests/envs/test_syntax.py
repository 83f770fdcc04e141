"""Python is read in several threads at once."""

from __future__ import annotations

import argparse
import ast
import gc
import inspect
import sys
import threading

from forge_envs.syntax import parse, parse_expression


def test_threads_that_give_way_while_they_read_do_not_disturb_each_other():
    source, wrong = inspect.getsource(argparse), []
    wanted = ast.dump(ast.parse(source))

    def read():
        for _ in range(6):
            try:
                wrong.extend([] if ast.dump(parse(source)) == wanted else ["another tree"])
            except SystemError as error:
                wrong.append(error)

    def give_way(phase, info):
        for _ in range(300):  # Python code, in which another thread may go on
            pass

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    gc.callbacks.append(give_way)
    try:
        sys.setswitchinterval(1e-6)
        gc.set_threshold(200)
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(give_way)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
    assert not wrong


def test_an_expression_is_read_without_what_holds_it():
    assert isinstance(parse_expression("1 + 2"), ast.BinOp)
