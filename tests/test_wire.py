"""What the error answers of LLM APIs are read as; the bodies stand in data/wire, vendor by vendor."""

from __future__ import annotations

import datetime
import json
import pathlib
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmpool import errors
from llmpool.delays import retry_after
from llmpool.outcomes import classify
from llmpool.wire import read_error

DATA = pathlib.Path(__file__).parent / "data" / "wire"
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['situation']}")
    for path in sorted(DATA.glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))
]
KEY = "k3y-0f-n0body-at-all"
PROMPT = "Summarise the merger of Acme and Umbrella before Friday."

GMT = "Mon, 23 Nov 2026 01:00:00 GMT"
GMT_POSIX = datetime.datetime(2026, 11, 23, 1, tzinfo=datetime.timezone.utc).timestamp()


def read(case: dict[str, Any], **more: Any) -> errors.ProviderError:
    """Read a recorded answer."""
    body = case["text"] if "text" in case else json.dumps(case["body"])
    return read_error(case["status"], case.get("headers", {}), body.encode(), **more)


def body_of(message: object, **facts: Any) -> dict[str, Any]:
    """Give an error body in OpenAI's shape."""
    return {"error": {"message": message, **facts}}


# -- what an answer means -----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_answer(case: dict[str, Any]) -> None:
    """Its class, code, status and delay, its verdict, and its verdict for a name passed through."""
    expect = case["expect"]
    error = read(case)
    outcome = classify(error)

    assert type(error).__name__ == expect["error"]
    assert str(outcome.verdict) == expect["verdict"]
    assert (error.code, error.retry_after) == (expect["code"], expect["retry_after"])
    assert error.status == expect.get("status", case["status"])
    assert outcome.loading is expect.get("loading", False)
    assert error.sent == "answered"
    assert expect.get("shows", "") in error.message
    passed = classify(error, passed_model=True).verdict
    assert str(passed) == expect.get("passed_model", expect["verdict"])


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_answer_decoded_already(case: dict[str, Any]) -> None:
    """Bytes, text and decoded JSON are read alike: a stream's events come decoded."""
    if "text" in case:
        again = read_error(case["status"], case.get("headers", {}), case["text"])
    else:
        again = read_error(case["status"], case.get("headers", {}), case["body"])
    first = read(case)
    assert type(again) is type(first)
    assert again.__dict__ == first.__dict__


def test_errors_within_errors() -> None:
    """Gateways behind gateways: three are unwrapped, and what is left over does no harm."""
    message = "the innermost"
    for number in range(5):
        if number == 2:
            assert "the innermost" in read_error(500, {}, body_of(message)).message
        message = json.dumps(body_of(message, code=f"layer_{number}"))
    assert read_error(500, {}, message).code == "layer_4"


def test_the_message() -> None:
    """It holds the status, the API's name for the error and its words, in one line."""
    error = read_error(429, {}, body_of("Slow\ndown!", code="slow_down"))
    assert error.message == "HTTP 429: slow_down: Slow down!"
    assert read_error(200, {}, body_of("Broken")).message == "an error under HTTP 200: Broken"
    assert read_error(500, {}, b"").message == "HTTP 500"
    assert read_error(401, {}, {"error": "Unauthorized"}).message == "HTTP 401: Unauthorized"


@pytest.mark.parametrize(
    ("headers", "body", "request_id"),
    [
        ({"x-request-id": "req_1", "request-id": "req_2"}, {}, "req_1"),
        ({"request-id": "req_2"}, {"request_id": "req_3"}, "req_2"),
        ({"apim-request-id": "req_4"}, {}, "req_4"),
        ({}, {"request_id": "req_3"}, "req_3"),
        ({}, {"request_id": 3}, None),
        ({"x-request-id": "a\x1b[31mb\r\nc"}, {}, "a [31mb c"),
        ({"x-request-id": "x" * 500}, {}, "x" * 127 + "…"),
    ],
)
def test_the_request_id(headers: dict[str, str], body: Any, request_id: str | None) -> None:
    """It is the server's, from a header or the body, made fit for a log."""
    assert read_error(500, headers, body).request_id == request_id


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("code", 502, 502),
        ("code", "429", 429),
        ("status", 503, 503),
        ("status_code", 402, 402),
        ("statusCode", 401, 401),
        ("code", 200, None),
        ("code", 1300, None),
        ("code", "1300", None),
        ("code", "٤٢٩", None),
        ("code", True, None),
        ("code", 502.0, None),
        ("code", 10**30, None),
    ],
)
def test_a_number_in_a_body_under_200(field: str, value: object, status: int | None) -> None:
    """It is the status, if it can be one of an error."""
    assert read_error(200, {}, body_of("Failed.", **{field: value})).status == status


