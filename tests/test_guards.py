"""The guards of conftest.py bite: each is shown a small test that breaks it."""

from __future__ import annotations

import pathlib

import pytest

CONFTEST = pathlib.Path(__file__).with_name("conftest.py")


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep coverage.py out of the runs within these tests: under a tracer one guard may be off."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


CULPRITS = """
    import contextlib
    import logging
    import socket
    import sys
    import threading

    import pytest

    import llmpool


    class Provider:
        def complete(self, request, timeout):
            raise AssertionError("is not called")


    kept = []


    def test_leaves_a_call_in_flight():
        pool = llmpool.ProviderPool([llmpool.Deployment("eu", Provider())])
        lease = pool.lease()
        lease.__enter__()
        kept.append((pool, lease))


    def test_connects():
        with socket.socket() as sock:
            sock.connect(("192.0.2.1", 9))


    def test_looks_a_name_up_in_a_thread_that_hides_the_error():
        def look_up():
            with contextlib.suppress(OSError):
                socket.getaddrinfo("example.com", 443)

        thread = threading.Thread(target=look_up)
        thread.start()
        thread.join()


    def test_leaves_a_thread():
        threading.Thread(target=threading.Event().wait, name="llmpool-stuck", daemon=True).start()


    def test_logs_a_key():
        logging.getLogger("llmpool.any").debug("sent with %s", "zk-logged")


    def test_writes_a_key():
        print("Bearer zk-written", file=sys.stderr)


    def test_has_a_thread_that_raises():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()


    @pytest.mark.needs("no_such_part")
    def test_needs_what_is_missing():
        raise AssertionError("must not run")


    def test_asks_for_a_name_that_cannot_exist():
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("eu.invalid", 443)


    def test_talks_to_loopback():
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
"""


def test_tests_that_break_a_guard(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fails, or errs at its end, with a line that says what it did; the good ones pass."""
    # Keys of another kind here, so that this test's own output holds none of ours.
    guards = CONFTEST.read_text(encoding="utf-8").replace(r"\bsk-", r"\bzk-")
    pytester.makeconftest(guards.replace("JOIN_SECONDS = 30.0", "JOIN_SECONDS = 0.2"))
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\nlog_level = DEBUG\nmarkers = needs(*parts): real parts"
    )
    pytester.makepyfile(CULPRITS)
    monkeypatch.setenv("CI", "true")

    result = pytester.runpytest_subprocess("-ra", "-p", "no:cacheprovider", timeout=60)

    result.assert_outcomes(passed=7, failed=2, errors=7)
    for said in (
        "*in flight on eu: 1*",
        "*loopback only*192.0.2.1*",
        "*left loopback: socket.getaddrinfo 'example.com'*",
        "*thread left: llmpool-stuck*",
        "*logged or written: zk-logged*",
        "*logged or written: zk-written*",
        "*ZeroDivisionError*",
        "*no_such_part is not installed, and CI=true allows no skip*",
    ):
        result.stdout.fnmatch_lines([said])


def test_a_part_is_missing_on_a_contributors_machine(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test is skipped, and the reason names the part."""
    monkeypatch.delenv("CI", raising=False)
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = needs(*parts): real parts")
    pytester.makepyfile("import pytest\n@pytest.mark.needs('no_such_part')\ndef test(): pass")

    result = pytester.runpytest_subprocess("-ra", "-p", "no:cacheprovider", timeout=60)

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*SKIPPED*no_such_part is not installed*"])


def test_a_library_that_a_whole_file_wants(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the file is skipped; under CI=true that is an error, which names the library."""
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makepyfile("import pytest\npytest.importorskip('no_such_part')\ndef test(): pass")

    monkeypatch.delenv("CI", raising=False)
    elsewhere = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)
    monkeypatch.setenv("CI", "true")
    in_ci = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)

    elsewhere.assert_outcomes(skipped=1)
    in_ci.assert_outcomes(errors=1)
    in_ci.stdout.fnmatch_lines(["*could not import 'no_such_part'*CI=true allows no skip*"])
