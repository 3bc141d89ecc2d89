"""What a pool makes of the requests of clients, over local servers."""

from __future__ import annotations

import gc
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmpool import (
    AnthropicProvider,
    AzureOpenAIProvider,
    Deployment,
    OpenAIProvider,
    ProviderPool,
    RetryPolicy,
    errors,
)
from llmpool.forwarding.answers import Answer
from llmpool.testing import (
    BadKey,
    EmptyChoices,
    EndEarly,
    ErrorBody,
    ErrorInStream,
    Exchange,
    Hang,
    Html,
    LocalServer,
    ManualClock,
    RateLimited,
    Refuse,
    Reply,
    ScriptedProvider,
    Stall,
    Status,
)
from llmpool.testing.reply import event, json_reply

KEY = "sk-of-the-deployment-0123456789"
PROMPT = "what the user wants to know"
QUICK = RetryPolicy(backoff_initial=0.0, max_wait=0.0)
JSON = ("Content-Type", "application/json")
CHAT = "/v1/chat/completions"

MakePool = Callable[..., ProviderPool]


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """The first server."""
    with LocalServer("eu", api_keys=[KEY]) as server:
        yield server


@pytest.fixture
def us() -> Iterator[LocalServer]:
    """The second server."""
    with LocalServer("us", api_keys=[KEY]) as server:
        yield server


@pytest.fixture
def pool_of() -> Iterator[MakePool]:
    """Make pools of providers called a, b, c, asked in this order, without a checker."""
    made: list[ProviderPool] = []

    def make(*providers: Any, **options: Any) -> ProviderPool:
        deployments = [
            given if isinstance(given, Deployment) else Deployment(name, given)
            for name, given in zip("abc", providers, strict=False)
        ]
        settings = {"strategy": "primary", "health_check": None, "retry": QUICK, "name": "main"}
        made.append(ProviderPool(deployments, **{**settings, **options}))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def pool(pool_of: MakePool, eu: LocalServer, us: LocalServer) -> ProviderPool:
    """A pool over both servers."""
    return pool_of(at(eu), at(us))


def at(server: LocalServer, **options: Any) -> OpenAIProvider:
    """Make the provider of a server."""
    return OpenAIProvider(server.url, **{"api_key": KEY, "model": "tiny", **options})


def post(
    pool: ProviderPool, target: str = CHAT, timeout: float | None = None, **body: Any
) -> Answer:
    """Post what a client would."""
    asked = {"model": "tiny", "messages": [{"role": "user", "content": PROMPT}], **body}
    return pool.forward("POST", target, [JSON], json.dumps(asked).encode(), timeout=timeout)


def get(pool: ProviderPool, target: str) -> Answer:
    """Get what a client would."""
    return pool.forward("GET", target, [], None)


def headers(answer: Answer) -> dict[str, str]:
    """Give header fields by their names in lower case."""
    return {name.lower(): text for name, text in answer.headers}


def read(answer: Answer) -> Any:
    """Read an answer to its end."""
    return json.loads(b"".join(answer))


def error_of(answer: Answer) -> dict[str, Any]:
    """Give the error that an answer tells."""
    error = read(answer)["error"]
    assert isinstance(error, dict)
    return error


def answering(*replies: Reply) -> Callable[[Exchange], None]:
    """Behave so: one reply after the other, the last one over and over."""
    left = list(replies)
    return lambda exchange: exchange.send(left.pop(0) if len(left) > 1 else left[0])


# -- whole answers ------------------------------------------------------------------------------


def test_a_whole_answer(pool: ProviderPool, eu: LocalServer) -> None:
    """It is the server's own, with what tells of the pool, and booked as every success."""
    answer = post(pool)
    fields = headers(answer)
    assert answer.status == 200
    assert fields["x-llmpool-deployment"] == "a"
    assert fields["x-llmpool-attempts"] == "1"
    assert fields["x-request-id"] == "req-eu-1"
    whole = b"".join(answer)
    assert int(fields["content-length"]) == len(whole)
    assert "connection" not in fields
    assert json.loads(whole)["choices"][0]["message"]["content"] == f"echo: {PROMPT}"
    status = pool.health("a")
    assert (status.total_requests, status.requests_in_flight, status.input_tokens) == (1, 0, 6)
    answer.close()