def test_a_number_in_a_body_under_an_error() -> None:
    """The answer's own status stands."""
    assert read_error(500, {}, body_of("Failed.", code=400)).status == 500


ODD_BODIES = [
    b"",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"error": ' * 50_000,
    b"null",
    b"[]",
    b"[1]",
    b"3",
    b'"words"',
    b'{"error": null, "message": null}',
    b'{"error": []}',
    b'{"error": [1]}',
    b'{"error": {"code": [], "type": {}, "message": {"a": {"b": 1}}, "details": 5}}',
    b'{"error": {"details": [1, {"violations": 2}, {"violations": [3]}], "innererror": 4}}',
    b'{"error": {"metadata": {"raw": 7}, "message": "[not JSON"}}',
    b'{"error": {"message": "[] is too short - \'messages\'"}}',
    b'{"error": {"message": [["deep", {"message": {"message": {"message": "er"}}}]]}}',
    b'{"detail": [{"loc": "body", "msg": 1}, null]}',
    b'{"error": {"code": ' + b"9" * 5000 + b"}}",
    b'{"error": {"message": "\\ud83d"}}',
    "plain words, très courtes".encode("latin-1"),
]


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
def test_a_body_of_no_known_shape(status: int, body: bytes) -> None:
    """The status decides, the message is one printable line, and nothing is raised."""
    error = read_error(status, {}, body)
    assert error.status == (None if status == 200 else status)
    assert error.message.isprintable()
    assert len(error.message) <= 300
    assert pickle.loads(pickle.dumps(error)).message == error.message


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": {"message": "[] is too short - \'messages\'"}}', "[] is too short"),
        (b'{"error": {"message": "[not JSON"}}', "[not JSON"),
        (b'{"error": {"message": [["deep", {"message": "er"}]]}}', "deep; er"),
        (b'"words"', "words"),
        ("très courtes".encode("latin-1"), "tr\N{REPLACEMENT CHARACTER}s courtes"),
        (b"\xef\xbb\xbf<html>", "an HTML page"),
    ],
)
def test_words_in_odd_places(body: bytes, shown: str) -> None:
    """What can be read for people is shown."""
    assert shown in read_error(500, {}, body).message


FIELDS = """error errors message code type details metadata raw detail loc msg innererror violations
    quotaId retryDelay status reason""".split()  # noqa: SIM905 - a list of so many would be long
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.integers(100, 599), JSON)
def test_any_json_at_all(status: int, body: Any) -> None:
    """It is read as some error of one printable line."""
    error = read_error(status, {}, body)
    assert error.message.isprintable()
    assert error.code is None or error.code.isprintable()
    assert classify(error).error is error


# -- nobody's key and nobody's prompt -----------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        body_of(f"Bad key {KEY} for: {PROMPT}"),
        body_of("Bad.", code=KEY, type=PROMPT),
        body_of("Bad.", type=f"unknown:{KEY}"),
        body_of("Bad.", code=KEY.upper(), type=KEY),
        body_of(json.dumps({"error": {"message": f"{KEY} {PROMPT}", "code": KEY}})),
        body_of("Bad.", metadata={"raw": json.dumps({"key": KEY, "message": PROMPT})}),
        body_of("Bad.", metadata={"raw": f"{KEY} said {PROMPT}"}),
        body_of({"msg": PROMPT, "loc": ["body", KEY]}),
        {"detail": [{"loc": ["body", PROMPT], "msg": KEY, "input": PROMPT}]},
        {"error": PROMPT, "code": KEY, "request_id": KEY},
        {"message": repr({"prompt": PROMPT, "key": KEY})},
        f"upstream said: {json.dumps(json.dumps([PROMPT, KEY]))}",
        f"x{KEY}x{PROMPT[:40]}",
    ],
    ids=range(13),
)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_keys_and_prompts_in_odd_places(status: int, body: Any) -> None:
    """No key and no longer run of the prompt is in an error, in whatever way it is looked at."""
    headers = {"x-request-id": f"for {KEY}", "retry-after": KEY}
    error = read_error(status, headers, body, secrets=iter([KEY]), private=iter([PROMPT]))
    outcome = classify(error)
    attempt = outcome.attempt("eu", 0.1)
    seen = [str(error), repr(error), str(attempt), repr(attempt), outcome.reason]
    seen.append(pickle.dumps(error).decode("latin-1"))
    seen.append(repr(error.__dict__))
    for text in seen:
        assert KEY not in text
        assert KEY[4:12] not in text
        assert not any(PROMPT[at : at + 12] in text for at in range(len(PROMPT) - 11))


def test_a_prompt_that_is_the_servers_own_word_for_the_error() -> None:
    """The code is kept, for it is a word of the API and decides what to do."""
    error = read_error(
        404, {}, body_of("No.", code="model_not_found"), private=["Explain model_not_found to me"]
    )
    assert error.code == "model_not_found"


