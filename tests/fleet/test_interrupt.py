"""Ctrl-C reaches the command, whichever greenlet runs, and waits for the end of a step."""

import signal

import gevent
import pytest

from fleet.interrupt import Interrupts


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_ends_the_command_and_not_one_greenlet(capfd: pytest.CaptureFixture[str]) -> None:
    went_on = []

    def host() -> None:
        press()
        went_on.append(True)

    with Interrupts(), pytest.raises(KeyboardInterrupt):
        gevent.joinall([gevent.spawn(host), gevent.spawn(gevent.sleep, 60)])
    assert went_on == [True]
    assert capfd.readouterr().err == ""


def test_the_first_one_waits_for_the_end_of_a_step() -> None:
    told: list[bool] = []
    finished = []

    def step(interrupts: Interrupts) -> None:
        with interrupts.after_this():
            press()
            finished.append(True)

    with Interrupts(lambda: told.append(True)) as interrupts:
        with pytest.raises(KeyboardInterrupt):
            step(interrupts)
        with interrupts.after_this():
            pass  # it has been said once
    assert (told, finished) == ([True], [True])


def test_the_second_one_does_not() -> None:
    def step(interrupts: Interrupts) -> None:
        with interrupts.after_this():
            press()
            press()
            pytest.fail("went on")

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        step(interrupts)


def test_a_handler_of_somebody_elses_stays() -> None:
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        with Interrupts():
            press()
        assert pressed == [True]
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