def test_the_body_that_is_sent(pool: ProviderPool, eu: LocalServer) -> None:
    """It is the client's, byte for byte; the key is the deployment's."""
    body = b'{ "model":"tiny" ,"messages":[{"role":"user","content":"\\u00e9"}], "n": 1.0 }'
    own = [JSON, ("Authorization", "Bearer own"), ("OpenAI-Beta", "x")]
    pool.forward("POST", CHAT, own, body)
    sent = eu.requests[0]
    assert sent.body == body
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["openai-beta"] == "x"


def test_the_models_name(pool_of: MakePool, eu: LocalServer, us: LocalServer) -> None:
    """It is each deployment's own; only those that know it are asked."""
    pool = pool_of(
        Deployment("a", at(eu), models={"quick": "x"}),
        Deployment("b", at(us), models={"smart": "us-model"}),
    )
    assert read(post(pool, model="smart"))["model"] == "us-model"
    answer = post(pool, model="other")
    assert answer.status == 404
    assert error_of(answer)["code"] == "model_not_found"
    assert eu.hits() == 0


def test_a_header_of_the_providers_own(pool_of: MakePool, eu: LocalServer) -> None:
    """It takes the place of the client's."""
    pool = pool_of(at(eu, headers={"X-Team": "ours"}))
    pool.forward("POST", CHAT, [JSON, ("x-team", "theirs"), ("x-more", "theirs")], b"{}")
    sent = eu.requests[0].headers
    assert (sent["x-team"], sent["x-more"]) == ("ours", "theirs")


def test_a_key_that_has_changed(pool_of: MakePool, eu: LocalServer) -> None:
    """A function is asked for it once more after a 401."""
    keys = iter(["sk-old-0123456789", KEY])
    answer = post(pool_of(at(eu, api_key=lambda: next(keys))))
    assert answer.status == 200
    assert eu.hits() == 2


@pytest.mark.parametrize(
    "behaviour",
    [Refuse(), Html(), EmptyChoices(), ErrorBody(), Status(500), RateLimited(), BadKey()],
    ids=lambda given: type(given).__name__,
)
def test_one_that_answers_badly(pool: ProviderPool, eu: LocalServer, behaviour: Any) -> None:
    """Another is asked."""
    eu.behave(behaviour)
    answer = post(pool)
    assert (answer.status, headers(answer)["x-llmpool-attempts"]) == (200, "2")
    assert headers(answer)["x-llmpool-deployment"] == "b"
    assert pool.health("a").total_errors == 1


def test_an_error_in_a_choice(pool: ProviderPool, eu: LocalServer) -> None:
    """It is one under a 200, too."""
    failed = {"choices": [{"error": {"message": "gone", "code": 502}}]}
    eu.behave(answering(json_reply(failed)))
    assert headers(post(pool))["x-llmpool-deployment"] == "b"


def test_a_name_that_no_header_can_carry(pool_of: MakePool, eu: LocalServer) -> None:
    """It is written in ASCII."""
    answer = post(pool_of(Deployment("zürich", at(eu))))
    assert headers(answer)["x-llmpool-deployment"] == "z\\xfcrich"


# -- other pages --------------------------------------------------------------------------------


def test_pages_to_be_got(pool: ProviderPool, eu: LocalServer) -> None:
    """They go through, and prove nothing of a deployment's work."""
    answer = get(pool, "/v1/models?limit=2")
    assert read(answer)["data"][0]["id"] == "tiny"
    assert (eu.requests[0].path, eu.requests[0].query) == ("/v1/models", "limit=2")
    status = pool.health("a")
    assert (status.consecutive_successes, status.requests_in_flight) == (0, 0)