def test_a_giant_body() -> None:
    """It is read in the same few characters as a short one."""
    text = "context length " + PROMPT * 100_000
    error = read_error(400, {}, json.dumps(body_of(text)).encode(), private=[PROMPT * 10_000])
    assert type(error) is errors.ContextLengthExceeded
    assert PROMPT[:12] not in error.message
    page = read_error(502, {}, b"<html>" + b"x" * 5_000_000)
    assert page.message == "HTTP 502: an HTML page"
    assert len(read_error(500, {}, b"word " * 2_000_000).message) <= 300


# -- delays -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": " 5 "}, 5.0),
        ({"retry-after": "1e3"}, 1000.0),
        ({"retry-after": "+2"}, 2.0),
        ({"retry-after": ".5"}, 0.5),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "250", "x-ms-retry-after-ms": "1"}, 0.25),
        ({"retry-after": "9", "retry-after-ms": "nan"}, 9.0),
        ({"retry-after": "9", "retry-after-ms": "0", "x-ms-retry-after-ms": "2000"}, 2.0),
    ],
)
def test_a_delay_in_numbers(headers: dict[str, str], delay: float | None) -> None:
    """Milliseconds are the finer; what makes no sense is as if absent. Nothing is clamped here."""
    assert retry_after(headers) == delay
    assert read_error(429, headers, {}).retry_after == delay


@pytest.mark.parametrize(
    "value",
    [
        "0", "0.0", "-1", "-0.5", "", " ", "soon", "nan", "inf", "-inf", "Infinity", "1e400",
        "1_000", "٥", "５", "5, 10", "5,10", "5s", "0x10", "1e", ".", "5 5", "9" * 5000, "\x00",
        "5\r\nx: y", "Mon", "Mon, 99 Foo 2026 99:99:99 GMT", "1" * 70 + " Nov 2026",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"])
def test_a_delay_that_is_none(name: str, value: str) -> None:
    """Zero, negative, endless, foreign digits, two lines in one, words: as if absent."""
    assert retry_after({name: value, "date": GMT}, wall_time=GMT_POSIX) is None


@pytest.mark.parametrize(
    ("named", "date", "wall", "delay"),
    [
        ("Mon, 23 Nov 2026 01:00:30 GMT", GMT, None, 30.0),
        ("Mon, 23 Nov 2026 01:00:30 GMT", GMT, GMT_POSIX - 3600, 30.0),
        ("Mon, 23 Nov 2026 01:00:30 GMT", None, GMT_POSIX + 10, 20.0),
        ("Mon, 23 Nov 2026 01:00:30 GMT", "nonsense", GMT_POSIX, 30.0),
        ("Mon, 23 Nov 2026 01:00:30 GMT", None, None, None),
        ("Mon, 23 Nov 2026 00:59:59 GMT", GMT, None, None),
        (GMT, GMT, None, None),
        ("Monday, 23-Nov-26 01:00:30 GMT", GMT, None, 30.0),
        ("Mon Nov 23 01:00:30 2026", GMT, None, 30.0),
        ("Mon, 23 Nov 2026 01:00:30 -0000", GMT, None, 30.0),
        ("Thu, 01 Jan 2099 01:00:00 GMT", GMT, None, 26_337 * 86_400.0),
        ("Sat, 01 Jan 99999 01:00:00 GMT", GMT, None, None),
        ("Mon, 23 Nov 2026 01:00:30 GMT" + " " * 90, GMT, None, None),
    ],
)
def test_a_delay_as_a_date(
    named: str, date: str | None, wall: float | None, delay: float | None
) -> None:
    """It counts from the answer's own Date, since the clock here may be wrong; the past is no delay."""
    headers = {"retry-after": named} | ({} if date is None else {"date": date})
    assert retry_after(headers, wall_time=wall) == delay


@pytest.mark.parametrize(
    ("asked", "delay"),
    [("27s", 27.0), ("3.700s", 3.7), ("0s", None), ("-5s", None), ("5", None), (5, None),
     ("nans", None), ("1_0s", None), ("٥s", None), ("9" * 400 + "s", None)],
)  # fmt: skip
def test_a_delay_in_the_body(asked: object, delay: float | None) -> None:
    """Google's RetryInfo counts where no header does."""
    assert retry_after({}, [{"@type": "x"}, {"retryDelay": asked}]) == delay
    assert retry_after({"retry-after": "7"}, [{"retryDelay": asked}]) == 7.0


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_delay_of_any_text(named: str, date: str) -> None:
    """It is none, or a finite number above zero; nothing is raised."""
    delay = retry_after({"retry-after": named, "date": date}, wall_time=0.0)
    assert delay is None or 0 < delay < float("inf")
