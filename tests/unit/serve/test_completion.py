import asyncio
import json

from studio.errors import StudioError
from studio.model.answer import Answer
from studio.serve.completion import Completion
from studio.serve.reading import Reader


def written(error: StudioError | None) -> Answer:
    """An answer whose pieces and end lie there together."""
    answer = Answer(3)
    answer.add("all ", 1)
    answer.add("of it", 2)
    answer.end("cancelled" if error else "stop", error)
    return answer


def events(*answers: Answer) -> list[str]:
    async def read() -> list[str]:
        completion = Completion("m", answers, [Reader(None, thinks=False, special=()) for _ in answers])
        return [event.removeprefix("data: ").strip() async for event in completion.events()]

    async def in_time() -> list[str]:
        return await asyncio.wait_for(read(), 10)

    return asyncio.run(in_time())


def contents(found: list[str]) -> str:
    bodies = [json.loads(event) for event in found if event != "[DONE]"]
    choices = [choice for body in bodies for choice in body.get("choices", [])]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_an_end_that_comes_with_the_last_pieces_is_told() -> None:
    found = events(written(None))
    assert contents(found) == "all of it"
    assert json.loads(found[-2])["choices"][0]["finish_reason"] == "stop"
    assert found[-1] == "[DONE]"


def test_an_error_that_comes_with_the_last_pieces_is_told_after_them() -> None:
    found = events(written(StudioError("the model failed")))
    assert contents(found) == "all of it"
    assert "the model failed" in json.loads(found[-1])["error"]["message"]


def test_an_error_of_one_choice_ends_all_whatever_the_other_does() -> None:
    found = events(written(None), written(StudioError("the model failed")))
    assert "the model failed" in json.loads(found[-1])["error"]["message"]


def test_an_answer_that_goes_on_after_its_reader_has_left_fails_nobody() -> None:
    answer = Answer(3)

    async def leave() -> None:
        found = Completion("m", [answer], [Reader(None, thinks=False, special=())]).events()
        await anext(found)
        reads = asyncio.ensure_future(anext(found))
        await asyncio.sleep(0)
        reads.cancel()

    asyncio.run(leave())
    answer.add("nobody reads this", 1)
    answer.end("stop")
    assert answer.reason == "stop"