def test_a_page_that_one_does_not_have(
    pool: ProviderPool, eu: LocalServer, us: LocalServer
) -> None:
    """The next one is asked, and nobody is blamed; where nobody has it its own answer says so."""
    us.behave(answering(json_reply({"id": "f"})))
    assert read(get(pool, "/v1/files/f")) == {"id": "f"}
    us.behave(Status(404, {"error": {"message": "not here"}}))
    answer = get(pool, "/v1/files/f")
    assert answer.status == 404
    assert headers(answer)["x-should-retry"] == "false"
    assert {status.state for status in pool.all_health().values()} == {"healthy"}


def test_a_model_that_one_does_not_have(
    pool: ProviderPool, eu: LocalServer, us: LocalServer
) -> None:
    """On any page it is the model that is missing there, not the page."""
    missing = {"error": {"message": "no such model", "code": "model_not_found"}}
    eu.behave(Status(404, missing))
    us.behave(Status(404, missing))
    assert error_of(post(pool, "/v1/audio/speech")) == missing["error"]
    reasons = {each.why for each in pool.explain().values()}
    assert reasons == {"healthy"}
    assert post(pool, model="tiny").status == 404


@pytest.mark.parametrize("page", ["/v1/models/nope", "/v1/messages/batches/nope"])
def test_a_thing_that_nobody_has(
    pool_of: MakePool, eu: LocalServer, us: LocalServer, page: str
) -> None:
    """A name in the page's address is the client's own; no deployment is out for it."""
    missing = {"error": {"message": "no such thing", "type": "not_found_error"}}
    for server in (eu, us):
        server.behave(Status(404, missing))
    kind = AnthropicProvider if "messages" in page else OpenAIProvider
    pool = pool_of(*(kind(each.url, api_key=KEY, model="tiny") for each in (eu, us)))
    assert error_of(get(pool, page)) == missing["error"]
    assert (eu.hits(), us.hits()) == (1, 1)
    assert {each.why for each in pool.explain().values()} == {"healthy"}


@pytest.mark.parametrize("status", [409, 412, 415, 416])
def test_a_thing_in_another_state(pool: ProviderPool, eu: LocalServer, status: int) -> None:
    """On a page beside the main one that is no fault of the deployment's."""
    eu.behave(Status(status, {"error": {"message": "not now"}}))
    assert post(pool, "/v1/batches/b/cancel").status == status
    assert pool.health("a").total_errors == 0
    post(pool)
    assert pool.health("a").total_errors == 1


def test_a_page_without_its_main_purpose(pool: ProviderPool, eu: LocalServer) -> None:
    """A deployment that cannot chat is out, as with the pool's own calls."""
    eu.behave(Status(404, {}))
    assert post(pool, model=None).status == 200
    assert pool.health("a").state == "disabled"


def test_a_body_of_any_kind(pool: ProviderPool, eu: LocalServer) -> None:
    """Bytes go up and come down as they are, unpacked where they were packed."""
    data = bytes(range(256)) * 300
    packed = Reply(200, {"Content-Type": "audio/mpeg"}, (data,)).gzipped()
    eu.behave(answering(Reply(200, {"Content-Type": "audio/mpeg"}, (data,)), packed))
    kind = ("Content-Type", "multipart/form-data; boundary=x")
    for length in (str(len(data)), None):
        answer = pool.forward("POST", "/v1/audio/speech", [kind], b"--x\xff")
        assert headers(answer).get("content-length") == length
        assert "content-encoding" not in headers(answer)
        assert b"".join(answer) == data
    assert eu.requests[0].body == b"--x\xff"
    assert eu.requests[0].headers["content-type"] == kind[1]
    assert pool.health("a").consecutive_successes == 2


def test_a_packed_answer(pool: ProviderPool, eu: LocalServer) -> None:
    """It is unpacked on the way, and the header fields say so."""
    eu.behave(lambda exchange: exchange.send(exchange.answer().gzipped()))
    answer = post(pool)
    whole = b"".join(answer)
    assert headers(answer)["content-length"] == str(len(whole))
    assert "content-encoding" not in headers(answer)
    assert json.loads(whole)["object"] == "chat.completion"
    assert "gzip" in eu.requests[0].headers["accept-encoding"]


