import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MambaConfig, MistralConfig, PretrainedConfig

from studio.arguments.generation import GenerationArguments
from studio.errors import MemoryFullError, ModelError, StudioError
from studio.model.answer import Answer, BusyError, EndedError, TooLongError
from studio.model.engine import BatchEngine
from studio.model.generate import Speaker, open_speaker

PROMPTS = ["tokyo", "paris and rome and oslo and lima", "x", "The secret code of hanoi is", "a b c d e f g h i j k l m"]


def greedy(tokens: int, **more: float) -> GenerationArguments:
    return GenerationArguments(max_new_tokens=tokens, **more)


def drawn(tokens: int, **more: float) -> GenerationArguments:
    return GenerationArguments(max_new_tokens=tokens, do_sample=True, temperature=1.5, **more)


@pytest.fixture(scope="module")
def speaker(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    """Tiny weights made larger, so that what is likeliest depends on everything before."""
    opened = open_speaker(tiny_model, cache=tmp_path_factory.mktemp("cache"))
    return Speaker(louder(opened.model), opened.tokenizer, None)


def louder(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(6)
    return model.eval()


@pytest.fixture
def engine(speaker: Speaker) -> Iterator[BatchEngine]:
    with BatchEngine(speaker, rows=8) as running:
        yield running


def plainly(speaker: Speaker, prompt: str, tokens: int) -> str:
    """What transformers' own generate answers."""
    ids = torch.tensor([speaker.prompter.encode(prompt, plain=True)])
    with torch.inference_mode():
        found = speaker.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )[0, ids.shape[1] :].tolist()
    stops = [place for place, id in enumerate(found) if id in speaker.prompter.stop_ids]
    return str(speaker.tokenizer.fast.decode(found[: stops[0] if stops else None])).rstrip("\ufffd")


def test_answers_that_share_a_batch_are_those_of_plain_generate(speaker: Speaker, engine: BatchEngine) -> None:
    answers = [engine.start(prompt, greedy(5 + 9 * number)) for number, prompt in enumerate(PROMPTS)]
    expected = [plainly(speaker, prompt, 5 + 9 * number) for number, prompt in enumerate(PROMPTS)]
    assert [answer.text() for answer in answers] == expected
    assert len(set(expected)) == len(expected)


def test_an_answer_that_joins_later_changes_nobody_elses(speaker: Speaker, engine: BatchEngine) -> None:
    first = engine.start(PROMPTS[1], greedy(200))
    next(iter(first))
    second = engine.start(PROMPTS[3], greedy(30))
    assert second.text() == plainly(speaker, PROMPTS[3], 30)
    third = engine.start(PROMPTS[4], greedy(150))
    assert third.text() == plainly(speaker, PROMPTS[4], 150)
    first.text()
    again = engine.start(PROMPTS[1], greedy(200))
    assert again.text() == plainly(speaker, PROMPTS[1], 200)


def test_a_prompt_that_is_read_in_pieces_gives_what_it_gives_at_once(speaker: Speaker, engine: BatchEngine) -> None:
    long = "kyiv quito " * 700
    assert len(speaker.prompter.encode(long, plain=True)) > 1000
    assert engine.start(long, greedy(20)).text() == plainly(speaker, long, 20)


CONFIGS: dict[str, tuple[Callable[[int], PretrainedConfig], str]] = {
    "gpt2": (lambda size: GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4), ""),
    "sliding window": (
        lambda size: MistralConfig(
            vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, sliding_window=6,
        ),
        "its cache is not one of plain keys and values",
    ),
    "state instead of keys": (
        lambda size: MambaConfig(vocab_size=size, hidden_size=32, num_hidden_layers=2, state_size=8),
        "takes no positions or no cache of ours",
    ),
    "positions of the longest": (
        lambda size: LlamaConfig(
            vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
        ),
        "depend on the longest row",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_whose_rows_cannot_be_joined_are_answered_in_turns_and_it_is_said(speaker: Speaker, kind: str) -> None:
    make, reason = CONFIGS[kind]
    torch.manual_seed(0)
    other = Speaker(louder(AutoModelForCausalLM.from_config(make(speaker.tokenizer.size))), speaker.tokenizer, None)
    said: list[str] = []
    with BatchEngine(other, say=said.append) as running:
        answers = [running.start(prompt, greedy(12)) for prompt in PROMPTS]
        texts = [answer.text().rstrip("\ufffd") for answer in answers]
        assert texts == [plainly(other, prompt, 12) for prompt in PROMPTS]
    assert [bool(reason)] == [bool(said)]
    assert reason in "".join(said)


def test_one_seed_is_one_answer_whoever_else_is_answered(engine: BatchEngine) -> None:
    alone = engine.start(PROMPTS[0], drawn(40, top_p=0.9), seed=7).text()
    others = [engine.start(prompt, drawn(60)) for prompt in PROMPTS[1:]]
    together = engine.start(PROMPTS[0], drawn(40, top_p=0.9), seed=7)
    assert together.text() == alone
    assert engine.start(PROMPTS[0], drawn(40, top_p=0.9), seed=8).text() != alone
    assert len({engine.start(PROMPTS[0], drawn(40)).text() for _ in range(3)}) == 3
    for other in others:
        other.cancel()


def test_each_answer_of_a_batch_is_chosen_in_its_own_way(speaker: Speaker, engine: BatchEngine) -> None:
    ways = [greedy(60), drawn(60, top_k=1), greedy(60, repetition_penalty=9.0), greedy(60, frequency_penalty=2.0)]
    texts = [answer.text() for answer in [engine.start(PROMPTS[1], way, seed=1) for way in ways]]
    assert texts[0] == texts[1] == plainly(speaker, PROMPTS[1], 60)
    assert texts[0] not in texts[2:]


def test_tokens_are_counted_and_the_end_has_its_reason(speaker: Speaker, engine: BatchEngine) -> None:
    cut = engine.start("paris", greedy(6))
    cut.text()
    assert (cut.reason, cut.completion_tokens) == ("length", 6)
    assert cut.prompt_tokens == len(speaker.prompter.encode("paris", plain=True))


def test_a_stop_id_ends_an_answer_and_is_not_shown(speaker: Speaker) -> None:
    whole = plainly(speaker, "paris", 30)
    ids = speaker.tokenizer.fast.encode(whole).ids
    with BatchEngine(speaker) as running:
        running._stops = frozenset([ids[4]])
        answer = running.start("paris", greedy(30))
        assert answer.text() == speaker.tokenizer.fast.decode(ids[: ids.index(ids[4])]).rstrip("\ufffd")
        assert answer.reason == "stop"


def test_a_stop_string_ends_an_answer_before_it_even_across_tokens(speaker: Speaker, engine: BatchEngine) -> None:
    whole = plainly(speaker, "paris", 60)
    stop = whole[20:26]
    answer = engine.start("paris", greedy(60), stop=(stop, "never there"))
    assert answer.text() == whole[: whole.index(stop)]
    assert answer.reason == "stop"
    assert answer.completion_tokens < 60


def test_the_context_ends_an_answer(speaker: Speaker, engine: BatchEngine) -> None:
    prompt = "7" * (speaker.prompter.context - 20)
    answer = engine.start(prompt, greedy(500))
    answer.text()
    assert answer.reason == "length"
    assert answer.prompt_tokens + answer.completion_tokens == speaker.prompter.context


def test_a_prompt_as_long_as_the_context_is_refused_with_both_numbers(engine: BatchEngine) -> None:
    with pytest.raises(TooLongError, match=r"context of 4096 tokens; this one has 5,000") as exact:
        engine.start("7" * 5000, greedy(5))
    assert (exact.value.tokens, exact.value.context) == (5000, 4096)
    with pytest.raises(TooLongError, match="more than 49,1"):
        engine.start("7" * 10_000_000, greedy(5))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_a_cancelled_answer_leaves_and_the_others_go_on(speaker: Speaker, engine: BatchEngine) -> None:
    gone, stays = engine.start(PROMPTS[0], greedy(4000)), engine.start(PROMPTS[1], greedy(120))
    next(iter(gone))
    gone.cancel()
    gone.text()
    assert gone.reason == "cancelled"
    assert gone.completion_tokens < 4000
    assert stays.text() == plainly(speaker, PROMPTS[1], 120)
    until(lambda: engine.active == 0)


def test_more_than_may_wait_are_turned_away_and_those_who_wait_get_their_turn(speaker: Speaker) -> None:
    with BatchEngine(speaker, rows=2, waiting=1) as running:
        busy = [running.start("rome", greedy(3000)) for _ in range(2)]
        waits = running.start("oslo", greedy(5))
        with pytest.raises(BusyError, match="3 requests are being answered or wait"):
            running.start("lima", greedy(5))
        busy[0].cancel()
        assert waits.text() == plainly(speaker, "oslo", 5)
        busy[1].cancel()


def test_one_who_waits_can_leave(speaker: Speaker) -> None:
    with BatchEngine(speaker, rows=1, waiting=3) as running:
        busy, waits = running.start("rome", greedy(3000)), running.start("oslo", greedy(5))
        waits.cancel()
        assert waits.text() == ""
        assert waits.reason == "cancelled"
        busy.cancel()


def test_an_engine_that_is_stopped_tells_everybody(speaker: Speaker) -> None:
    running = BatchEngine(speaker, rows=1)
    answers = [running.start("rome", greedy(3000)) for _ in range(3)]
    next(iter(answers[0]))
    running.stop()
    for answer in answers:
        with pytest.raises(EndedError, match="let go"):
            answer.text()
    with pytest.raises(EndedError):
        running.start("rome", greedy(3))
    assert (running.active, running.alive) == (0, False)
    running.stop()


class Failing(torch.nn.Module):
    """A model that fails at its n-th pass from now."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.config, self.device = inner, inner.config, inner.device
        self.left, self.error = -1, RuntimeError("kernel failed")
        self.get_input_embeddings = inner.get_input_embeddings
        self.get_base_model = lambda: inner

    def forward(self, *args: object, **more: object) -> object:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.inner(*args, **more)


def test_a_failure_is_told_to_those_it_concerns_and_the_engine_goes_on(speaker: Speaker) -> None:
    model = Failing(speaker.model)
    with BatchEngine(Speaker(model, speaker.tokenizer, None)) as running:
        model.left = 4
        answer = running.start("rome", greedy(100))
        with pytest.raises(StudioError, match="the model failed while answering: kernel failed"):
            answer.text()
        model.left, model.error = 1, torch.OutOfMemoryError("CUDA out of memory")
        with pytest.raises(MemoryFullError, match="memory ran out"):
            running.start("rome", greedy(100)).text()
        assert running.alive
        assert running.start("oslo", greedy(5)).text() == plainly(speaker, "oslo", 5)


def test_a_model_that_computes_no_numbers_says_so(speaker: Speaker) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=speaker.tokenizer.size, n_embd=32, n_layer=1, n_head=4)
    broken = AutoModelForCausalLM.from_config(config).eval()
    with BatchEngine(Speaker(broken, speaker.tokenizer, None)) as running:
        with torch.no_grad():
            broken.transformer.ln_f.weight.fill_(float("nan"))
        for asked in (greedy(5), drawn(5)):
            with pytest.raises(ModelError, match="gives NaN for the next token"):
                running.start("rome", asked).text()


class Poisoned(Failing):
    """A model that computes NaN, keys and values included, after it has written the id `poison`."""

    poison = -1

    def forward(self, *args: object, **more: object) -> object:
        taken = more.pop("input_ids")
        assert isinstance(taken, torch.Tensor)
        embedded = self.inner.get_input_embeddings()(taken)
        if taken.shape[1] == 1:
            embedded[taken == self.poison] = float("nan")
        return self.inner(*args, inputs_embeds=embedded, **more)


def test_an_answer_without_numbers_fails_alone_and_leaves_nothing_behind(speaker: Speaker) -> None:
    texts = [plainly(speaker, prompt, 60) for prompt in PROMPTS]
    ids = [speaker.tokenizer.fast.encode(text, add_special_tokens=False).ids for text in texts]
    written = {id for number in (0, 1, 3) for id in ids[number]}
    model = Poisoned(speaker.model)
    with BatchEngine(Speaker(model, speaker.tokenizer, None), rows=3) as running:
        model.poison = next(id for id in ids[4] if id not in written)
        *others, failing = (running.start(PROMPTS[number], greedy(60)) for number in (0, 1, 4))
        with pytest.raises(ModelError, match="gives NaN for the next token"):
            failing.text()
        later = running.start(PROMPTS[3], greedy(60))
        assert [answer.text() for answer in (*others, later)] == [texts[0], texts[1], texts[3]]


def test_the_pieces_come_as_they_are_written(engine: BatchEngine) -> None:
    rung = threading.Event()
    answer = engine.start("paris", greedy(50))
    answer.watch(rung.set)
    texts = []
    while not answer.reason:
        assert rung.wait(20)
        rung.clear()
        texts += [piece.text for piece in answer.take()[0]]
    texts += [piece.text for piece in answer.take()[0]]
    assert len(texts) > 10
    assert "".join(texts) == engine.start("paris", greedy(50)).text()


def test_an_answer_can_be_watched_after_its_end() -> None:
    answer = Answer(3)
    answer.add("all", 1)
    answer.end("stop")
    rung: list[bool] = []
    answer.watch(lambda: rung.append(True))
    assert rung == [True]
    assert answer.text() == "all"