def test_an_empty_answer_to_a_page(pool: ProviderPool, eu: LocalServer) -> None:
    """Where nothing has to come, nothing is good."""
    eu.behave(answering(Reply(204)))
    answer = pool.forward("DELETE", "/v1/files/f", [], None)
    assert (answer.status, b"".join(answer)) == (204, b"")


def test_a_file_that_is_cut(pool: ProviderPool, eu: LocalServer) -> None:
    """It raises while it is read."""

    def half(exchange: Exchange) -> None:
        exchange.send_until(Reply(200, {}, (b"x" * 100,)), 0)
        exchange.close()

    eu.behave(half)
    answer = pool.forward("POST", "/v1/audio/speech", [], b"")
    with pytest.raises(errors.StreamInterrupted):
        b"".join(answer)


def test_embeddings_stay_with_their_model(
    pool_of: MakePool, eu: LocalServer, us: LocalServer
) -> None:
    """Vectors of two models do not mix, so no other model is asked."""
    eu.behave(Status(500))
    pool = pool_of(
        Deployment("a", at(eu), models={"vectors": "x"}),
        Deployment("b", at(us), models={"vectors": "y"}),
    )
    assert post(pool, "/v1/embeddings", model="vectors", input="a").status == 500
    assert us.hits() == 0


# -- formats ------------------------------------------------------------------------------------


def test_a_pool_of_several_formats(pool_of: MakePool, eu: LocalServer, us: LocalServer) -> None:
    """Each client's requests go to the deployments that speak its format."""
    message = {"type": "message", "content": [{"type": "text", "text": "x"}], "usage": {}}
    us.behave(answering(json_reply(message)))
    pool = pool_of(
        ScriptedProvider(), AnthropicProvider(us.url, api_key=KEY, model="claude"), at(eu)
    )
    assert headers(post(pool))["x-llmpool-deployment"] == "c"
    assert headers(post(pool, "/v1/messages"))["x-llmpool-deployment"] == "b"
    sent = us.requests[0]
    assert (sent.path, sent.headers["x-api-key"]) == ("/v1/messages", KEY)
    assert "authorization" not in sent.headers


def test_nobody_speaks_the_format(pool_of: MakePool) -> None:
    """One clear error tells which providers would."""
    pool = pool_of(ScriptedProvider())
    answer = post(pool)
    assert answer.status == 501
    assert headers(answer)["x-should-retry"] == "false"
    assert "OpenAIProvider" in error_of(answer)["message"]
    answer = post(pool, "/v1/messages")
    assert "AnthropicProvider" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("version", "page", "path"),
    [
        ("2024-10-21", "/chat/completions", "/openai/deployments/tiny/chat/completions"),
        ("2024-10-21", "/models", "/openai/models"),
        (None, "/chat/completions", "/openai/v1/chat/completions"),
    ],
)
def test_azure(
    pool_of: MakePool, eu: LocalServer, version: str | None, page: str, path: str
) -> None:
    """Its pages are found under the deployment's URL or the resource's."""
    root = eu.url.removesuffix("/v1")
    azure = AzureOpenAIProvider(root, deployment="own", api_version=version, api_key=KEY)
    eu.behave(answering(json_reply({"choices": [{"message": {"content": "x"}}]})))
    assert post(pool_of(azure), f"/v1{page}").status == 200
    assert eu.requests[0].path == path


# -- errors -------------------------------------------------------------------------------------


def test_the_callers_own_error(pool: ProviderPool, eu: LocalServer, us: LocalServer) -> None:
    """The server's answer comes unchanged, and nobody is blamed."""
    eu.behave(Status(400, b'{"error": {"message":  "no"}}', [("X-Request-Id", "r7")]))
    answer = post(pool)
    fields = headers(answer)
    assert answer.status == 400
    assert b"".join(answer) == b'{"error": {"message":  "no"}}'
    assert (fields["x-request-id"], fields["x-llmpool-deployment"]) == ("r7", "a")
    assert fields["x-should-retry"] == "false"
    assert pool.health("a").total_errors == 0
    assert us.hits() == 0


def test_an_answer_that_repeats_the_key(pool: ProviderPool, eu: LocalServer) -> None:
    """It is taken out."""
    eu.behave(Status(400, f"bad key {KEY}!"))
    answer = post(pool)
    whole = b"".join(answer)
    assert whole.decode() == "bad key …!"
    assert headers(answer)["content-length"] == str(len(whole))


def test_several_errors(pool: ProviderPool, eu: LocalServer, us: LocalServer) -> None:
    """The most actionable is answered, as its server told it."""
    eu.behave(Status(500))
    us.behave(RateLimited(retry_after=7))
    answer = post(pool)
    fields = headers(answer)
    assert (answer.status, fields["retry-after"]) == (429, "7")
    assert (fields["x-llmpool-deployment"], fields["x-should-retry"]) == ("b", "false")
    assert int(fields["x-llmpool-attempts"]) == eu.hits() + us.hits()


def test_all_are_dead(pool: ProviderPool, eu: LocalServer, us: LocalServer) -> None:
    """One line tells of each, in the shape of the client's API."""
    eu.behave(Refuse())
    us.behave(Refuse())
    answer = post(pool)
    error = error_of(answer)
    assert answer.status == 503
    assert headers(answer)["x-should-retry"] == "false"
    assert "x-llmpool-deployment" not in headers(answer)
    assert error["type"] == "service_unavailable_error"
    said = error["message"]
    assert said.startswith("llmpool, main: no deployment answered (a: ConnectionFailed: ")
    assert said.count("a: ConnectionFailed") == said.count("b: ConnectionFailed") == 1
    assert "\n" not in said
    assert PROMPT not in said


def test_nothing_is_to_be_asked(pool: ProviderPool, eu: LocalServer) -> None:
    """The reasons are told, and when to come again."""
    eu.behave(RateLimited(retry_after=30))
    pool.drain("b")
    assert post(pool).status == 429
    answer = post(pool)
    assert answer.status == 503
    assert headers(answer)["x-llmpool-attempts"] == "0"
    assert 0 < int(headers(answer)["retry-after"]) <= 30
    assert "a: cooling" in error_of(answer)["message"]


def test_the_strangers_among_the_reasons(pool_of: MakePool, eu: LocalServer) -> None:
    """They are told as such."""
    pool = pool_of(at(eu), ScriptedProvider())
    pool.drain("a")
    said = error_of(post(pool))["message"]
    assert "a: drained by the user" in said
    assert "b: speaks another format" in said


def test_a_pool_that_has_been_emptied(pool_of: MakePool, eu: LocalServer) -> None:
    """There is nobody to be asked, of whatever format."""
    pool = pool_of(at(eu))
    pool.remove("a")
    answer = post(pool)
    assert answer.status == 503
    assert "no deployment can be asked" in error_of(answer)["message"]


def test_a_stranger_that_is_back_sooner(
    pool_of: MakePool, eu: LocalServer, us: LocalServer
) -> None:
    """It tells nothing about when this client may come again."""
    pool = pool_of(at(eu), AnthropicProvider(us.url, api_key=KEY, model="tiny"))
    eu.behave(RateLimited(retry_after=20))
    us.behave(RateLimited(retry_after=2))
    assert post(pool).status == 429
    assert post(pool, "/v1/messages", max_tokens=5).status == 429
    assert int(headers(post(pool))["retry-after"]) > 10


def test_a_closed_pool(pool: ProviderPool) -> None:
    """It is told as an answer, too."""
    pool.close()
    answer = post(pool, "/v1/messages")
    assert answer.status == 501 or answer.status == 503
    assert "the pool is closed" in error_of(post(pool))["message"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("context_length_exceeded", 400, "invalid_request_error"),
        ("invalid_api_key", 401, "authentication_error"),
        ("insufficient_quota", 429, "rate_limit_error"),
        ("rate_limit_exceeded", 429, "rate_limit_error"),
        ("server_error", 503, "service_unavailable_error"),
    ],
)
def test_an_error_under_a_200(
    pool_of: MakePool, eu: LocalServer, code: str, status: int, kind: str
) -> None:
    """It gets the status that it should have had."""
    eu.behave(answering(json_reply({"error": {"message": "oh", "code": code}})))
    answer = post(pool_of(at(eu)))
    error = error_of(answer)
    assert (answer.status, error["type"]) == (status, kind)
    assert "a: " in error["message"]
    assert "oh" in error["message"]


def test_an_error_in_the_other_shape(pool_of: MakePool, eu: LocalServer) -> None:
    """A client of Anthropic's reads it in its own."""
    eu.behave(Refuse())
    answer = post(pool_of(AnthropicProvider(eu.url, api_key=KEY)), "/v1/messages")
    told = read(answer)
    assert (told["type"], told["error"]["type"]) == ("error", "api_error")


def test_the_clients_time(pool: ProviderPool, eu: LocalServer, us: LocalServer) -> None:
    """When it is over, that is raised and not answered."""
    eu.behave(Hang())
    us.behave(Hang())
    with pytest.raises(errors.DeadlineExceeded):
        post(pool, timeout=0.3)
    with pytest.raises(errors.DeadlineExceeded):
        post(pool, timeout=0.0)


def test_time_outs_within_the_clients_time(pool_of: MakePool, eu: LocalServer) -> None:
    """They are the pool's, and answered as such."""
    eu.behave(Hang())
    pool = pool_of(Deployment("a", at(eu), timeout=0.2), retry=RetryPolicy(1))
    answer = post(pool, timeout=60.0)
    assert answer.status == 503
    assert "DeadlineExceeded" in error_of(answer)["message"]


def test_a_fault_of_the_clients_own(pool: ProviderPool) -> None:
    """It passes through, and is counted for nobody."""
    with pytest.raises(ValueError, match="header"):
        pool.forward("POST", CHAT, [JSON, ("x-odd", "a\nb")], b"{}")
    assert pool.health("a").total_errors == 0


def test_tokens_per_minute(pool_of: MakePool, eu: LocalServer) -> None:
    """What a request is thought to take counts against a deployment's limit."""
    pool = pool_of(Deployment("a", at(eu), tokens_per_minute=1000))
    assert post(pool, max_tokens=800).status == 200
    assert post(pool, max_tokens=999).status == 503
    assert eu.hits() == 1


# -- streams ------------------------------------------------------------------------------------


def test_a_stream(pool: ProviderPool, eu: LocalServer) -> None:
    """Its bytes come as they are; its end mark, not the client's patience, makes it a success."""
    answer = post(pool, stream=True, stream_options={"include_usage": True})
    assert headers(answer)["content-type"] == "text/event-stream"
    assert "content-length" not in headers(answer)
    assert "gzip" not in eu.requests[0].headers["accept-encoding"]
    read_so_far = b""
    for piece in answer:
        read_so_far += piece
        if b"[DONE]" in read_so_far:
            break
    answer.close()
    assert read_so_far.count(b"data: ") > 5
    status = pool.health("a")
    assert (status.consecutive_successes, status.requests_in_flight) == (1, 0)
    assert status.input_tokens == 6


def test_a_stream_read_to_its_end(pool: ProviderPool) -> None:
    """It ends, and stays ended."""
    answer = post(pool, stream=True)
    assert b"".join(answer).endswith(b"data: [DONE]\n\n")
    assert list(answer) == []


def test_a_stream_that_fails_before_content(pool: ProviderPool, eu: LocalServer) -> None:
    """Another's comes, and nothing of the first."""
    eu.behave(ErrorInStream())
    answer = post(pool, stream=True)
    assert headers(answer)["x-llmpool-attempts"] == "2"
    assert b"error" not in b"".join(answer)


def test_all_streams_fail_before_content(pool_of: MakePool, eu: LocalServer) -> None:
    """The error is an answer of its own, with a status."""
    eu.behave(ErrorInStream(error={"message": "too long", "code": "context_length_exceeded"}))
    answer = post(pool_of(at(eu)), stream=True)
    assert answer.status == 400
    assert error_of(answer)["code"] == "context_length_exceeded"


def test_a_stream_with_an_error_after_content(pool: ProviderPool, eu: LocalServer) -> None:
    """The client is told in the server's words; what is meant was booked before."""
    eu.behave(ErrorInStream(after_chunks=2, error={"message": "m", "type": "overloaded_error"}))
    answer = post(pool, stream=True)
    for piece in answer:
        if b"overloaded_error" in piece:
            break
    assert pool.health("a").state == "cooling"
    assert list(answer) == []


def test_an_error_that_no_client_would_know(
    pool_of: MakePool, eu: LocalServer, us: LocalServer
) -> None:
    """It is raised, so that nobody takes the answer for whole."""
    kind = {"Content-Type": "text/event-stream"}
    starts = event({"choices": [{"index": 0, "delta": {"content": "x"}}]})
    failed = event({"message": "broken"}, "error")
    eu.behave(answering(Reply(200, kind, (starts, failed), "chunked", streamed=True)))
    delta = {"type": "content_block_delta", "index": 0, "delta": {"text": "x"}}
    failed = event({"type": "error", "error": {"type": "overloaded_error", "message": "m"}})
    parts = (event(delta, "content_block_delta"), failed)
    us.behave(answering(Reply(200, kind, parts, "chunked", streamed=True)))
    pool = pool_of(at(eu), AnthropicProvider(us.url, api_key=KEY, model="tiny"))
    for page in (CHAT, "/v1/messages"):
        answer = post(pool, page, stream=True)
        assert b'"x"' in next(answer)
        with pytest.raises(errors.StreamInterrupted):
            list(answer)


def test_a_stream_that_is_cut(pool: ProviderPool, eu: LocalServer) -> None:
    """What has come is given out, then it raises."""
    eu.behave(EndEarly())
    answer = post(pool, stream=True)
    assert b"echo" in next(answer)
    with pytest.raises(errors.StreamInterrupted, match="end mark"):
        list(answer)
    assert pool.health("a").total_errors == 1


def test_a_stream_without_content(pool: ProviderPool, eu: LocalServer) -> None:
    """An answer may be empty, as long as it says why it ends."""
    ends = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    kind = {"Content-Type": "text/event-stream"}
    eu.behave(answering(Reply(200, kind, (ends, event("[DONE]")), "chunked", streamed=True)))
    answer = post(pool, stream=True)
    assert b"".join(answer) == ends + event("[DONE]")
    assert headers(answer)["x-llmpool-deployment"] == "a"
    assert pool.health("a").consecutive_successes == 1


@pytest.mark.parametrize("lead", [[], [{"choices": []}], [{"choices": [{"delta": {"role": "a"}}]}]])
def test_a_stream_that_says_nothing(pool: ProviderPool, eu: LocalServer, lead: list[Any]) -> None:
    """An end mark alone is no answer."""
    kind = {"Content-Type": "text/event-stream"}
    parts = (*map(event, lead), event("[DONE]"))
    eu.behave(answering(Reply(200, kind, parts, "chunked", streamed=True)))
    answer = post(pool, stream=True)
    assert b"echo" in b"".join(answer)
    assert headers(answer)["x-llmpool-deployment"] == "b"
    assert pool.health("a").total_errors == 1


@pytest.mark.parametrize("kind", [{}, {"Content-Type": "text/plain"}])
def test_a_stream_under_another_name(
    pool: ProviderPool, eu: LocalServer, kind: dict[str, str]
) -> None:
    """Not every server names it rightly; what was asked for says what it is."""
    ends = event({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]})
    eu.behave(answering(Reply(200, kind, (ends, event("[DONE]")), "chunked", streamed=True)))
    answer = post(pool, stream=True)
    assert b"".join(answer) == ends + event("[DONE]")
    assert headers(answer)["x-llmpool-deployment"] == "a"
    assert headers(post(pool))["x-llmpool-deployment"] == "b"  # no stream was wanted


def test_a_stream_answered_as_a_whole(pool: ProviderPool, eu: LocalServer) -> None:
    """It is judged and handed over as what it is."""
    eu.behave(answering(json_reply({"choices": [{"message": {"content": "x"}}]})))
    assert read(post(pool, stream=True))["choices"]
    eu.behave(Html())
    assert headers(post(pool, stream=True))["x-llmpool-deployment"] == "b"


def test_a_stream_of_an_unknown_page(pool: ProviderPool, eu: LocalServer) -> None:
    """It comes as it is, whatever its end."""
    kind = {"Content-Type": "text/event-stream"}
    parts = (event({"x": 1}), event({"error": "of its own"}))
    eu.behave(answering(Reply(200, kind, parts, "chunked", streamed=True)))
    answer = post(pool, "/v1/threads/t/runs", stream=True)
    assert b"".join(answer) == b"".join(parts)
    assert pool.health("a").consecutive_successes == 1


def test_a_stream_that_stalls(pool: ProviderPool, eu: LocalServer) -> None:
    """The client's time is that between two events, too."""
    eu.behave(Stall(1))
    answer = post(pool, stream=True, timeout=0.4)
    with pytest.raises(errors.StreamInterrupted) as caught:
        list(answer)
    assert caught.value.attempts[-1].error.startswith("DeadlineExceeded")  # type: ignore[union-attr]


def test_a_stream_that_outlasts_the_clients_time(pool: ProviderPool, eu: LocalServer) -> None:
    """What comes in time, event by event, may last longer."""
    eu.behave(Stall(1))
    answer = post(pool, stream=True, timeout=5.0)
    gaps = answer._pieces._stream._opened._clocks  # type: ignore[attr-defined]
    assert gaps.gap == 5.0
    assert gaps.total_at - pool._clock.now() > 500
    answer.close()


def test_a_page_that_is_silent_for_long(pool: ProviderPool, eu: LocalServer) -> None:
    """Between two events of a response a client may wait for as long as it likes."""
    kind = {"Content-Type": "text/event-stream"}
    parts = (event({"type": "response.output_text.delta", "delta": "x"}),)
    reply = Reply(200, kind, parts, "chunked", streamed=True)

    def hold(exchange: Exchange) -> None:
        exchange.send_bytes(reply.head() + reply.frame(parts[0]))
        exchange.hang()

    eu.behave(hold)
    for page, gap in (("/v1/responses", 300.0), ("/v1/threads", 60.0)):
        answer = post(pool, page, stream=True, timeout=300.0)
        assert next(answer) == parts[0]
        assert answer._pieces._stream._opened._clocks.gap == gap  # type: ignore[attr-defined]
        answer.close()


def test_a_stream_that_is_closed(pool: ProviderPool, eu: LocalServer) -> None:
    """The place is given back, and nobody is blamed."""
    eu.behave(Stall())
    answer = post(pool, stream=True)
    assert pool.health("a").requests_in_flight == 1
    answer.close()
    assert pool.health("a").requests_in_flight == 0
    assert pool.health("a").total_errors == 0


def test_a_stream_that_is_forgotten(pool: ProviderPool, eu: LocalServer) -> None:
    """The place is given back when the garbage is collected."""
    eu.behave(Stall())
    answer = post(pool, stream=True)
    next(answer)
    del answer
    gc.collect()
    assert pool.health("a").requests_in_flight == 0


def test_a_stream_read_by_another_thread(pool: ProviderPool) -> None:
    """It may be."""
    answer = post(pool, stream=True)
    pieces: list[bytes] = []
    thread = threading.Thread(target=lambda: pieces.extend(answer))
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive()
    assert b"[DONE]" in pieces[-1]


def test_an_interrupt_while_the_answer_is_read(
    pool: ProviderPool, eu: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is given back."""

    def interrupt(self: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmpool.providers._replies.OpenReply.read1", interrupt)
    with pytest.raises(KeyboardInterrupt):
        post(pool, stream=True)
    assert pool.health("a").requests_in_flight == 0


def test_packed_bytes_are_not_asked_for_twice(pool: ProviderPool, eu: LocalServer) -> None:
    """An error that is packed is read as every other."""
    body = gzip.compress(b'{"error": {"message": "no"}}')
    eu.behave(Status(400, body, [("Content-Encoding", "gzip")]))
    assert error_of(post(pool))["message"] == "no"


def test_a_hand_turned_clock(pool_of: MakePool, eu: LocalServer) -> None:
    """The pool's clock is the one that counts."""
    pool = pool_of(at(eu), clock=ManualClock())
    assert post(pool).status == 200
